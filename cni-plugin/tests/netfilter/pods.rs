//! Masquerading and the check of frames' sources, by the key of the bridge.

use std::net::IpAddr;

use kernel::testing::TestNs;
use serde_json::json;

use crate::support::{NODE4, NODE6, OUTSIDE4, OUTSIDE6, Pod, World, address};
use crate::traffic::{Client, Server, tcp, udp};

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

#[test]
fn a_masqueraded_pod_leaves_with_the_nodes_address_and_is_itself_in_its_subnet() {
    let world = World::new();
    let conf = world.network(&json!({"ipMasq": true}));
    let (pod, neighbour) = (Pod::new(), Pod::new());
    world.add(&pod, &conf).result();
    let there = world.add(&neighbour, &conf).result();
    for (outside, node) in [(OUTSIDE4.to_owned(), NODE4), (format!("[{OUTSIDE6}]"), NODE6)] {
        assert_eq!(tcp(&pod.ns, &format!("{outside}:7000"), &world.outside, 7000), ip(node));
        assert_eq!(udp(&pod.ns, &format!("{outside}:7000"), &world.outside, 7000), ip(node));
    }
    let seen = tcp(&pod.ns, &format!("{}:7000", address(&there, false)), &neighbour.ns, 7000);
    assert_eq!(seen, ip("10.9.0.2"));
    let seen = tcp(&pod.ns, &format!("[{}]:7000", address(&there, true)), &neighbour.ns, 7000);
    assert_eq!(seen, ip("fd09::2"));
    world.del(&pod, &conf).result();
    world.del(&neighbour, &conf).result();
    assert_eq!(world.elements(), Vec::<String>::new());
}

#[test]
fn without_masquerading_a_pod_is_seen_as_itself() {
    let world = World::new();
    let pod = Pod::new();
    world.add(&pod, &world.network(&json!({}))).result();
    world.outside.run("ip", &["route", "add", "10.9.0.0/24", "via", NODE4]);
    assert_eq!(tcp(&pod.ns, &format!("{OUTSIDE4}:7000"), &world.outside, 7000), ip("10.9.0.2"));
}

#[test]
fn multicast_keeps_the_pods_address() {
    let world = World::new();
    let pod = Pod::new();
    world.add(&pod, &world.network(&json!({"ipMasq": true}))).result();
    let rules = world.rules();
    let chain = |name: &str| {
        let text = rules.split(&format!("chain {name} {{")).nth(1).unwrap();
        text.split('}').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        chain("leaves-10.9.0.0/24"),
        "ip daddr 10.9.0.0/24 return ip daddr 224.0.0.0/4 return masquerade"
    );
    assert_eq!(chain("leaves-fd09__/64"), "ip6 daddr fd09::/64 return ip6 daddr ff00::/8 return masquerade");
}

/// Takes another link address, as a program in the pod could.
fn disguise(ns: &TestNs, mac: &str) {
    ns.run("ip", &["link", "set", "eth0", "address", mac]);
}

#[test]
fn a_pod_that_takes_another_link_address_is_not_heard() {
    let world = World::new();
    let pod = Pod::new();
    let conf = world.network(&json!({"macspoofchk": true, "runtimeConfig": {"mac": "02:00:00:00:00:07"}}));
    world.add(&pod, &conf).result();
    let unchecked = Pod::new();
    world.add(&unchecked, &world.network(&json!({}))).result();
    let server = Server::new(&world.node, 7000, false);
    let client = Client::new(&pod.ns, "10.9.0.1:7000");
    assert!(client.is_heard(&server));
    disguise(&pod.ns, "02:00:00:00:00:08");
    assert!(client.is_unheard(&server));
    disguise(&unchecked.ns, "02:00:00:00:00:09");
    assert!(Client::new(&unchecked.ns, "10.9.0.1:7000").is_heard(&server), "nobody asked for a check");
    disguise(&pod.ns, "02:00:00:00:00:07");
    assert!(client.is_heard(&server));
    world.call("DEL", &pod, "", &conf).result();
    assert_eq!(world.elements(), Vec::<String>::new());
}

#[test]
fn the_masquerade_table_of_the_reference_is_written_when_it_is_asked_for_by_name() {
    let world = World::new();
    let pod = Pod::new();
    let conf = world.network(&json!({"ipMasq": true, "ipMasqBackend": "nftables"}));
    world.add(&pod, &conf).result();
    assert!(world.rules().contains("table inet cni_plugins_masquerade"));
    assert!(!world.rules().contains("routerd-cni"), "and then ours is not");
    assert_eq!(tcp(&pod.ns, &format!("{OUTSIDE4}:7000"), &world.outside, 7000), ip(NODE4));
    let error =
        world.add(&Pod::new(), &world.network(&json!({"ipMasq": true, "ipMasqBackend": "x"}))).error();
    assert!(error.contains("ipMasqBackend"), "{error}");
}
