//! What a new pod says to its neighbours, as counted by the node's own nf_tables on the bridge.

use super::support::{Node, Pod};
use serde_json::{Value, json};

/// Counts gratuitous ARP and unsolicited neighbour advertisements of the two addresses that the next pod gets.
const RULES: &str = "table bridge seen {
  counter garp { }
  counter una { }
  chain seen {
    type filter hook prerouting priority 0;
    arp saddr ip 10.9.0.2 arp daddr ip 10.9.0.2 ether daddr ff:ff:ff:ff:ff:ff counter name garp
    ether type ip6 ip6 saddr fd09::2 ip6 daddr ff02::1 icmpv6 type nd-neighbor-advert counter name una
  }
}";

/// Counts all IPv6 on the bridge.
const SIX: &str = "table bridge six {
  counter six { }
  chain six {
    type filter hook prerouting priority 0;
    ether type ip6 counter name six
  }
}";

fn count(node: &Node, counter: &str) -> u64 {
    let text = node.ns.run("nft", &["-j", "list", "counter", "bridge", "seen", counter]);
    let value: Value = serde_json::from_str(&text).unwrap();
    let list = value["nftables"].as_array().unwrap().clone();
    list.iter().find_map(|one| one["counter"]["packets"].as_u64()).unwrap()
}

fn announced(changes: &Value) -> (u64, u64) {
    announced_by(&Node::new(), changes)
}

fn announced_by(node: &Node, changes: &Value) -> (u64, u64) {
    let pod = Pod::new();
    node.ns.run("nft", &[RULES]);
    node.add(&pod, &node.network(changes)).works();
    // The kernel puts an advertisement into the queue of the device; it is on the bridge a moment later.
    for _ in 0..100 {
        if count(node, "garp") > 0 && count(node, "una") > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (count(node, "garp"), count(node, "una"))
}

#[test]
fn a_new_pod_announces_its_addresses_of_both_families_on_the_bridge() {
    let (arp, advertisement) = announced(&json!({}));
    assert!(arp >= 1 && advertisement >= 1, "{arp} {advertisement}");
}

#[test]
fn a_pod_with_an_address_of_its_own_choice_announces_that() {
    let (arp, advertisement) = announced(&json!({"runtimeConfig": {"mac": "02:00:00:00:00:55"}}));
    assert!(arp >= 1 && advertisement >= 1, "{arp} {advertisement}");
}

#[test]
fn after_duplicate_address_detection_the_address_is_announced_too() {
    let (arp, advertisement) = announced(&json!({"enabledad": true}));
    assert!(arp >= 1 && advertisement >= 1, "{arp} {advertisement}");
}

#[test]
fn on_a_bridge_with_many_ports_a_pod_is_announced_too() {
    let node = Node::new();
    node.ns.run("ip", &["link", "add", "cni0", "type", "bridge"]);
    let pairs = |i: u32| format!("link add p{i} master cni0 type veth peer name q{i}\n");
    let commands = node.folder().join("ports");
    std::fs::write(&commands, (0..101).map(pairs).collect::<String>()).unwrap();
    node.ns.run("ip", &["-batch", commands.to_str().unwrap()]);
    let (arp, advertisement) = announced_by(&node, &json!({}));
    assert!(arp >= 1 && advertisement >= 1, "{arp} {advertisement}");
}

#[test]
fn a_pod_of_an_ipv4_network_says_nothing_in_ipv6() {
    let (node, pod) = (Node::new(), Pod::new());
    node.ns.run("nft", &[SIX]);
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]});
    node.add(&pod, &node.network(&json!({"ipam": ipam}))).works();
    assert!(super::support::reaches(&pod.ns, &node.ns, "10.9.0.1"));
    assert_eq!(pod.ns.run("ip", &["-6", "address", "show", "dev", "eth0"]), "");
    assert_eq!(node.ns.run("ip", &["-6", "address", "show", "type", "veth"]), "");
    let text = node.ns.run("nft", &["list", "counter", "bridge", "six", "six"]);
    assert!(text.contains("packets 0"), "{text}");
}

#[test]
fn the_nodes_ipv6_on_a_new_bridge_asks_for_neighbours_at_once() {
    let (node, pod) = (Node::new(), Pod::new());
    node.add(&pod, &node.network(&json!({}))).works();
    // A bridge whose link-local address is still being checked sends no neighbour solicitation.
    let addresses = node.ns.run("ip", &["-6", "address", "show", "dev", "cni0"]);
    assert!(addresses.contains("fe80:") && !addresses.contains("tentative"), "{addresses}");
    assert!(super::support::reaches(&node.ns, &pod.ns, "fd09::2"));
}
