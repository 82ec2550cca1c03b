//! The VLAN keys. What needs a kernel that filters bridges by VLAN runs in a lab guest; what such a kernel's absence
//! means is shown on any.

use super::support::{Node, Pod, links, reaches};
use kernel::testing::TestNs;
use serde_json::{Value, json};

/// The VLANs of a port as `bridge` tells them: `100 PVID Egress Untagged` as `100pu`.
fn vlans(node: &Node, port: &str) -> Vec<String> {
    let text = node.ns.run("bridge", &["-j", "vlan", "show", "dev", port]);
    let value: Value = serde_json::from_str(&text).unwrap();
    let entries = value[0]["vlans"].as_array().cloned().unwrap_or_default();
    let one = |entry: &Value| {
        let flags = entry["flags"].to_string();
        let (p, u) = (flags.contains("PVID"), flags.contains("Untagged"));
        format!("{}{}{}", entry["vlan"], if p { "p" } else { "" }, if u { "u" } else { "" })
    };
    entries.iter().map(one).collect()
}

fn name(result: &Value, number: usize) -> String {
    result["interfaces"][number]["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_bridge_that_does_not_filter_is_refused_with_key_and_remedy_and_is_not_touched() {
    let node = Node::new();
    node.ns.run("ip", &["link", "add", "name", "cni0", "type", "bridge"]);
    let before = node.ns.run("ip", &["-d", "address", "show"]);
    for (changes, key) in [(json!({"vlan": 100}), "vlan"), (json!({"vlanTrunk": [{"id": 5}]}), "vlanTrunk")] {
        let answer = node.add(&Pod::new(), &node.network(&changes));
        assert_eq!(answer.json["code"], 2, "{answer:?}");
        let error = answer.error();
        assert!(error.starts_with(&format!("{key}: ")) && error.contains("vlan_filtering 1"), "{error}");
        let status = json!({"cniVersion": "1.1.0"});
        let mut conf = node.network(&changes);
        super::support::merge(&mut conf, &status);
        let answer = node.call("STATUS", &Pod::new(), "", &conf);
        assert_eq!(answer.json["code"], 50, "{answer:?}");
    }
    assert_eq!(node.ns.run("ip", &["-d", "address", "show"]), before);
    node.assert_clean();
}

#[test]
fn a_kernel_without_vlan_filtering_is_told_by_the_key_and_nothing_stays() {
    let (node, pod, probe) = (Node::new(), Pod::new(), TestNs::new("probe"));
    let before = links(&node.ns, &[]);
    let able = probe.succeeds("ip", &["link", "add", "type", "bridge", "vlan_filtering", "1"]);
    let answer = node.add(&pod, &node.network(&json!({"vlan": 100})));
    assert_eq!(answer.success, able, "{answer:?}");
    if !able {
        let error = answer.error();
        assert!(error.starts_with("vlan: ") && error.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{error}");
        node.assert_clean();
        assert_eq!(links(&node.ns, &[]), before);
    }
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run in a lab guest by cargo verify"]
fn pods_of_one_vlan_reach_each_other_and_their_gateway_and_no_pod_of_another() {
    let node = Node::new();
    let conf = |vlan: u16, net: &str| {
        node.network(&json!({"vlan": vlan, "name": net,
            "ipam": {"ranges": [[{"subnet": "10.9.0.0/24", "rangeStart": format!("10.9.0.{}", vlan / 10)}]]}}))
    };
    let (a, b, alien) = (Pod::new(), Pod::new(), Pod::new());
    let first = node.add(&a, &conf(100, "net")).result();
    let second = node.add(&b, &conf(100, "net")).result();
    let third = node.add(&alien, &conf(200, "other")).result();
    assert_eq!(first["interfaces"].as_array().unwrap().len(), 4, "{first}");
    assert_eq!(name(&first, 3), "cni0.100");
    assert_eq!(vlans(&node, &name(&first, 1)), ["100pu"]);
    assert_eq!(vlans(&node, &name(&third, 1)), ["200pu"]);
    let address =
        |result: &Value| result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
    assert!(reaches(&a.ns, &b.ns, &address(&second)));
    assert!(reaches(&a.ns, &node.ns, "10.9.0.1"), "the gateway on cni0.100");
    let text = node.ns.run("ip", &["address", "show", "cni0.100"]);
    assert!(text.contains("10.9.0.1/24"), "{text}");
    assert!(!node.ns.run("ip", &["-4", "address", "show", "dev", "cni0"]).contains("10.9"));
    // Same subnet, other VLAN: the frame does not pass. ARP finds nobody.
    assert!(!a.ns.succeeds("ping", &["-c", "1", "-W", "1", &address(&third)]), "{third}");
    for (pod, conf) in [(&a, conf(100, "net")), (&b, conf(100, "net")), (&alien, conf(200, "other"))] {
        node.del(pod, &conf).works();
    }
    assert_eq!(node.links("veth").len(), 4, "gateways stay, as the bridge does");
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run in a lab guest by cargo verify"]
fn trunks_and_the_default_vlan_are_on_the_port_as_asked_and_check_sees_every_change() {
    let node = Node::new();
    for (changes, expected) in [
        (json!({"vlanTrunk": [{"id": 7}, {"minID": 10, "maxID": 12}]}), vec!["1pu", "7", "10", "11", "12"]),
        (json!({"vlan": 11, "vlanTrunk": [{"minID": 10, "maxID": 12}]}), vec!["10", "11pu", "12"]),
        (json!({"vlan": 100, "preserveDefaultVlan": true}), vec!["1u", "100pu"]),
        (json!({"vlan": 100, "preserveDefaultVlan": false}), vec!["100pu"]),
    ] {
        let pod = Pod::new();
        let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge"});
        super::support::merge(&mut conf, &changes);
        let result = node.add(&pod, &conf).result();
        let port = name(&result, 1);
        assert_eq!(vlans(&node, &port), expected, "{changes}");
        conf["prevResult"] = result;
        let check = || node.call("CHECK", &pod, &pod.ns.path(), &conf);
        check().works();
        node.ns.run("bridge", &["vlan", "add", "dev", &port, "vid", "999"]);
        assert!(check().error().contains("999"));
        node.ns.run("bridge", &["vlan", "del", "dev", &port, "vid", "999"]);
        node.del(&pod, &conf).works();
    }
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run in a lab guest by cargo verify"]
fn a_failed_add_leaves_no_gateway_of_a_vlan_unless_others_use_it() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = |more: Value| {
        let mut conf = node.network(&json!({"vlan": 100}));
        super::support::merge(&mut conf, &more);
        conf
    };
    let failing = json!({"ipam": {"routes": [{"dst": "10.1.0.0/16", "gw": "192.0.2.1"}]}});
    let before = links(&node.ns, &[]);
    node.add(&Pod::new(), &conf(failing.clone())).error();
    assert_eq!(links(&node.ns, &[]), before);
    let result = node.add(&pod, &conf(json!({}))).result();
    node.add(&Pod::new(), &conf(failing)).error();
    assert!(reaches(&pod.ns, &node.ns, "10.9.0.1"), "{result}");
    let mut checked = conf(json!({}));
    checked["prevResult"] = result;
    node.call("CHECK", &pod, &pod.ns.path(), &checked).works();
    node.ns.run("ip", &["address", "del", "10.9.0.1/24", "dev", "cni0.100"]);
    let error = node.call("CHECK", &pod, &pod.ns.path(), &checked).error();
    assert!(error.contains("cni0.100 lost the gateway address 10.9.0.1/24"), "{error}");
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run in a lab guest by cargo verify"]
fn a_gateway_whose_maker_was_killed_before_it_was_in_its_vlan_is_seen_by_check_and_mended_by_the_next_add() {
    let (node, pod, next) = (Node::new(), Pod::new(), Pod::new());
    let mut conf = node.network(&json!({"vlan": 100}));
    let result = node.add(&pod, &conf).result();
    let device: Value =
        serde_json::from_str(&node.ns.run("ip", &["-j", "link", "show", "cni0.100"])).unwrap();
    let port = device[0]["link"].as_str().unwrap();
    assert_eq!(vlans(&node, port), ["100pu"]);
    // As a port is born.
    node.ns.run("bridge", &["vlan", "del", "dev", port, "vid", "100"]);
    node.ns.run("bridge", &["vlan", "add", "dev", port, "vid", "1", "pvid", "untagged"]);
    conf["prevResult"] = result;
    let check = || node.call("CHECK", &pod, &pod.ns.path(), &conf);
    let error = check().error();
    assert!(error.contains("cni0.100") && error.contains("VLANs 1,"), "{error}");
    node.add(&next, &node.network(&json!({"vlan": 100}))).works();
    assert_eq!(vlans(&node, port), ["100pu"]);
    assert!(reaches(&pod.ns, &node.ns, "10.9.0.1") && reaches(&next.ns, &node.ns, "10.9.0.1"));
    check().works();
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run in a lab guest by cargo verify"]
fn a_device_under_the_name_of_a_vlans_gateway_is_refused_and_not_touched() {
    let node = Node::new();
    node.ns.run("ip", &["link", "add", "cni0.100", "type", "veth", "peer", "name", "x"]);
    let before = node.ns.run("ip", &["-br", "link"]);
    let error = node.add(&Pod::new(), &node.network(&json!({"vlan": 100}))).error();
    assert!(error.contains("\"cni0.100\" already exists"), "{error}");
    assert_eq!(node.ns.run("ip", &["-br", "link"]), before);
    assert_eq!(node.leases(), Vec::<String>::new());
}
