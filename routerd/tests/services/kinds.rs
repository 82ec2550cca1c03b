//! Where each kind of Service is reached: objects in, `ipvsadm` and packets out.

use std::collections::BTreeSet;

use nix::errno::Errno;
use prefix::Family;
use routerd::cluster::objects::{Protocol, Service, ServiceKind, ServicePort};
use routerd::services::Settings;

use crate::cluster::{Daemon, ip, ready, service};
use crate::net::Net;
use crate::talk::{UdpClient, ask, sctp, serve_sctp, serve_tcp, serve_udp};

fn port(name: &str, protocol: Protocol, port: u16, node_port: Option<u16>) -> ServicePort {
    ServicePort { name: name.into(), protocol, port, node_port }
}

/// A Service of one family with only a cluster address and no port yet.
fn plain(name: &str, last: u16) -> Service {
    let made = service(name, last, Protocol::Tcp, 80, 1);
    Service {
        kind: ServiceKind::ClusterIp,
        cluster_ips: made.cluster_ips[..1].to_vec(),
        ports: Vec::new(),
        ..made
    }
}

fn settings() -> Settings {
    let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Settings {
        load_balancer_ranges: ranges(&["203.0.113.0/24"]),
        external_ranges: ranges(&["198.51.100.0/24", "2001:db8:2::/64"]),
        ..Settings::default()
    }
}

/// The virtual services that the kernel has, as `ipvsadm` saves them.
fn virtuals(net: &Net) -> BTreeSet<String> {
    let saved = net.node.run("ipvsadm", &["-Sn"]);
    saved.lines().filter(|line| line.starts_with("-A")).map(|line| line.trim().to_owned()).collect()
}

