//! Which way packets go, and whose address they carry (`kube-router.md` 4.6).

use std::collections::BTreeSet;
use std::io::ErrorKind;

use prefix::Family;
use routerd::cluster::objects::{Endpoint, Protocol, Service, ServiceKind};
use routerd::services::Settings;

use crate::cluster::{Daemon, ip, ready, service};
use crate::net::Net;
use crate::talk::{Heard, ask, is_silent, refusal, serve_tcp};

/// A node whose Service `web` has a backend in pod b and one in far's pod, in both families.
fn scene(settings: Settings) -> (Net, Daemon) {
    let net = Net::new();
    for (near, far) in [("10.1.1.3:8080", "10.1.2.2:8080"), ("[fd00:1:1::3]:8080", "[fd00:1:2::2]:8080")] {
        serve_tcp(&net.pod_b, near, "near");
        serve_tcp(&net.far, far, "far");
    }
    let mut daemon = Daemon::new(settings);
    daemon.put(service("web", 1, Protocol::Tcp, 80, 30080));
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.endpoints("web", 8080, Family::V6, vec![ready("fd00:1:1::3"), ready("fd00:1:2::2")]);
    daemon.applied(&net.node, &[]);
    (net, daemon)
}

/// What six connections hear.
fn hears(namespace: &kernel::testing::TestNs, to: &str) -> BTreeSet<Heard> {
    (0..6).map(|_| ask(namespace, to)).collect()
}

