//! Which backends get a client: states, hints, affinity, schedulers. What changes does so in place.

use std::collections::BTreeSet;

use prefix::Family;
use routerd::cluster::Object;
use routerd::cluster::objects::{
    Endpoint, EndpointSlice, Hints, Node, ObjectName, Protocol, Service, SlicePort, Word,
};
use routerd::services::Settings;

use crate::cluster::{Daemon, ending, node, ready, service};
use crate::net::Net;
use crate::talk::{ask, connect, refusal, serve_tcp};

const WEB: &str = "10.96.0.1:80";

fn web() -> Service {
    service("web", 1, Protocol::Tcp, 80, 30080)
}

fn annotated(scheduler: &str, flags: &str) -> Service {
    let annotations =
        [("kube-router.io/service.scheduler", scheduler), ("kube-router.io/service.schedflags", flags)];
    let given = annotations.into_iter().filter(|(_, value)| !value.is_empty());
    Service { annotations: given.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(), ..web() }
}

fn scene() -> (Net, Daemon) {
    let net = Net::new();
    serve_tcp(&net.pod_b, "10.1.1.3:8080", "near");
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(web());
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.applied(&net.node, &[]);
    (net, daemon)
}

/// Who answers a pod's six connections.
fn servers(net: &Net) -> String {
    let heard: BTreeSet<String> = (0..6).map(|_| ask(&net.pod_a, WEB).server).collect();
    heard.into_iter().collect::<Vec<_>>().join(" ")
}

/// What `ipvsadm` saves of the cluster address: the service, and its backends.
fn saved(net: &Net) -> (String, BTreeSet<String>) {
    let all = net.node.run("ipvsadm", &["-Sn"]);
    let mut lines = all.lines().filter(|line| line.contains(WEB)).map(|line| line.trim().to_owned());
    (lines.next().unwrap(), lines.collect())
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn endpoints_that_end_serve_only_if_nobody_is_ready_and_those_that_neither_are_not_at_all() {
    let (net, mut daemon) = scene();
    let mut set = |endpoints: Vec<Endpoint>| {
        daemon.endpoints("web", 8080, Family::V4, endpoints);
        daemon.applied(&net.node, &["web"]);
    };
    set(vec![ending("10.1.1.3"), ready("10.1.2.2")]);
    assert_eq!(servers(&net), "far");
    set(vec![ending("10.1.1.3"), Endpoint { ready: false, serving: false, ..ready("10.1.2.2") }]);
    assert_eq!(servers(&net), "near");
    set(vec![Endpoint { serving: false, ..ending("10.1.1.3") }]);
    assert_eq!(refusal(&net.pod_a, WEB), std::io::ErrorKind::ConnectionRefused);
    set(vec![ready("10.1.1.3")]);
    assert_eq!(servers(&net), "near");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn endpoints_in_many_slices_count_once() {
    let (net, mut daemon) = scene();
    for (number, addresses) in [["10.1.1.3", "10.1.2.2"], ["10.1.2.2", "10.1.2.2"]].into_iter().enumerate() {
        daemon.upsert(Object::EndpointSlice(EndpointSlice {
            name: ObjectName::new("default", format!("web-{number}")),
            service: Some(ObjectName::new("default", "web")),
            family: Family::V4,
            ports: vec![SlicePort { name: Word::default(), protocol: Protocol::Tcp, number: Some(8080) }],
            endpoints: addresses.map(ready).to_vec(),
        }));
    }
    assert_eq!(daemon.applied(&net.node, &["web"]), 0, "nothing new in them");
    assert_eq!(saved(&net).1.len(), 2);
    assert_eq!(servers(&net), "far near");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn hints_keep_clients_in_their_zone_or_on_their_node_and_a_missing_hint_opens_all() {
    let (net, mut daemon) = scene();
    let zone = |name: &str| Node {
        labels: [("topology.kubernetes.io/zone".to_owned(), name.to_owned())].into(),
        ..node()
    };
    let hinted = |address: &str, zone: &str, node: &str| {
        let names = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty()).into_iter().collect();
        Endpoint { hints: Some(Box::new(Hints { zones: names(zone), nodes: names(node) })), ..ready(address) }
    };
    let both = vec![hinted("10.1.1.3", "a", ""), hinted("10.1.2.2", "b", "")];
    daemon.endpoints("web", 8080, Family::V4, both);
    for (name, expected) in [("a", "near"), ("b", "far"), ("c", "far near")] {
        daemon.upsert(Object::Node(zone(name)));
        daemon.applied(&net.node, &["web"]);
        assert_eq!(servers(&net), expected, "zone {name}");
    }
    // For nodes, which come before zones.
    daemon.upsert(Object::Node(zone("b")));
    let nodes = vec![hinted("10.1.1.3", "a", "node"), hinted("10.1.2.2", "b", "far")];
    daemon.endpoints("web", 8080, Family::V4, nodes);
    daemon.applied(&net.node, &["web"]);
    assert_eq!(servers(&net), "near");
    // Outside clients are kept near too.
    assert_eq!(ask(&net.outside, "192.0.2.11:30080").server, "near");
    daemon.endpoints("web", 8080, Family::V4, vec![hinted("10.1.1.3", "b", "node"), ready("10.1.2.2")]);
    daemon.applied(&net.node, &["web"]);
    assert_eq!(servers(&net), "far near");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn every_scheduler_and_its_flags_come_in_place_and_connections_go_on() {
    let (net, mut daemon) = scene();
    let mut open: Vec<_> = (0..4).map(|_| connect(&net.pod_a, WEB).unwrap()).collect();
    let names =
        ["wrr", "lc", "wlc", "dh", "sh", "mh", "sed", "nq", "rr"].map(|name| (name, "", name.to_owned()));
    let flags = [
        ("mh", "flag-1", "mh -b mh-fallback"),
        ("mh", "flag-1,flag-2", "mh -b mh-fallback,mh-port"),
        ("sh", "flag-1, flag-2", "sh -b sh-fallback,sh-port"),
    ];
    let flags = flags.map(|(name, flags, shown)| (name, flags, shown.to_owned()));
    for (name, flags, shown) in names.into_iter().chain(flags) {
        daemon.put(annotated(name, flags));
        assert_eq!(daemon.applied(&net.node, &["web"]), 4, "one write for each of the four virtual services");
        let (service, backends) = saved(&net);
        assert_eq!((service, backends.len()), (format!("-A -t {WEB} -s {shown}"), 2));
        assert_eq!(daemon.applied(&net.node, &[]), 0, "{shown} reads back as it was written");
        ask(&net.pod_a, WEB);
        for connection in &mut open {
            assert_eq!(connection.says(name).unwrap(), name);
        }
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn affinity_comes_changes_and_goes_in_place_and_connections_go_on() {
    let (net, mut daemon) = scene();
    let mut open: Vec<_> = (0..2).map(|_| connect(&net.pod_a, WEB).unwrap()).collect();
    for (seconds, shown) in [(Some(600), " -p 600"), (Some(60), " -p 60"), (None, "")] {
        daemon.put(Service { affinity_seconds: seconds, ..web() });
        assert_eq!(daemon.applied(&net.node, &["web"]), 4);
        assert_eq!(saved(&net).0, format!("-A -t {WEB} -s rr{shown}"));
        assert_eq!(servers(&net).contains(' '), seconds.is_none(), "{shown:?}");
        for connection in &mut open {
            assert_eq!(connection.says("still there?").unwrap(), "still there?");
        }
    }
}
