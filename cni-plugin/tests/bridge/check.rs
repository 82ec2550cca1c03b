//! CHECK finds every way in which an attachment can have been damaged.

use super::support::{Answer, Node, Pod};
use serde_json::{Value, json};

struct Attached {
    node: Node,
    pod: Pod,
    conf: Value,
    near: String,
}

fn attached() -> Attached {
    let (node, pod) = (Node::new(), Pod::new());
    let mut conf = node.network(&json!({"hairpinMode": true}));
    let result = node.add(&pod, &conf).result();
    let near = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    conf["prevResult"] = result;
    Attached { node, pod, conf, near }
}

impl Attached {
    fn check(&self) -> Answer {
        self.node.call("CHECK", &self.pod, &self.pod.ns.path(), &self.conf)
    }
}

#[test]
fn an_untouched_attachment_passes_without_a_word() {
    let made = attached();
    let answer = made.check();
    assert!(answer.success && answer.json.is_null(), "{answer:?}");
}

#[test]
fn every_damage_is_found_and_named() {
    type Damage = fn(&Attached);
    let damages: [(&str, Damage); 9] = [
        ("cni0 has the address", |made| {
            made.node.ns.run("ip", &["link", "set", "cni0", "address", "02:00:00:00:00:01"]);
        }),
        ("lost the address 10.9.0.2/24", |made| {
            made.pod.ns.run("ip", &["address", "del", "10.9.0.2/24", "dev", "eth0"]);
        }),
        ("lost its route to 0.0.0.0/0", |made| {
            made.pod.ns.run("ip", &["route", "del", "default"]);
        }),
        ("eth0 is gone", |made| {
            made.pod.ns.run("ip", &["link", "del", "eth0"]);
        }),
        ("eth0 in the pod is down", |made| {
            made.pod.ns.run("ip", &["link", "set", "eth0", "down"]);
        }),
        ("is not a port of cni0", |made| {
            made.node.ns.run("ip", &["link", "set", "dev", &made.near, "nomaster"]);
        }),
        ("hairpin: false", |made| {
            made.node
                .ns
                .run("ip", &["link", "set", "dev", &made.near, "type", "bridge_slave", "hairpin", "off"]);
        }),
        ("promiscuous", |made| {
            made.node.ns.run("ip", &["link", "set", "cni0", "promisc", "on"]);
        }),
        ("bridge cni0 is gone", |made| {
            made.node.ns.run("ip", &["link", "del", "cni0"]);
        }),
    ];
    for (words, damage) in damages {
        let made = attached();
        damage(&made);
        let error = made.check().error();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn another_sandbox_and_a_missing_result_are_refused() {
    let mut made = attached();
    made.conf["prevResult"]["interfaces"][2]["sandbox"] = json!("/run/netns/other");
    let error = made.check().error();
    assert!(error.contains("/run/netns/other"), "{error}");
    made.conf.as_object_mut().unwrap().remove("prevResult");
    assert!(made.check().error().contains("prevResult"));
}
