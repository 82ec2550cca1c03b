//! Services whose owner thinks better of it: type, protocol, ports and their names change in place.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use prefix::Family;
use routerd::cluster::Object;
use routerd::cluster::objects::{
    EndpointSlice, ObjectName, Protocol, Service, ServiceKind, ServicePort, SlicePort,
};
use routerd::services::Settings;

use crate::cluster::{Daemon, ip, ready, service};
use crate::net::Net;
use crate::talk::{UdpClient, ask, connect, refusal, sctp, serve_sctp, serve_tcp, serve_udp};

const WEB: &str = "10.96.0.1:80";

fn scene() -> (Net, Daemon) {
    let net = Net::new();
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    net.outside.run("ip", &["route", "add", "203.0.113.1/32", "via", "192.0.2.11"]);
    let ranges = vec!["203.0.113.0/24".parse().unwrap()];
    (net, Daemon::new(Settings { load_balancer_ranges: ranges, firewall: true, ..Settings::default() }))
}

fn web() -> Service {
    service("web", 1, Protocol::Tcp, 80, 30080)
}

/// The endpoint of `web`, with these ports.
fn slice(ports: &[(&str, Protocol, Option<u16>)]) -> Object {
    let port = |(name, protocol, number): &(&str, Protocol, Option<u16>)| SlicePort {
        name: (*name).into(),
        protocol: *protocol,
        number: *number,
    };
    Object::EndpointSlice(EndpointSlice {
        name: ObjectName::new("default", "web-a"),
        service: Some(ObjectName::new("default", "web")),
        family: Family::V4,
        ports: ports.iter().map(port).collect(),
        endpoints: vec![ready("10.1.2.2")],
    })
}

fn port(name: &str, protocol: Protocol, number: u16) -> ServicePort {
    ServicePort { name: name.into(), protocol, port: number, node_port: None }
}

