//! What a pod's network looks like after an ADD: gateways, routes, settings, and what neighbours know of it.

#![expect(clippy::disallowed_methods, reason = "the plugin is tested as the process that a runtime starts")]

use std::process::Command;

use super::support::{Node, Pod, merge, reaches};
use serde_json::{Value, json};

fn mac(node: &Node, link: &str) -> String {
    let list: Value = serde_json::from_str(&node.ns.run("ip", &["-j", "link", "show", link])).unwrap();
    list[0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn the_bridges_address_stays_as_pods_come_and_go() {
    let node = Node::new();
    let conf = node.network(&json!({}));
    let pods: Vec<Pod> = (0..4).map(|_| Pod::new()).collect();
    node.add(&pods[0], &conf).works();
    let first = mac(&node, "cni0");
    for pod in &pods[1..] {
        node.add(pod, &conf).works();
        assert_eq!(mac(&node, "cni0"), first);
    }
    for pod in &pods {
        node.del(pod, &conf).works();
        assert_eq!(mac(&node, "cni0"), first);
    }
}

#[test]
fn a_bridge_that_lost_its_address_with_its_last_port_serves_again() {
    let (node, pod) = (Node::new(), Pod::new());
    node.ns.run("ip", &["link", "add", "name", "cni0", "type", "bridge"]);
    node.ns
        .run("ip", &["link", "add", "name", "port", "master", "cni0", "type", "veth", "peer", "name", "x"]);
    node.ns.run("ip", &["link", "del", "port"]);
    node.add(&pod, &node.network(&json!({}))).works();
    let pinned = mac(&node, "cni0");
    assert_ne!(pinned, "00:00:00:00:00:00");
    node.add(&Pod::new(), &node.network(&json!({}))).works();
    assert_eq!(mac(&node, "cni0"), pinned);
}

#[test]
fn a_bridge_made_by_hand_keeps_its_address_also_where_sys_shows_another_namespace() {
    let (node, pod) = (Node::new(), Pod::new());
    node.ns.run("ip", &["link", "add", "name", "cni0", "type", "bridge"]);
    let conf = node.network(&json!({}));
    let mut launcher = Command::new("nsenter");
    launcher.arg(format!("--net={}", node.ns.path()));
    let result = node.call_by(&mut launcher, "ADD", &pod, &pod.ns.path(), &conf, &[]).result();
    let told = result["interfaces"][0]["mac"].as_str().unwrap();
    assert_eq!(mac(&node, "cni0"), told);
    node.del(&pod, &conf).works();
    assert_eq!(mac(&node, "cni0"), told);
}

#[test]
fn a_foreign_address_on_the_bridge_is_refused_or_replaced_as_asked() {
    let (node, pod) = (Node::new(), Pod::new());
    node.ns.run("ip", &["link", "add", "name", "cni0", "up", "type", "bridge"]);
    node.ns.run("ip", &["address", "add", "10.8.0.1/16", "dev", "cni0"]);
    node.ns.run("ip", &["address", "add", "fd09::77/48", "nodad", "dev", "cni0"]);
    node.ns.run("ip", &["address", "add", "fd77::1/64", "nodad", "dev", "cni0"]);
    let error = node.add(&pod, &node.network(&json!({}))).error();
    assert!(error.contains(r#""cni0" already has an IP address different from 10.9.0.1/24"#), "{error}");
    node.assert_clean();
    node.add(&pod, &node.network(&json!({"forceAddress": true}))).works();
    let addresses = node.ns.run("ip", &["address", "show", "cni0"]);
    for (address, there) in [
        ("10.9.0.1/24", true),
        ("10.8.0.1/16", false),
        ("fd09::1/64", true),
        ("fd09::77", false),
        ("fd77::1/64", true),
    ] {
        assert_eq!(addresses.contains(address), there, "{address} in {addresses}");
    }
}

#[test]
fn pods_of_the_nodes_former_range_and_of_its_new_one_live_side_by_side_where_the_plugin_is_routerds() {
    let (node, old, new) = (Node::new(), Pod::new(), Pod::new());
    let of = |range: &str, more: Value| {
        let mut conf = node.network(&json!({"type": "routerd-cni", "bridge": "cni0",
            "routerd": {"required": false, "awayMs": 1, "socket": "/nonexistent/routerd.sock"}}));
        conf["ipam"]["ranges"] = json!([[{"subnet": range}]]);
        merge(&mut conf, &more);
        conf
    };
    node.add(&old, &of("10.7.0.0/24", json!({}))).works();
    let error = node.add(&new, &of("10.9.0.0/24", json!({"type": "bridge"}))).error();
    assert!(error.contains("already has an IP address different"), "the reference plugin's word: {error}");
    let result = node.add(&new, &of("10.9.0.0/24", json!({}))).result();
    let address = result["ips"][0]["address"].as_str().unwrap().trim_end_matches("/24");
    assert!(reaches(&old.ns, &node.ns, "10.7.0.1") && reaches(&new.ns, &node.ns, "10.9.0.1"));
    assert!(reaches(&old.ns, &new.ns, address), "and reach each other");
    let error = node.add(&Pod::new(), &of("10.7.0.0/16", json!({}))).error();
    assert!(error.contains("already has an IP address different"), "one in the other: {error}");
    node.add(&Pod::new(), &of("10.6.0.0/24", json!({"forceAddress": true}))).works();
    assert!(!node.ns.run("ip", &["address", "show", "cni0"]).contains("10.7.0.1"));
}

#[test]
fn the_node_forwards_and_takes_no_advice_from_pods() {
    let (node, pod) = (Node::new(), Pod::new());
    let read = |ns: &kernel::testing::TestNs, key: &str| ns.run("cat", &[&format!("/proc/sys/net/{key}")]);
    node.ns.run("sysctl", &["-q", "net.ipv4.ip_forward=0"]);
    let result = node.add(&pod, &node.network(&json!({}))).result();
    assert_eq!(read(&node.ns, "ipv4/ip_forward").trim(), "1");
    assert_eq!(read(&node.ns, "ipv6/conf/all/forwarding").trim(), "1");
    let near = result["interfaces"][1]["name"].as_str().unwrap();
    for link in ["cni0", near] {
        assert_eq!(read(&node.ns, &format!("ipv6/conf/{link}/accept_ra")).trim(), "0", "{link}");
    }
    for (key, value) in [("accept_ra", "0"), ("accept_dad", "0"), ("keep_addr_on_down", "1")] {
        assert_eq!(read(&pod.ns, &format!("ipv6/conf/eth0/{key}")).trim(), value, "{key}");
    }
}

#[test]
fn an_ipv6_address_serves_at_once_also_where_the_runtime_disabled_ipv6() {
    let (node, pod) = (Node::new(), Pod::new());
    pod.ns.run("sysctl", &["-q", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]);
    node.add(&pod, &node.network(&json!({}))).works();
    let addresses = pod.ns.run("ip", &["-6", "address", "show", "dev", "eth0", "scope", "global"]);
    assert!(addresses.contains("fd09::2/64") && !addresses.contains("tentative"), "{addresses}");
    assert!(reaches(&pod.ns, &node.ns, "fd09::1"));
}

#[test]
fn with_dad_asked_for_the_address_is_checked_and_a_duplicate_is_refused() {
    let (node, first, second) = (Node::new(), Pod::new(), Pod::new());
    let conf = |address: &str| {
        node.network(&json!({
            "enabledad": true, "isDefaultGateway": false,
            "ipam": {"ranges": [[{"subnet": "fd09::/64", "rangeStart": address, "rangeEnd": address}]]},
        }))
    };
    node.add(&first, &conf("fd09::9")).works();
    let addresses = first.ns.run("ip", &["-6", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains("fd09::9/64") && !addresses.contains("tentative"), "{addresses}");
    first.ns.run("ip", &["address", "add", "fd09::a/64", "nodad", "dev", "eth0"]);
    let error = node.add(&second, &conf("fd09::a")).error();
    assert!(error.contains("duplicate address detection failed for fd09::a"), "{error}");
    assert_eq!(node.leases(), ["fd09::9"]);
}

#[test]
fn a_new_pod_with_an_old_pods_address_is_known_to_its_neighbours_at_once() {
    // The first pod keeps the bridge up; without a port it would forget its neighbours.
    let (node, first, pod) = (Node::new(), Pod::new(), Pod::new());
    let conf = node.network(&json!({}));
    node.add(&first, &conf).works();
    for address in ["10.9.0.3", "fd09::3"] {
        node.ns.run(
            "ip",
            &["neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "cni0"],
        );
    }
    let result = node.add(&pod, &conf).result();
    let mac = result["interfaces"][2]["mac"].as_str().unwrap();
    for address in ["10.9.0.3", "fd09::3"] {
        assert!(result.to_string().contains(address), "{result}");
        let known = || node.ns.run("ip", &["neigh", "show", address, "dev", "cni0"]);
        let soon = (0..50).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            known().contains(mac)
        });
        assert!(soon, "{} is not {mac}", known());
    }
}

#[test]
fn fifty_pods_at_once_on_a_node_without_bridge() {
    let node = Node::new();
    let conf = node.network(&json!({}));
    let pods: Vec<Pod> = (0..50).map(|_| Pod::new()).collect();
    std::thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(|| node.add(pod, &conf).works());
        }
    });
    assert_eq!(node.leases().len(), 100);
    assert_eq!(node.links("veth").len(), 50);
    let gateways = node.ns.run("ip", &["-4", "-o", "address", "show", "cni0"]);
    assert_eq!(gateways.lines().count(), 1, "{gateways}");
    std::thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(|| node.del(pod, &conf).works());
        }
    });
    node.assert_clean();
}
