//! Ways in which runtimes call: names of keys, results of other versions, long names, the node itself as the pod, and
//! questions while others work.

use std::time::Duration;

use super::support::{Node, Pod, links, reaches};
use serde_json::{Value, json};

#[test]
fn keys_in_the_case_of_go_are_the_same_keys() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = json!({
        "CNIVersion": "1.0.0", "Name": "net", "Type": "bridge", "Bridge": "BR0", "ISDEFAULTGATEWAY": true, "Mtu": 1400,
        "HairpinMode": true,
        "IPAM": {
            "Type": "host-local", "DataDir": node.folder().join("leases"),
            "Ranges": [[{"Subnet": "10.9.0.0/24", "RangeStart": "10.9.0.20"}]],
            "Routes": [{"Dst": "10.1.0.0/16", "GW": "10.9.0.77"}],
        },
        "RuntimeConfig": {"Mac": "02:00:00:00:00:07"}, "Args": {"CNI": {"Labels": []}},
    });
    let result = node.add(&pod, &conf).result();
    assert_eq!(result["ips"][0]["address"], "10.9.0.20/24");
    assert_eq!(result["interfaces"][0]["name"], "BR0");
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07");
    assert!(pod.ns.run("ip", &["route"]).contains("10.1.0.0/16 via 10.9.0.77"));
    let mut conf = conf;
    conf["PrevResult"] = result;
    node.call("CHECK", &pod, &pod.ns.path(), &conf).works();
    node.del(&pod, &conf).works();
    node.assert_clean();
}

#[test]
fn a_result_of_another_version_is_understood() {
    let (node, pod) = (Node::new(), Pod::new());
    let at = |version: &str| node.network(&json!({"cniVersion": version}));
    let mut result = node.add(&pod, &at("0.4.0")).result();
    assert_eq!(result["ips"][1]["version"], "6");
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let mut conf = at(version);
        conf["prevResult"] = result.clone();
        node.call("CHECK", &pod, &pod.ns.path(), &conf).works();
    }
    // Without a version of its own it is of the configuration's.
    result.as_object_mut().unwrap().remove("cniVersion");
    let mut conf = at("0.4.0");
    conf["prevResult"] = result;
    node.call("CHECK", &pod, &pod.ns.path(), &conf).works();
    node.del(&pod, &conf).works();
}

#[test]
fn every_version_gets_its_result_and_is_deleted_with_or_without_it() {
    let node = Node::new();
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        for with_result in [false, true] {
            let pod = Pod::new();
            let mut conf = node.network(&json!({"cniVersion": version}));
            let result = node.add(&pod, &conf).result();
            assert_eq!(result["cniVersion"], version);
            if version < "0.3.0" {
                assert_eq!(result["ip6"]["gateway"], "fd09::1");
                assert_eq!(result["ip4"]["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]));
            } else {
                assert_eq!(result["ips"].as_array().unwrap().len(), 2);
            }
            if with_result {
                conf["prevResult"] = result;
            }
            node.del(&pod, &conf).works();
            node.assert_clean();
        }
    }
}

#[test]
fn the_longest_interface_name_works_and_two_interfaces_of_a_container_are_two_attachments() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({"isDefaultGateway": false}));
    let call = |command: &str, ifname: &str| {
        node.call_with(command, &pod, &pod.ns.path(), &conf, &[("CNI_IFNAME", ifname)])
    };
    call("ADD", "a23456789012345").works();
    call("ADD", "eth0").works();
    assert_eq!((node.links("veth").len(), node.leases().len()), (2, 4));
    call("DEL", "a23456789012345").works();
    assert_eq!(links(&pod.ns, &["type", "veth"]), ["eth0"]);
    assert_eq!(node.leases().len(), 2);
    call("DEL", "eth0").works();
    node.assert_clean();
}

#[test]
fn the_node_itself_is_no_pod_unless_that_is_meant() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({}));
    let before = links(&node.ns, &[]);
    let answer = node.call("ADD", &pod, &node.ns.path(), &conf);
    assert_eq!(answer.json["code"], 8, "{answer:?}");
    assert_eq!((links(&node.ns, &[]), node.leases()), (before, Vec::new()));
    let meant = [("CNI_NETNS_OVERRIDE", "true")];
    let own = node.network(&json!({"isGateway": false, "isDefaultGateway": false}));
    node.call_with("ADD", &pod, &node.ns.path(), &own, &meant).works();
    assert!(links(&node.ns, &[]).contains(&"eth0".to_owned()));
    node.call_with("DEL", &pod, &node.ns.path(), &own, &meant).works();
    node.assert_clean();
}