/// The IPv4 virtual services that the kernel has.
fn virtuals(net: &Net) -> BTreeSet<String> {
    let saved = net.node.run("ipvsadm", &["-Sn"]);
    let services = saved.lines().filter(|line| line.starts_with("-A") && !line.contains('['));
    services.map(|line| line.trim_start_matches("-A ").trim_end_matches(" -s rr").trim().to_owned()).collect()
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn the_type_changes_and_with_it_only_where_the_service_is_reached() {
    let (net, mut daemon) = scene();
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.2.2")]);
    let balanced =
        Service { kind: ServiceKind::LoadBalancer, load_balancer_ips: vec![ip("203.0.113.1")], ..web() };
    daemon.put(balanced.clone());
    daemon.applied(&net.node, &["web"]);
    assert_eq!(ask(&net.outside, "203.0.113.1:80").server, "far");
    let mut open = connect(&net.pod_a, WEB).unwrap();

    // The load balancer's status may be left over; what is no load balancer has none.
    daemon.put(Service { kind: ServiceKind::NodePort, ..balanced.clone() });
    daemon.applied(&net.node, &["web"]);
    assert_eq!(virtuals(&net), set(&["-t 10.96.0.1:80", "-t 192.0.2.11:30080"]));
    assert_eq!(ask(&net.outside, "192.0.2.11:30080").server, "far");

    daemon.put(Service { kind: ServiceKind::ClusterIp, ..balanced.clone() });
    daemon.applied(&net.node, &["web"]);
    assert_eq!(virtuals(&net), set(&["-t 10.96.0.1:80"]));
    assert_eq!(refusal(&net.outside, "192.0.2.11:30080"), ErrorKind::ConnectionRefused);
    let addresses = net.node.run("ip", &["addr", "show", "dev", "kube-dummy-if"]);
    assert!(!addresses.contains("203.0.113.1"), "{addresses}");

    daemon.put(balanced);
    daemon.applied(&net.node, &["web"]);
    assert_eq!(ask(&net.outside, "203.0.113.1:80").server, "far");
    assert_eq!(
        open.says("still there?").unwrap(),
        "still there?",
        "the cluster address was there all the time"
    );

    daemon.put(Service { kind: ServiceKind::ExternalName, cluster_ips: Vec::new(), ..web() });
    daemon.applied(&net.node, &["web"]);
    assert_eq!(virtuals(&net), BTreeSet::new());
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_port_becomes_one_of_another_protocol_and_back() {
    let (net, mut daemon) = scene();
    serve_udp(&net.far, "10.1.2.2:8080", "far-udp");
    serve_sctp(&net.far, "10.1.2.2:8080", "far-sctp");
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.2.2")]);
    let as_one_of = |protocol| Service { ports: vec![port("", protocol, 80)], ..web() };
    for round in 0..2 {
        daemon.put(as_one_of(Protocol::Tcp));
        daemon.applied(&net.node, &["web"]);
        assert_eq!(ask(&net.pod_a, WEB).server, "far", "round {round}");
        assert_eq!(UdpClient::new(&net.pod_a, WEB).asks().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        daemon.put(as_one_of(Protocol::Udp));
        daemon.applied(&net.node, &["web"]);
        assert_eq!(UdpClient::new(&net.pod_a, WEB).asks().unwrap().server, "far-udp", "round {round}");
        assert_eq!(refusal(&net.pod_a, WEB), ErrorKind::ConnectionRefused);
        daemon.put(as_one_of(Protocol::Sctp));
        daemon.applied(&net.node, &["web"]);
        assert_eq!(sctp(&net.pod_a, WEB).unwrap().server, "far-sctp", "round {round}");
    }
    assert_eq!(virtuals(&net), set(&["--sctp-service 10.96.0.1:80"]));
    assert_eq!(daemon.applied(&net.node, &[]), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn endpoints_are_found_by_the_name_of_the_port_and_never_by_another() {
    let (net, mut daemon) = scene();
    serve_tcp(&net.far, "10.1.2.2:9090", "metrics");
    let named = |first: &str, second: &str| Service {
        ports: vec![port(first, Protocol::Tcp, 80), port(second, Protocol::Tcp, 81)],
        ..web()
    };
    let tcp = |name, number| (name, Protocol::Tcp, Some(number));
    daemon.put(named("http", "metrics"));
    // In another order, one more, and one of the same name by another protocol.
    let ports = [tcp("metrics", 9090), ("http", Protocol::Udp, Some(1)), tcp("other", 2), tcp("http", 8080)];
    daemon.upsert(slice(&ports));
    daemon.applied(&net.node, &["web"]);
    assert_eq!(ask(&net.pod_a, WEB).server, "far");
    assert_eq!(ask(&net.pod_a, "10.96.0.1:81").server, "metrics");
    let mut open = connect(&net.pod_a, WEB).unwrap();

    // Renamed in both objects: what is reached is the same, so nothing is written and nothing ends.
    daemon.put(named("web", "numbers"));
    daemon.upsert(slice(&[tcp("numbers", 9090), tcp("web", 8080)]));
    assert_eq!(daemon.applied(&net.node, &["web"]), 0);
    assert_eq!(open.says("still there?").unwrap(), "still there?");

    // Names that are not those of the Service, a port without number, no port at all: nobody serves, and clients hear so.
    for ports in
        [&[tcp("http", 8080)][..], &[("web", Protocol::Tcp, None)], &[("web", Protocol::Tcp, Some(0))], &[]]
    {
        daemon.upsert(slice(ports));
        daemon.applied(&net.node, &["web"]);
        assert_eq!(refusal(&net.pod_a, WEB), ErrorKind::ConnectionRefused, "{ports:?}");
    }
    daemon.upsert(slice(&[tcp("numbers", 9090), tcp("web", 8080)]));
    daemon.applied(&net.node, &["web"]);
    assert_eq!(ask(&net.pod_a, WEB).server, "far");
}
