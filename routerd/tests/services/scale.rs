//! A thousand Services, or as many as `SERVICES` says: what a start, one more, and a look cost.

use std::time::Instant;

use prefix::Family;
use routerd::cluster::objects::{Protocol, Service};
use routerd::services::Settings;

use crate::cluster::{Daemon, ip, ready, service};
use crate::net::Net;

fn numbered(number: u16) -> Service {
    let mut made = service(&format!("s{number}"), 1, Protocol::Tcp, 80, 30080);
    made.kind = routerd::cluster::objects::ServiceKind::ClusterIp;
    made.cluster_ips = vec![ip(&format!("10.97.{}.{}", number / 250, number % 250 + 1))];
    made
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_thousand_services_are_programmed_read_back_and_one_more_is_added() {
    let net = Net::new();
    let mut daemon = Daemon::new(Settings::default());
    let count = std::env::var("SERVICES").map_or(1000, |text| text.parse().unwrap());
    for number in 0..count {
        daemon.put(numbered(number));
        let endpoints = ["10.1.1.2", "10.1.1.3", "10.1.2.2"].map(ready).to_vec();
        daemon.endpoints(&format!("s{number}"), 8080, Family::V4, endpoints);
    }
    let start = Instant::now();
    let writes = daemon.applied(&net.node, &[]);
    println!("{count} Services from an empty kernel: {:?}, {writes} writes", start.elapsed());
    let start = Instant::now();
    assert_eq!(daemon.applied(&net.node, &[]), 0);
    println!("everything read back and compared: {:?}", start.elapsed());
    let start = Instant::now();
    assert!(daemon.tend(&net.node).is_none());
    println!("a look between changes: {:?}", start.elapsed());
    let name = format!("s{count}");
    daemon.put(numbered(count));
    daemon.endpoints(&name, 8080, Family::V4, vec![ready("10.1.2.2")]);
    let start = Instant::now();
    let writes = daemon.applied(&net.node, &[&name]);
    println!("one more: {:?} with desired of all, {writes} writes", start.elapsed());
    assert_eq!(writes, 5, "tuple, service, backend, address, route");
}
