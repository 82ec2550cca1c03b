//! The services plane under the monitor, on a kernel with IPVS: what somebody else takes away comes back, and what goes by
//! itself makes nobody look.

use std::time::Instant;

use kernel::testing::TestNs;

use super::*;
use crate::cluster::objects::{Node, ObjectName, Protocol, Service, ServicePort, Word};
use crate::cluster::{Event as News, Index, Object, ObjectKey};
use crate::runner::{self, Spawned, spawn};
use crate::services::apply::Applier;
use crate::services::desired::Services;
use crate::services::linux::Linux;

/// What must not come has this time.
const SILENCE: Duration = Duration::from_millis(1500);

fn service(name: &str, last: u8) -> Service {
    let port = ServicePort { name: Word::default(), protocol: Protocol::Tcp, port: 80, node_port: None };
    let addresses = [format!("10.96.0.{last}"), format!("fd00:96::{last}")];
    Service {
        name: ObjectName::new("default", name),
        cluster_ips: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: vec![port],
        ..Service::default()
    }
}

/// The plane and a monitor that pokes it, in a node's namespace.
fn start(namespace: &TestNs, index: &Index) -> Spawned {
    let roll = Roll::default();
    let settings = services::Settings::default();
    let applier = Applier::new(Linux::new(), settings.clone()).saying(roll.clone());
    let mut spawned =
        namespace.run_in(|| spawn(Services::new(settings), applier, runner::Settings::default()).unwrap());
    let watched =
        Watched { name: services::NAME, poker: spawned.poker.clone(), status: spawned.status.clone() };
    let (monitor, addresses) = namespace.run_in(|| open(&roll).unwrap());
    std::thread::spawn(move || attend(&[watched], monitor, addresses));
    spawned.subscriber.start(index);
    spawned
}

fn wait(what: &str, namespace: &TestNs, done: &dyn Fn() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        let routes = namespace.run("ip", &["route", "show", "table", "local"]);
        assert!(begin.elapsed() < Duration::from_mins(1), "{what}: {routes}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begin.elapsed()
}

/// The routes of virtual addresses.
fn routes(namespace: &TestNs) -> String {
    let of = |family| {
        namespace
            .run("ip", &[family, "route", "show", "table", "local", "dev", "kube-dummy-if", "proto", "179"])
    };
    of("-4") + &of("-6")
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn addresses_that_somebody_takes_away_come_back_and_a_pods_end_or_a_services_makes_nobody_look() {
    let namespace = TestNs::new("healing");
    let script = "ip link add uplink up type dummy; ip address add 192.0.2.11/24 dev uplink
        ip address add 2001:db8::11/64 dev uplink nodad";
    namespace.run("sh", &["-ec", script]);
    let mut index = Index::new("node");
    let internal_addresses = vec!["192.0.2.11".parse().unwrap(), "2001:db8::11".parse().unwrap()];
    index.apply(News::Upsert(Object::Node(Node {
        name: "node".into(),
        internal_addresses,
        ..Node::default()
    })));
    for (name, last) in [("web", 1), ("db", 2)] {
        index.apply(News::Upsert(Object::Service(service(name, last))));
    }
    let mut spawned = start(&namespace, &index);
    let status = spawned.status.clone();
    wait("the start", &namespace, &|| status.borrow().synced);
    assert_eq!(status.borrow().problems, Vec::new());
    let whole = routes(&namespace);
    assert_eq!(whole.lines().count(), 4, "{whole}");
    for line in [
        "ip address del 10.96.0.1/32 dev kube-dummy-if",
        "ip route del local 10.96.0.1 table local",
        "ip -6 route del local fd00:96::1 table local",
    ] {
        let repairs = status.borrow().repairs;
        namespace.run("sh", &["-ec", line]);
        let counted = wait(line, &namespace, &|| status.borrow().repairs > repairs);
        wait(line, &namespace, &|| routes(&namespace) == whole);
        println!("{line}: back after {} ms", counted.as_millis());
    }

    // The last repair itself may have asked for one more look.
    let mut runs = 0;
    while status.borrow().runs > runs {
        runs = status.borrow().runs;
        std::thread::sleep(SILENCE);
    }
    let change = index.apply(News::Delete(ObjectKey::Service(ObjectName::new("default", "db")))).unwrap();
    spawned.subscriber.changed(&index, &[change], Vec::new());
    wait("the end of a Service", &namespace, &|| !routes(&namespace).contains("10.96.0.2"));
    let pod = "ip link add veth0 type veth peer name eth0; ip link set eth0 up; ip link set veth0 up
        sleep 0.3; ip link delete veth0";
    namespace.run("sh", &["-ec", pod]);
    std::thread::sleep(SILENCE);
    assert_eq!(status.borrow().runs, runs + 1, "the Service's own and no other");
}
