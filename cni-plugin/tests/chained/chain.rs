//! Chains as libcni runs them: ADD forward with each result handed on, CHECK with the last, DEL backward.

use serde_json::{Value, json};

use crate::support::{Call, Node, OURS, Pod, after, link, with};

fn chain(node: &Node, version: &str) -> Vec<Value> {
    let entry =
        |kind: &str, more: &Value| with(&json!({"cniVersion": version, "name": "net", "type": kind}), more);
    vec![
        node.bridge(version),
        entry(
            "tuning",
            &json!({"dataDir": node.backups(), "mac": "0a:58:0a:09:00:42",
            "sysctl": {"net.core.somaxconn": "500"}}),
        ),
        entry(
            "bandwidth",
            &json!({"runtimeConfig": {"bandwidth": {
            "ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000}}}),
        ),
    ]
}

fn add_all(node: &Node, pod: &Pod, chain: &[Value]) -> Value {
    let mut result = Value::Null;
    for conf in chain {
        let conf = if result.is_null() { conf.clone() } else { after(conf, &result) };
        result = node.call(OURS, "ADD", pod, &conf).result();
    }
    result
}

#[test]
fn a_chain_is_made_checked_and_taken_away_in_every_version() {
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let (node, pod) = (Node::new(), Pod::new());
        let chain = chain(&node, version);
        let result = add_all(&node, &pod, &chain);
        assert_eq!(
            result["interfaces"][2]["mac"], "0a:58:0a:09:00:42",
            "what tuning changed is in the end result"
        );
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
        // Since 0.4.0 there is a CHECK, and DEL is told the result.
        let told = version != "0.3.1";
        let confs: Vec<Value> =
            chain.iter().map(|conf| if told { after(conf, &result) } else { conf.clone() }).collect();
        if told {
            // The bridge wrote down another address than tuning gave it; a later plugin may do that.
            for conf in &confs {
                node.call(OURS, "CHECK", &pod, conf).works();
            }
        }
        confs.iter().rev().for_each(|conf| node.call(OURS, "DEL", &pod, conf).works());
        assert_clean(&node);
        confs.iter().rev().for_each(|conf| node.call(OURS, "DEL", &pod, conf).works());
    }
}

fn assert_clean(node: &Node) {
    assert_eq!(node.links("veth"), Vec::<String>::new());
    assert_eq!(node.links("ifb"), Vec::<String>::new());
    assert_eq!(node.backup_names(), Vec::<String>::new());
    let leases = std::fs::read_dir(node.folder().join("leases/net")).unwrap();
    let leased = leases.filter(|entry| {
        entry.as_ref().unwrap().file_name().into_string().unwrap().parse::<std::net::IpAddr>().is_ok()
    });
    assert_eq!(leased.count(), 0);
}

/// What libcni does: DEL for what it remembers and nobody lists, whose namespace is gone, then GC with both keys.
#[test]
fn collecting_leaves_what_is_listed_and_nothing_else() {
    let node = Node::new();
    let (valid, stale) = (Pod::new(), Pod::new());
    let chain = chain(&node, "1.1.0");
    add_all(&node, &valid, &chain);
    let result = add_all(&node, &stale, &chain);
    for conf in chain.iter().rev() {
        let program = conf["type"].as_str().unwrap();
        let call =
            Call { program, ours: OURS, command: "DEL", ifname: "eth0", netns: "/run/netns/gone", args: "" };
        node.call_with(&call, &stale, &after(conf, &result)).works();
    }
    let listed = json!([{"containerID": valid.id, "ifname": "eth0"}]);
    let keys = json!({"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed});
    for conf in &chain {
        node.call(OURS, "GC", &valid, &with(conf, &keys)).works();
    }
    assert_eq!((node.links("ifb").len(), node.backup_names().len()), (1, 1));
    assert_eq!(link(&valid.ns, "eth0")["address"], "0a:58:0a:09:00:42");
    chain.iter().rev().for_each(|conf| node.call(OURS, "DEL", &valid, conf).works());
    assert_eq!(node.links("ifb"), Vec::<String>::new());
}
