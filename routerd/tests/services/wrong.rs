//! What is wrong in one Service is told of it, and everything else is programmed.

use std::collections::BTreeMap;

use prefix::Family;
use routerd::cluster::objects::{Protocol, Service};
use routerd::services::Settings;

use crate::cluster::{Daemon, ip, ready, service};
use crate::net::Net;
use crate::talk::{ask, serve_tcp};

/// One more Service with an endpoint, of a name, a number for its addresses, and what is wrong with it.
fn wrong(daemon: &mut Daemon, name: &str, last: u16, mistake: impl Fn(&mut Service)) {
    let mut made = service(name, last, Protocol::Tcp, 80, 30080 + last);
    made.created = last.into();
    mistake(&mut made);
    daemon.put(made);
    daemon.endpoints(name, 8080, Family::V4, vec![ready("10.1.2.2")]);
}

fn annotate(service: &mut Service, key: &str, value: &str) {
    service.annotations.insert(format!("kube-router.io/service.{key}"), value.to_owned());
}

fn mistakes(daemon: &mut Daemon) {
    wrong(daemon, "scheduler", 2, |one| annotate(one, "scheduler", "fastest"));
    wrong(daemon, "flag", 3, |one| {
        annotate(one, "scheduler", "mh");
        annotate(one, "schedflags", "flag-1,flag-7");
    });
    wrong(daemon, "flags-of-none", 4, |one| annotate(one, "schedflags", "flag-1"));
    wrong(daemon, "local", 5, |one| annotate(one, "local", "yes"));
    wrong(daemon, "same-port", 6, |one| one.ports[0].node_port = Some(30082));
    wrong(daemon, "family", 7, |_| {});
    daemon.endpoints("family", 8080, Family::V4, vec![ready("fd00:1:2::2"), ready("10.1.2.2")]);
    wrong(daemon, "loopback", 8, |_| {});
    daemon.endpoints("loopback", 8080, Family::V4, vec![ready("127.0.0.1"), ready("10.1.2.2")]);
    wrong(daemon, "itself", 9, |_| {});
    daemon.endpoints("itself", 8080, Family::V4, vec![ready("10.96.0.9"), ready("10.1.2.2")]);
    wrong(daemon, "in-cluster-range", 10, |one| one.external_ips = vec![ip("10.96.77.7")]);
    wrong(daemon, "in-pod-range", 11, |one| one.external_ips = vec![ip("10.1.1.77")]);
    wrong(daemon, "node-address", 12, |one| one.external_ips = vec![ip("192.0.2.11")]);
    wrong(daemon, "out-of-range", 13, |one| one.external_ips = vec![ip("203.0.113.1")]);
    wrong(daemon, "loopback-address", 14, |one| one.external_ips = vec![ip("127.0.0.7")]);
    wrong(daemon, "nobodys-address", 15, |one| one.external_ips = vec![ip("224.0.0.9")]);
    wrong(daemon, "device-address", 16, |one| one.external_ips = vec![ip("198.51.100.9")]);
    wrong(daemon, "same-address", 17, |one| one.external_ips = vec![ip("198.51.100.1")]);
}

const EXPECTED: [(&str, &str); 16] = [
    ("scheduler", "\"fastest\" is none of rr, wrr, lc"),
    ("flag", "\"flag-7\" is none of flag-1, flag-2, flag-3"),
    ("flags-of-none", "scheduler rr has no flags"),
    ("local", "\"yes\" is neither true nor false"),
    ("same-port", "TCP 192.0.2.11:30082"),
    ("family", "fd00:1:2::2: it is not of the family"),
    ("loopback", "127.0.0.1: a loopback address"),
    ("itself", "10.96.0.9: it is the Service's own address"),
    ("in-cluster-range", "10.96.77.7 is not programmed: it lies in the range 10.96.0.0/12"),
    (
        "in-pod-range",
        "10.1.1.77 is not programmed: it lies in the range 10.1.1.0/24 of the pods of Node node",
    ),
    ("node-address", "192.0.2.11 is not programmed: it is an address of Node node"),
    ("out-of-range", "203.0.113.1 is not programmed: it lies in no range that --service-external-ip-range"),
    ("loopback-address", "127.0.0.7 is not programmed: a loopback address"),
    ("nobodys-address", "224.0.0.9 is not programmed: it is no machine's address"),
    ("device-address", "198.51.100.9 is not programmed: device uplink of this node has it"),
    ("same-address", "TCP 198.51.100.1:80 is not programmed: Service default/good has the same"),
];

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn each_mistake_is_told_of_its_service_and_all_services_answer() {
    let net = Net::new();
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    let mut daemon = Daemon::new(Settings {
        cluster_ranges: vec!["10.96.0.0/12".parse().unwrap()],
        external_ranges: vec!["198.51.100.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        ..Settings::default()
    });
    // An address that the Node object does not know.
    net.node.run("ip", &["addr", "add", "198.51.100.9/32", "dev", "uplink"]);
    net.outside.run("ip", &["route", "add", "198.51.100.0/24", "via", "192.0.2.11"]);
    serve_tcp(&net.node, "198.51.100.9:80", "host");
    wrong(&mut daemon, "good", 1, |one| one.external_ips = vec![ip("198.51.100.1")]);
    mistakes(&mut daemon);
    let report = daemon.apply(&net.node, &[]);
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for problem in &report.problems {
        assert!(!problem.retry, "trying again does not help: {problem:?}");
        told.entry(problem.item.clone()).or_default().push(problem.message.clone());
    }
    for (name, text) in EXPECTED {
        let messages = told.remove(&format!("Service default/{name}")).unwrap_or_default();
        let right = matches!(&messages[..], [one] if one.contains(text));
        assert!(right, "of {name} there should be one that says {text:?}: {messages:?}");
    }
    assert_eq!(told, BTreeMap::new(), "nothing is wrong with the others");
    for last in 1..=17 {
        assert_eq!(ask(&net.pod_a, &format!("10.96.0.{last}:80")).server, "far", "Service {last}");
    }
    assert_eq!(daemon.apply(&net.node, &[]).writes, 0);
    assert_eq!(ask(&net.outside, "198.51.100.1:80").server, "far", "the older one has it");
    // The node's own addresses are as they were.
    assert_eq!(ask(&net.outside, "198.51.100.9:80").server, "host");
    let addresses = net.node.run("ip", &["addr", "show", "dev", "kube-dummy-if"]);
    assert!(!addresses.contains("192.0.2.11/"), "{addresses}");
}
