//! Who may come to a load balancer's address, and where clients of the node itself are led.

use std::io::ErrorKind;

use prefix::Family;
use routerd::cluster::objects::{Protocol, Service, ServiceKind};
use routerd::services::Settings;

use crate::cluster::{Daemon, ip, ready, service};
use crate::net::Net;
use crate::talk::{Heard, ask, is_silent, refusal, serve_tcp};

const BALANCER: &str = "203.0.113.1:80";
const BALANCER6: &str = "[2001:db8:1::1]:80";

fn balanced() -> Service {
    Service {
        kind: ServiceKind::LoadBalancer,
        load_balancer_ips: vec![ip("203.0.113.1"), ip("2001:db8:1::1")],
        ..service("web", 1, Protocol::Tcp, 80, 30080)
    }
}

/// A load balancer Service with a backend in far's pod, and clients that send its addresses to the node.
fn scene(web: Service) -> (Net, Daemon) {
    let net = Net::new();
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    serve_tcp(&net.far, "[fd00:1:2::2]:8080", "far");
    for client in [&net.outside, &net.far] {
        client.run("ip", &["route", "add", "203.0.113.0/24", "via", "192.0.2.11"]);
        client.run("ip", &["-6", "route", "add", "2001:db8:1::/64", "via", "2001:db8::11"]);
    }
    let ranges = ["203.0.113.0/24", "2001:db8:1::/64"].map(|range| range.parse().unwrap());
    let settings = Settings { load_balancer_ranges: ranges.to_vec(), ..Settings::default() };
    let mut daemon = Daemon::new(settings);
    daemon.put(web);
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.2.2")]);
    daemon.endpoints("web", 8080, Family::V6, vec![ready("fd00:1:2::2")]);
    daemon.applied(&net.node, &[]);
    (net, daemon)
}

/// A pod and the node itself, by every external address in both families, each as who it is.
fn clients_of_the_node_reach_far(net: &Net) {
    for (from, source, source6) in
        [(&net.pod_a, "10.1.1.2", "fd00:1:1::2"), (&net.node, "192.0.2.11", "2001:db8::11")]
    {
        for to in [BALANCER, "192.0.2.11:30080"] {
            assert_eq!(ask(from, to), far(source), "{} to {to}", from.name());
        }
        for to in [BALANCER6, "[2001:db8::11]:30080"] {
            assert_eq!(ask(from, to), far(source6), "{} to {to}", from.name());
        }
    }
}