#[test]
fn a_delete_that_names_the_node_as_the_pod_frees_everything_and_leaves_the_nodes_own_device_alone() {
    let (node, pod) = (Node::new(), Pod::new());
    // The node's own uplink is called as the pods' interfaces are.
    node.ns.run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "wire"]);
    let conf = node.network(&json!({"ipMasq": true}));
    node.add(&pod, &conf).works();
    node.call("DEL", &pod, &node.ns.path(), &conf).works();
    assert_eq!((links(&pod.ns, &["type", "veth"]), node.leases()), (Vec::new(), Vec::new()));
    assert!(!node.ns.run("nft", &["list", "ruleset"]).contains(&pod.id));
    // Again, by another path, with nothing left to free.
    node.call("DEL", &pod, "/proc/self/ns/net", &conf).works();
    let mut left = node.links("veth");
    left.sort();
    assert_eq!(left, ["eth0", "wire"]);
}

#[test]
fn status_is_answered_while_fifty_adds_run_and_the_lock_is_held() {
    let node = Node::new();
    let conf = node.network(&json!({"cniVersion": "1.1.0"}));
    let pods: Vec<Pod> = (0..50).map(|_| Pod::new()).collect();
    node.add(&pods[0], &conf).works();
    std::thread::scope(|scope| {
        for pod in &pods[1..] {
            scope.spawn(|| node.add(pod, &conf).works());
        }
        for _ in 0..10 {
            let answer = node.call("STATUS", &pods[0], "", &conf);
            assert!(answer.success && answer.json.is_null(), "{answer:?}");
        }
    });
    let lock = std::fs::File::open(node.folder().join("leases/net/lock")).unwrap();
    lock.lock().unwrap();
    node.call("STATUS", &pods[0], "", &conf).works();
}

#[test]
fn del_waits_once_for_a_lock_that_is_never_released_and_keeps_the_lease_of_a_pod_whose_devices_it_took() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({}));
    node.add(&pod, &conf).works();
    let lock = std::fs::File::open(node.folder().join("leases/net/lock")).unwrap();
    lock.lock().unwrap();
    let started = std::time::Instant::now();
    let error = node.del(&pod, &conf).error();
    assert!(error.contains("held for 10s"), "{error}");
    // Twice the wait is what must not be; all else takes a fraction of a second.
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!((node.leases().len(), node.links("veth").len()), (2, 0));
    drop(lock);
    node.del(&pod, &conf).works();
    node.assert_clean();
}

#[test]
fn a_bridge_with_the_ports_of_others_is_used_and_left_as_it_is() {
    let (node, pod, guest) = (Node::new(), Pod::new(), Pod::new());
    node.ns.run(
        "ip",
        &["link", "add", "name", "cni0", "type", "bridge", "stp_state", "1", "forward_delay", "200"],
    );
    let other = ["link", "add", "mine", "master", "cni0", "type", "veth", "peer", "name", "e", "netns"];
    let arguments: Vec<&str> = other.into_iter().chain([guest.ns.name()]).collect();
    node.ns.run("ip", &arguments);
    node.ns.run("ip", &["link", "set", "cni0", "type", "bridge", "stp_state", "0"]);
    let detail = || -> Value {
        let text = node.ns.run("ip", &["-j", "-d", "link", "show", "cni0"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        let data = &list[0]["linkinfo"]["info_data"];
        json!([data["stp_state"], data["forward_delay"], data["vlan_filtering"], list[0]["mtu"]])
    };
    let before = detail();
    let result = node.add(&pod, &node.network(&json!({}))).result();
    assert_eq!(detail(), before);
    assert!(reaches(&pod.ns, &node.ns, "10.9.0.1"), "{result}");
    node.del(&pod, &node.network(&json!({}))).works();
    assert_eq!(links(&node.ns, &["master", "cni0"]), ["mine"]);
}
