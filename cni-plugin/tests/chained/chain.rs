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
            "portmap",
            &json!({"runtimeConfig": {"portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}),
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
            // The bridge is content with the address that tuning gave: the last result has it.
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
    let rules = node.ns.run("nft", &["list", "ruleset"]);
    assert!(!rules.contains("8080") && !rules.contains("container-"), "{rules}");
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
    // A host port is of one pod.
    let mut of_stale = chain.clone();
    of_stale[2]["runtimeConfig"]["portMappings"][0]["hostPort"] = json!(8081);
    let result = add_all(&node, &stale, &of_stale);
    for conf in of_stale.iter().rev() {
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
    let rules = node.ns.run("nft", &["list", "ruleset"]);
    assert!(rules.contains("8080") && !rules.contains("8081"), "{rules}");
    chain.iter().rev().for_each(|conf| node.call(OURS, "DEL", &valid, conf).works());
    assert_eq!(node.links("ifb"), Vec::<String>::new());
}

/// The network of the specification's appendix, as a runtime that is asked for a MAC and a host port calls it.
#[test]
fn the_example_of_the_specification_works_word_by_word() {
    let (node, pod) = (Node::new(), Pod::new());
    let leases = node.folder().join("leases");
    let entry = |more: Value| with(&json!({"cniVersion": "1.1.0", "name": "dbnet"}), &more);
    let chain = [
        entry(json!({
            "type": "bridge", "bridge": "cni0", "keyA": ["some more", "plugin specific", "configuration"],
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/16", "gateway": "10.1.0.1", "dataDir": leases,
                "routes": [{"dst": "0.0.0.0/0"}]},
            "dns": {"nameservers": ["10.1.0.1"]},
        })),
        entry(json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "dataDir": node.backups(),
            "runtimeConfig": {"mac": "00:11:22:33:44:66"}})),
        entry(json!({"type": "portmap",
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}})),
    ];
    let result = add_all(&node, &pod, &chain);
    assert_eq!(result["interfaces"][2]["mac"], "00:11:22:33:44:66");
    assert_eq!(result["dns"]["nameservers"], json!(["10.1.0.1"]));
    assert_eq!(link(&pod.ns, "eth0")["address"], "00:11:22:33:44:66");
    for conf in &chain {
        node.call(OURS, "CHECK", &pod, &after(conf, &result)).works();
    }
    for conf in chain.iter().rev() {
        node.call(OURS, "DEL", &pod, &after(conf, &result)).works();
    }
    assert_eq!((node.links("veth").len(), node.backup_names().len()), (0, 0));
}