fn both(near: &str, far: &str) -> BTreeSet<Heard> {
    let heard = |server: &str, source: &str| Heard { server: server.into(), source: source.into() };
    BTreeSet::from([heard("near", near), heard("far", far)])
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_pod_reaches_backends_here_and_elsewhere_by_the_cluster_address_with_its_own_address() {
    let (net, _daemon) = scene(Settings::default());
    assert_eq!(hears(&net.pod_a, "10.96.0.1:80"), both("10.1.1.2", "10.1.1.2"));
    assert_eq!(hears(&net.pod_a, "[fd00:96::1]:80"), both("fd00:1:1::2", "fd00:1:1::2"));
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn the_node_itself_reaches_both_with_its_address() {
    let (net, _daemon) = scene(Settings::default());
    assert_eq!(hears(&net.node, "10.96.0.1:80"), both("192.0.2.11", "192.0.2.11"));
    assert_eq!(hears(&net.node, "[fd00:96::1]:80"), both("2001:db8::11", "2001:db8::11"));
    assert_eq!(hears(&net.node, "192.0.2.11:30080"), both("192.0.2.11", "192.0.2.11"));
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn from_outside_a_node_port_keeps_the_source_to_a_local_pod_and_takes_the_nodes_to_another_node() {
    let (net, _daemon) = scene(Settings::default());
    assert_eq!(hears(&net.outside, "192.0.2.11:30080"), both("192.0.2.100", "192.0.2.11"));
    assert_eq!(hears(&net.outside, "[2001:db8::11]:30080"), both("2001:db8::100", "2001:db8::11"));
    // A pod of another node counts as outside of this one.
    assert_eq!(hears(&net.far, "192.0.2.11:30080"), both("192.0.2.12", "192.0.2.11"));
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn masquerade_all_hides_every_client_behind_the_node() {
    let (net, _daemon) = scene(Settings { masquerade_all: true, ..Settings::default() });
    assert_eq!(hears(&net.pod_a, "10.96.0.1:80"), both("192.0.2.11", "192.0.2.11"));
    assert_eq!(hears(&net.outside, "192.0.2.11:30080"), both("192.0.2.11", "192.0.2.11"));
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_pod_that_is_its_own_backend_reaches_itself_by_every_address_of_its_service_without_being_asked_for() {
    let (net, mut daemon) = scene(Settings { any_external_address: true, ..Settings::default() });
    let mut web = service("web", 1, Protocol::Tcp, 80, 30080);
    web.kind = ServiceKind::LoadBalancer;
    web.external_ips = vec![ip("198.51.100.1")];
    web.load_balancer_ips = vec![ip("198.51.100.2")];
    daemon.put(web);
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3")]);
    daemon.endpoints("web", 8080, Family::V6, vec![ready("fd00:1:1::3")]);
    daemon.applied(&net.node, &["web"]);
    let itself = |source: &str| Heard { server: "near".into(), source: source.into() };
    for to in ["10.96.0.1:80", "192.0.2.11:30080", "198.51.100.1:80", "198.51.100.2:80"] {
        assert_eq!(ask(&net.pod_b, to), itself("192.0.2.11"), "{to}");
        assert_eq!(ask(&net.pod_a, to), itself("10.1.1.2"), "{to}");
    }
    for to in ["[fd00:96::1]:80", "[2001:db8::11]:30080"] {
        assert_eq!(ask(&net.pod_b, to), itself("2001:db8::11"), "{to}");
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn node_ports_can_be_at_every_address_of_the_node() {
    let (net, mut daemon) = scene(Settings { node_port_on_all_addresses: true, ..Settings::default() });
    net.node.run("ip", &["addr", "add", "198.51.100.7/32", "dev", "uplink"]);
    net.outside.run("ip", &["route", "add", "198.51.100.7/32", "via", "192.0.2.11"]);
    daemon.applied(&net.node, &[]);
    assert_eq!(hears(&net.outside, "198.51.100.7:30080").len(), 2);
    assert_eq!(hears(&net.outside, "192.0.2.11:30080").len(), 2);
    let seen = net.node.run("ipvsadm", &["-ln"]);
    assert!(!seen.contains("127.0.0.1:30080") && !seen.contains("10.1.1.1:30080"), "{seen}");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn without_endpoints_everybody_is_refused_at_once_and_with_one_all_is_well() {
    let (net, mut daemon) = scene(Settings::default());
    daemon.endpoints("web", 8080, Family::V4, Vec::new());
    daemon.applied(&net.node, &["web"]);
    for (from, to) in [
        (&net.pod_a, "10.96.0.1:80"),
        (&net.node, "10.96.0.1:80"),
        (&net.outside, "192.0.2.11:30080"),
        (&net.node, "192.0.2.11:30080"),
    ] {
        assert_eq!(refusal(from, to), ErrorKind::ConnectionRefused, "{} to {to}", from.name());
    }
    assert_eq!(ask(&net.pod_a, "[fd00:96::1]:80").source, "fd00:1:1::2");
    daemon.endpoints("web", 8080, Family::V6, Vec::new());
    daemon.applied(&net.node, &["web"]);
    for (from, to) in [(&net.pod_a, "[fd00:96::1]:80"), (&net.outside, "[2001:db8::11]:30080")] {
        assert_eq!(refusal(from, to), ErrorKind::ConnectionRefused, "{} to {to}", from.name());
    }
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.2.2")]);
    daemon.applied(&net.node, &["web"]);
    assert_eq!(ask(&net.pod_a, "10.96.0.1:80").server, "far");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn with_local_policy_only_local_backends_answer_and_none_is_silence() {
    let (net, mut daemon) = scene(Settings::default());
    let by_annotation = [("kube-router.io/service.local".to_owned(), "true".to_owned())].into();
    let web = || service("web", 1, Protocol::Tcp, 80, 30080);
    for local in
        [Service { external_local: true, ..web() }, web(), Service { annotations: by_annotation, ..web() }]
    {
        let is_local = local != web();
        daemon.put(local);
        daemon.applied(&net.node, &["web"]);
        let near = Heard { server: "near".into(), source: "192.0.2.100".into() };
        let heard = hears(&net.outside, "192.0.2.11:30080");
        assert_eq!(heard == BTreeSet::from([near]), is_local, "{heard:?}");
        assert_eq!(hears(&net.pod_a, "10.96.0.1:80").len(), 2, "the cluster address is not concerned");
    }
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.2.2")]);
    daemon.applied(&net.node, &["web"]);
    assert!(is_silent(&net.outside, "192.0.2.11:30080"));
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_backend_in_the_nodes_own_network_is_reached_as_the_api_server_of_a_control_plane_node_is() {
    let (net, mut daemon) = scene(Settings::default());
    serve_tcp(&net.node, "192.0.2.11:6443", "api");
    daemon.endpoints(
        "web",
        6443,
        Family::V4,
        vec![Endpoint { node: Some("node".into()), ..ready("192.0.2.11") }],
    );
    daemon.applied(&net.node, &["web"]);
    for (from, to, source) in [
        (&net.pod_a, "10.96.0.1:80", "10.1.1.2"),
        (&net.node, "10.96.0.1:80", "192.0.2.11"),
        (&net.outside, "192.0.2.11:30080", "192.0.2.100"),
    ] {
        assert_eq!(ask(from, to), Heard { server: "api".into(), source: source.into() }, "{to}");
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn with_session_affinity_a_client_stays_with_its_backend() {
    let (net, mut daemon) = scene(Settings::default());
    let mut web = service("web", 1, Protocol::Tcp, 80, 30080);
    web.affinity_seconds = Some(600);
    daemon.put(web);
    daemon.applied(&net.node, &["web"]);
    assert_eq!(hears(&net.pod_a, "10.96.0.1:80").len(), 1);
    assert_eq!(hears(&net.pod_a, "[fd00:96::1]:80").len(), 1);
    let seen = net.node.run("ipvsadm", &["-ln"]);
    assert!(seen.contains("TCP  10.96.0.1:80 rr persistent 600"), "{seen}");
    assert_eq!(daemon.applied(&net.node, &[]), 0);
}