fn far(source: &str) -> Heard {
    Heard { server: "far".into(), source: source.into() }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn only_source_ranges_reach_a_load_balancer_and_they_change_in_place() {
    let admit = |ranges: &[&str]| Service {
        source_ranges: Some(ranges.iter().map(|range| range.parse().unwrap()).collect()),
        ..balanced()
    };
    let (net, mut daemon) = scene(admit(&["192.0.2.100/32", "192.0.2.96/28", "2001:db8::100/128"]));
    for to in [BALANCER, BALANCER6] {
        assert_eq!(ask(&net.outside, to).server, "far");
        for from in [&net.far, &net.pod_a, &net.node] {
            assert!(is_silent(from, to), "{} to {to}", from.name());
        }
    }
    // Neither the cluster address nor the node port has ranges.
    assert_eq!(ask(&net.pod_a, "10.96.0.1:80"), far("10.1.1.2"));
    assert_eq!(ask(&net.far, "192.0.2.11:30080").server, "far");
    assert_eq!(daemon.applied(&net.node, &[]), 0, "it reads back as it was written");

    daemon.put(admit(&["192.0.2.0/28", "10.1.1.0/24", "2001:db8::/123"]));
    daemon.applied(&net.node, &["web"]);
    for to in [BALANCER, BALANCER6] {
        assert_eq!(ask(&net.node, to).server, "far");
        assert!(is_silent(&net.outside, to), "{to}");
    }
    assert_eq!(ask(&net.pod_a, BALANCER), far("10.1.1.2"));
    daemon.put(balanced());
    daemon.applied(&net.node, &["web"]);
    assert_eq!(ask(&net.outside, BALANCER).server, "far");
    assert_eq!(daemon.applied(&net.node, &[]), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn with_a_local_external_policy_clients_of_the_node_use_all_endpoints_and_others_only_local_ones() {
    let (net, mut daemon) = scene(Service { external_local: true, ..balanced() });
    clients_of_the_node_reach_far(&net);
    for to in [BALANCER, BALANCER6, "192.0.2.11:30080"] {
        assert!(is_silent(&net.outside, to), "{to}: no endpoint is here");
    }
    assert_eq!(daemon.applied(&net.node, &[]), 0, "it reads back as it was written");

    // Here is one: those outside get it with their own address, pods still use all.
    serve_tcp(&net.pod_b, "10.1.1.3:8080", "near");
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.applied(&net.node, &["web"]);
    let heard = |from| (0..6).map(|_| ask(from, BALANCER)).collect::<std::collections::BTreeSet<_>>();
    let near = |source: &str| Heard { server: "near".into(), source: source.into() };
    assert_eq!(heard(&net.outside), [near("192.0.2.100")].into());
    assert_eq!(heard(&net.pod_a), [near("10.1.1.2"), far("10.1.1.2")].into());
    assert_eq!(heard(&net.node), [near("192.0.2.11"), far("192.0.2.11")].into());
    // A pod that is its own backend behind the load balancer's address.
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3")]);
    daemon.applied(&net.node, &["web"]);
    assert_eq!(heard(&net.pod_b), [near("192.0.2.11")].into());

    // Without any endpoint everybody hears so at once.
    daemon.endpoints("web", 8080, Family::V4, Vec::new());
    daemon.applied(&net.node, &["web"]);
    for from in [&net.pod_a, &net.node, &net.outside] {
        assert_eq!(refusal(from, BALANCER), ErrorKind::ConnectionRefused, "{}", from.name());
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn with_both_policies_local_clients_of_the_node_still_use_all_endpoints_but_at_the_cluster_address() {
    let local = Service { external_local: true, internal_local: true, ..balanced() };
    let (net, mut daemon) = scene(local);
    clients_of_the_node_reach_far(&net);
    assert!(is_silent(&net.pod_a, "10.96.0.1:80"), "no endpoint is here");
    assert!(is_silent(&net.outside, BALANCER), "no endpoint is here");
    assert_eq!(daemon.applied(&net.node, &[]), 0, "it reads back as it was written");

    // The place they are led to is nobody's by its own address.
    net.outside.run("ip", &["route", "add", "10.96.0.1/32", "via", "192.0.2.11"]);
    for (from, to) in [
        (&net.pod_a, "10.96.0.1:65535"),
        (&net.node, "[fd00:96::1]:65535"),
        (&net.outside, "10.96.0.1:65535"),
    ] {
        assert_eq!(refusal(from, to), ErrorKind::ConnectionRefused, "{} to {to}", from.name());
    }

    serve_tcp(&net.pod_b, "10.1.1.3:8080", "near");
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.applied(&net.node, &["web"]);
    let heard = |from, to| (0..6).map(|_| ask(from, to)).collect::<std::collections::BTreeSet<_>>();
    let near = |source: &str| Heard { server: "near".into(), source: source.into() };
    assert_eq!(heard(&net.pod_a, BALANCER), [near("10.1.1.2"), far("10.1.1.2")].into());
    assert_eq!(heard(&net.pod_a, "10.96.0.1:80"), [near("10.1.1.2")].into());
    assert_eq!(heard(&net.outside, BALANCER), [near("192.0.2.100")].into());

    // Back to all at the cluster address.
    daemon.put(Service { external_local: true, ..balanced() });
    daemon.applied(&net.node, &["web"]);
    assert_eq!(heard(&net.pod_a, "10.96.0.1:80").len(), 2);
    assert!(!net.node.run("ipvsadm", &["-Sn"]).contains(":65535"));
}