fn expect(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| format!("-A {line} -s rr")).collect()
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn every_kind_has_its_virtual_services_and_what_is_not_ours_has_none() {
    let net = Net::new();
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    serve_udp(&net.far, "10.1.2.2:8080", "far");
    let mut daemon = Daemon::new(settings());
    let dns = [
        port("", Protocol::Udp, 53, None),
        port("", Protocol::Tcp, 53, None),
        port("", Protocol::Sctp, 53, None),
    ];
    let labelled = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let node_port = || vec![port("", Protocol::Tcp, 80, Some(30080))];
    daemon.put(Service { ports: dns.to_vec(), ..plain("dns", 1) });
    daemon.put(Service {
        kind: ServiceKind::LoadBalancer,
        ports: node_port(),
        load_balancer_ips: vec![ip("203.0.113.1")],
        external_ips: vec![ip("198.51.100.1"), ip("2001:db8:2::1")],
        ..plain("balanced", 2)
    });
    daemon.put(Service {
        kind: ServiceKind::LoadBalancer,
        ports: vec![port("", Protocol::Tcp, 80, None)],
        load_balancer_ips: vec![ip("203.0.113.9")],
        annotations: labelled("kube-router.io/service.skiplbips", ""),
        ..plain("skipped", 3)
    });
    let other = labelled("service.kubernetes.io/service-proxy-name", "cilium");
    daemon.put(Service { ports: node_port(), labels: other, ..plain("of-another-proxy", 4) });
    let headless = labelled("service.kubernetes.io/headless", "");
    daemon.put(Service { ports: node_port(), labels: headless, ..plain("marked-headless", 5) });
    daemon.put(Service { ports: node_port(), cluster_ips: Vec::new(), ..plain("headless", 6) });
    daemon.put(Service { ports: node_port(), kind: ServiceKind::ExternalName, ..plain("alias", 7) });
    for name in ["dns", "balanced", "skipped", "of-another-proxy", "marked-headless", "headless", "alias"] {
        daemon.endpoints(name, 8080, Family::V4, vec![ready("10.1.2.2")]);
    }
    daemon.applied(&net.node, &[]);
    let expected = expect(&[
        "-u 10.96.0.1:53",
        "-t 10.96.0.1:53",
        "--sctp-service 10.96.0.1:53",
        "-t 10.96.0.2:80",
        "-t 203.0.113.1:80",
        "-t 198.51.100.1:80",
        "-t [2001:db8:2::1]:80",
        "-t 192.0.2.11:30080",
        "-t 10.96.0.3:80",
    ]);
    assert_eq!(virtuals(&net), expected);

    assert_eq!(ask(&net.pod_a, "10.96.0.1:53").source, "10.1.1.2");
    assert_eq!(UdpClient::new(&net.pod_a, "10.96.0.1:53").asks().unwrap().source, "10.1.1.2");
    net.outside.run("ip", &["route", "add", "203.0.113.1/32", "via", "192.0.2.11"]);
    net.outside.run("ip", &["route", "add", "198.51.100.1/32", "via", "192.0.2.11"]);
    for to in ["203.0.113.1:80", "198.51.100.1:80", "192.0.2.11:30080"] {
        assert_eq!(ask(&net.outside, to).source, "192.0.2.11", "{to}");
        assert_eq!(ask(&net.pod_a, to).source, "10.1.1.2", "{to}");
        assert_eq!(ask(&net.node, to).source, "192.0.2.11", "{to}");
    }
    // What this node sends to a virtual address comes from its own.
    let route = net.node.run("ip", &["route", "show", "table", "local", "203.0.113.1"]);
    assert!(route.contains("dev kube-dummy-if") && route.contains("src 192.0.2.11"), "{route}");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_service_of_ipv6_alone_and_sctp_are_served() {
    let net = Net::new();
    serve_tcp(&net.far, "[fd00:1:2::2]:8080", "far");
    serve_sctp(&net.far, "10.1.2.2:8080", "far");
    serve_sctp(&net.far, "[fd00:1:2::2]:8080", "far");
    let mut daemon = Daemon::new(settings());
    let six = service("six", 1, Protocol::Tcp, 80, 30080);
    daemon.put(Service { cluster_ips: six.cluster_ips[1..].to_vec(), ..six });
    daemon.endpoints("six", 8080, Family::V6, vec![ready("fd00:1:2::2")]);
    daemon.put(service("sctp", 2, Protocol::Sctp, 81, 30081));
    daemon.endpoints("sctp", 8080, Family::V4, vec![ready("10.1.2.2")]);
    daemon.endpoints("sctp", 8080, Family::V6, vec![ready("fd00:1:2::2")]);
    daemon.applied(&net.node, &[]);
    let six: BTreeSet<String> = virtuals(&net).into_iter().filter(|line| line.contains("-t ")).collect();
    assert_eq!(six, expect(&["-t [fd00:96::1]:80", "-t [2001:db8::11]:30080"]));
    assert_eq!(ask(&net.pod_a, "[fd00:96::1]:80").source, "fd00:1:1::2");
    assert_eq!(ask(&net.outside, "[2001:db8::11]:30080").source, "2001:db8::11");
    for (from, to, source) in [
        (&net.pod_a, "10.96.0.2:81", "10.1.1.2"),
        (&net.pod_a, "[fd00:96::2]:81", "fd00:1:1::2"),
        (&net.node, "10.96.0.2:81", "192.0.2.11"),
        (&net.outside, "192.0.2.11:30081", "192.0.2.11"),
    ] {
        assert_eq!(sctp(from, to).unwrap().source, source, "{} to {to}", from.name());
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn sctp_to_a_service_without_endpoints_is_refused_at_once() {
    let net = Net::new();
    let mut daemon = Daemon::new(settings());
    daemon.put(service("sctp", 2, Protocol::Sctp, 81, 30081));
    daemon.applied(&net.node, &[]);
    for (from, to) in
        [(&net.pod_a, "10.96.0.2:81"), (&net.node, "10.96.0.2:81"), (&net.outside, "192.0.2.11:30081")]
    {
        let error = sctp(from, to).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENOPROTOOPT as i32), "{} to {to}: {error}", from.name());
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn two_services_share_an_address_until_the_last_of_them_goes() {
    let net = Net::new();
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    net.outside.run("ip", &["route", "add", "203.0.113.1/32", "via", "192.0.2.11"]);
    let mut daemon = Daemon::new(settings());
    for (name, last, number) in [("a", 1, 80), ("b", 2, 443)] {
        daemon.put(Service {
            kind: ServiceKind::LoadBalancer,
            ports: vec![port("", Protocol::Tcp, number, None)],
            load_balancer_ips: vec![ip("203.0.113.1")],
            ..plain(name, last)
        });
        daemon.endpoints(name, 8080, Family::V4, vec![ready("10.1.2.2")]);
    }
    daemon.applied(&net.node, &[]);
    for to in ["203.0.113.1:80", "203.0.113.1:443"] {
        assert_eq!(ask(&net.outside, to).server, "far");
    }
    daemon.delete("a");
    daemon.applied(&net.node, &["a"]);
    assert_eq!(ask(&net.outside, "203.0.113.1:443").server, "far");
    assert_eq!(virtuals(&net), expect(&["-t 203.0.113.1:443", "-t 10.96.0.2:443"]));
    daemon.delete("b");
    daemon.applied(&net.node, &["b"]);
    let addresses = net.node.run("ip", &["addr", "show", "dev", "kube-dummy-if"]);
    assert!(!addresses.contains("203.0.113.1"), "{addresses}");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn node_ports_keep_to_the_nodes_addresses_in_the_given_ranges() {
    let net = Net::new();
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    net.node.run("ip", &["addr", "add", "198.51.100.7/32", "dev", "uplink"]);
    net.outside.run("ip", &["route", "add", "198.51.100.7/32", "via", "192.0.2.11"]);
    let node_port_ranges = vec!["198.51.100.0/24".parse().unwrap()];
    let mut daemon = Daemon::new(Settings { node_port_ranges, ..settings() });
    daemon.put(Service {
        kind: ServiceKind::NodePort,
        ports: vec![port("", Protocol::Tcp, 80, Some(30080))],
        ..plain("web", 1)
    });
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.2.2")]);
    daemon.applied(&net.node, &[]);
    assert_eq!(virtuals(&net), expect(&["-t 10.96.0.1:80", "-t 198.51.100.7:30080"]));
    assert_eq!(ask(&net.outside, "198.51.100.7:30080").server, "far");
}
