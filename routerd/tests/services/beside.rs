//! Beside another network (`--run-router=false`): pods' addresses are not of the Node's ranges, and the ways to other nodes'
//! pods are tunnels that another program has made.

use std::collections::BTreeSet;

use prefix::Family;
use routerd::cluster::Object;
use routerd::cluster::objects::{Node, ObjectName, Pod, Protocol, Service};
use routerd::services::Settings;

use crate::cluster::{Daemon, ip, node, ready, service};
use crate::net::Net;
use crate::talk::{Heard, ask, serve_tcp};

fn beside() -> Settings {
    Settings { foreign_ways: true, ..Settings::default() }
}

fn web() -> Service {
    service("web", 1, Protocol::Tcp, 80, 30080)
}

/// A pod of this node with an address of each family.
fn pod(name: &str, last: u16) -> Object {
    Object::Pod(Pod {
        name: ObjectName::new("default", name),
        node: Some("node".into()),
        addresses: vec![ip(&format!("10.1.1.{last}")), ip(&format!("fd00:1:1::{last}"))],
        ..Pod::default()
    })
}

/// A node without pod ranges, whose pods are a and b; `web` has a backend in b and one in far's pod.
fn scene(net: &Net, web: Service) -> Daemon {
    for (near, far) in [("10.1.1.3:8080", "10.1.2.2:8080"), ("[fd00:1:1::3]:8080", "[fd00:1:2::2]:8080")] {
        serve_tcp(&net.pod_b, near, "near");
        serve_tcp(&net.far, far, "far");
    }
    let mut daemon = Daemon::new(beside());
    daemon.upsert(Object::Node(Node { pod_cidrs: Vec::new(), ..node() }));
    daemon.upsert(pod("a", 2));
    daemon.upsert(pod("b", 3));
    daemon.put(web);
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.endpoints("web", 8080, Family::V6, vec![ready("fd00:1:1::3"), ready("fd00:1:2::2")]);
    daemon.applied(&net.node, &[]);
    daemon
}

fn hears(from: &kernel::testing::TestNs, to: &str) -> BTreeSet<Heard> {
    (0..6).map(|_| ask(from, to)).collect()
}

fn heard(pairs: &[(&str, &str)]) -> BTreeSet<Heard> {
    let one = |(server, source): &(&str, &str)| Heard { server: (*server).into(), source: (*source).into() };
    pairs.iter().map(one).collect()
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn pods_outside_of_the_nodes_ranges_keep_their_source_and_see_that_of_their_clients() {
    let net = Net::new();
    let mut daemon = scene(&net, web());
    for (to, own) in [("10.96.0.1:80", "10.1.1.2"), ("[fd00:96::1]:80", "fd00:1:1::2")] {
        assert_eq!(hears(&net.pod_a, to), heard(&[("near", own), ("far", own)]), "{to}");
    }
    let out = heard(&[("near", "192.0.2.100"), ("far", "192.0.2.11")]);
    assert_eq!(hears(&net.outside, "192.0.2.11:30080"), out);
    let out = heard(&[("near", "2001:db8::100"), ("far", "2001:db8::11")]);
    assert_eq!(hears(&net.outside, "[2001:db8::11]:30080"), out);
    assert_eq!(hears(&net.node, "10.96.0.1:80"), heard(&[("near", "192.0.2.11"), ("far", "192.0.2.11")]));
    // A pod that is its own backend.
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3")]);
    daemon.applied(&net.node, &["web"]);
    assert_eq!(hears(&net.pod_b, "10.96.0.1:80"), heard(&[("near", "192.0.2.11")]));
    daemon.restart();
    assert_eq!(daemon.applied(&net.node, &[]), 0, "a restart finds all as it should be");
    // The pod goes, and its address with it.
    daemon.forget_pod("a");
    daemon.applied(&net.node, &[]);
    let pods = net.node.run("nft", &["list", "set", "inet", "routerd", "services-pods"]);
    assert!(pods.contains("10.1.1.3") && !pods.contains("10.1.1.2"), "{pods}");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn pods_outside_of_the_nodes_ranges_have_the_short_way_past_a_local_policy() {
    let net = Net::new();
    scene(&net, Service { external_local: true, ..web() });
    let all = heard(&[("near", "10.1.1.2"), ("far", "10.1.1.2")]);
    assert_eq!(hears(&net.pod_a, "192.0.2.11:30080"), all);
    assert_eq!(hears(&net.outside, "192.0.2.11:30080"), heard(&[("near", "192.0.2.100")]));
}

/// A tunnel as flannel and Calico make them: each end has an address of its own, and the kernel checks sources strictly.
fn foreign_tunnel(net: &Net) {
    for (end, own, other, ours, theirs) in
        [(&net.node, "192.0.2.11", "192.0.2.12", "1", "2"), (&net.far, "192.0.2.12", "192.0.2.11", "2", "1")]
    {
        let script = format!(
            "ip link add overlay0 type ipip local {own} remote {other}
             ip address add 10.1.{ours}.0/32 dev overlay0
             ip link set overlay0 up mtu 1480
             ip route replace 10.1.{theirs}.0/24 dev overlay0
             for device in all uplink overlay0; do echo 1 > /proc/sys/net/ipv4/conf/$device/rp_filter; done"
        );
        end.run("sh", &["-ec", &script]);
    }
}

#[test]
#[ignore = "needs a kernel with IPVS and IPIP: run in a lab guest by cargo verify"]
fn through_another_networks_tunnel_a_rewritten_source_is_that_of_the_tunnel_so_that_answers_come_back_by_it()
{
    let net = Net::new();
    foreign_tunnel(&net);
    scene(&net, web());
    assert_eq!(
        hears(&net.outside, "192.0.2.11:30080"),
        heard(&[("near", "192.0.2.100"), ("far", "10.1.1.0")])
    );
    assert_eq!(hears(&net.node, "10.96.0.1:80"), heard(&[("near", "192.0.2.11"), ("far", "10.1.1.0")]));
    assert_eq!(hears(&net.pod_a, "10.96.0.1:80"), heard(&[("near", "10.1.1.2"), ("far", "10.1.1.2")]));
}
