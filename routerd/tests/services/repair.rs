//! What somebody else takes out of IPVS, which tells nobody of its changes.

use std::time::{Duration, Instant};

use prefix::Family;
use routerd::cluster::objects::Protocol;
use routerd::services::Settings;

use crate::cluster::{Daemon, ready, service};
use crate::net::Net;

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn services_and_backends_that_somebody_takes_away_or_changes_come_back_and_are_counted() {
    let net = Net::new();
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(service("web", 1, Protocol::Tcp, 80, 30080));
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.put(service("dns", 9, Protocol::Udp, 53, 30053));
    let spawned = daemon.start(&net.node);
    let table = || net.node.run("ipvsadm", &["-Sn"]);
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !done() {
            assert!(begin.elapsed() < Duration::from_mins(1), "{what}: {}", table());
            std::thread::sleep(Duration::from_millis(10));
        }
        begin.elapsed()
    };
    wait("the start", &|| spawned.status.borrow().synced);
    let whole = table();
    let breakages = [
        "-D -t 10.96.0.1:80",
        "-d -t 10.96.0.1:80 -r 10.1.1.3:8080",
        "-e -t 10.96.0.1:80 -r 10.1.1.3:8080 -m -w 7",
        "-E -t 10.96.0.1:80 -s wlc -p 60",
        "-D -u [fd00:96::9]:53",
    ];
    for breakage in &breakages {
        let repairs = spawned.status.borrow().repairs;
        net.node.run("ipvsadm", &breakage.split(' ').collect::<Vec<_>>());
        // It may be mended before anybody else could look: that it was broken is seen in the count.
        let took = wait(breakage, &|| table() == whole);
        wait("its count", &|| spawned.status.borrow().repairs > repairs);
        println!("{breakage}: back after {} ms", took.as_millis());
    }
    assert_eq!(spawned.status.borrow().problems, Vec::new());
    let runs = spawned.status.borrow().runs;
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(spawned.status.borrow().runs, runs, "looking at what is as it should be is no run");
}
