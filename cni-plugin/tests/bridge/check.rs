//! CHECK finds every way in which an attachment can have been damaged.

use super::support::{Answer, Node, Pod};
use serde_json::{Value, json};

struct Attached {
    node: Node,
    pod: Pod,
    conf: Value,
    near: String,
}

fn attached_with(changes: &Value) -> Attached {
    let (node, pod) = (Node::new(), Pod::new());
    let mut conf = node.network(changes);
    let result = node.add(&pod, &conf).result();
    let near = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    conf["prevResult"] = result;
    Attached { node, pod, conf, near }
}

/// An attachment with all that CHECK looks at.
fn attached() -> Attached {
    attached_with(&json!({
        "cniVersion": "1.1.0", "hairpinMode": true, "portIsolation": true,
        "ipam": {"routes": [
            {"dst": "10.1.0.0/16", "gw": "10.9.0.77", "mtu": 1300, "advmss": 1200, "priority": 50},
            {"dst": "10.2.0.0/16", "table": 100}, {"dst": "10.3.0.0/16", "scope": 253}, {"dst": "fd77::/48"},
        ]},
    }))
}

impl Attached {
    fn check(&self) -> Answer {
        self.node.call("CHECK", &self.pod, &self.pod.ns.path(), &self.conf)
    }

    fn node_ip(&self, arguments: &str) {
        let arguments = arguments.replace("NEAR", &self.near);
        self.node.ns.run("ip", &arguments.split(' ').collect::<Vec<_>>());
    }

    fn pod_ip(&self, arguments: &str) {
        self.pod.ns.run("ip", &arguments.split(' ').collect::<Vec<_>>());
    }
}

#[test]
fn an_untouched_attachment_passes_without_a_word_in_every_version_that_has_check() {
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        for changes in [
            json!({}),
            json!({"promiscMode": true, "isGateway": true, "isDefaultGateway": false}),
            json!({"ipam": {"routes": [{"dst": "10.1.0.0/16", "priority": 7, "mtu": 99999, "table": 0}]}}),
            json!({"ipam": {"ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "10.8.0.0/24"}]]}}),
        ] {
            let mut changes = changes;
            changes["cniVersion"] = json!(version);
            let made = attached_with(&changes);
            let answer = made.check();
            assert!(answer.success && answer.json.is_null(), "{changes}: {answer:?}");
        }
    }
}

#[test]
fn a_layer_two_attachment_can_be_checked() {
    let (node, pod) = (Node::new(), Pod::new());
    for more in [json!({}), json!({"disableContainerInterface": true}), json!({"ipam": {}})] {
        let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge"});
        super::support::merge(&mut conf, &more);
        conf["prevResult"] = node.add(&pod, &conf).result();
        node.call("CHECK", &pod, &pod.ns.path(), &conf).works();
        node.del(&pod, &conf).works();
    }
}

#[test]
fn every_damage_alone_is_found_and_named() {
    type Damage = (&'static str, fn(&Attached));
    let damages: [Damage; 22] = [
        ("cni0 has the address", |made| made.node_ip("link set cni0 address 02:00:00:00:00:01")),
        ("bridge cni0 is down", |made| made.node_ip("link set cni0 down")),
        ("promiscuous", |made| made.node_ip("link set cni0 promisc on")),
        ("bridge cni0 is gone", |made| made.node_ip("link del cni0")),
        ("cni0 lost the gateway address 10.9.0.1/24", |made| {
            made.node_ip("address del 10.9.0.1/24 dev cni0");
        }),
        ("cni0 lost the gateway address fd09::1/64", |made| {
            made.node_ip("address del fd09::1/64 dev cni0");
        }),
        ("is not a port of cni0", |made| made.node_ip("link set dev NEAR nomaster")),
        ("hairpin: false", |made| made.node_ip("link set dev NEAR type bridge_slave hairpin off")),
        ("isolated: false", |made| made.node_ip("link set dev NEAR type bridge_slave isolated off")),
        ("has the address", |made| made.node_ip("link set dev NEAR address 02:00:00:00:00:02")),
        ("is down", |made| made.node_ip("link set dev NEAR down")),
        ("eth0 is gone", |made| made.pod_ip("link del eth0")),
        ("eth0 in the pod is down", |made| made.pod_ip("link set eth0 down")),
        ("eth0 has the address", |made| made.pod_ip("link set eth0 address 02:00:00:00:00:03")),
        ("lost the address 10.9.0.2/24", |made| {
            // A longer prefix is another address.
            made.pod_ip("address add 10.9.0.2/25 dev eth0");
            made.pod_ip("address del 10.9.0.2/24 dev eth0");
        }),
        ("lost the address fd09::2/64", |made| made.pod_ip("address del fd09::2/64 dev eth0")),
        ("lost the route to its own subnet 10.9.0.0/24", |made| made.pod_ip("route del 10.9.0.0/24")),
        ("lost its route to 0.0.0.0/0", |made| made.pod_ip("route del default")),
        ("lost its route to ::/0", |made| made.pod_ip("-6 route del default")),
        ("lost its route to 10.1.0.0/16", |made| {
            made.pod_ip("route change 10.1.0.0/16 via 10.9.0.77 dev eth0 metric 50 mtu 1301 advmss 1200");
        }),
        ("lost its route to 10.1.0.0/16", |made| {
            made.pod_ip("route del 10.1.0.0/16");
            made.pod_ip("route add 10.1.0.0/16 via 10.9.0.77 dev eth0 metric 51 mtu 1300 advmss 1200");
        }),
        ("lost its route to 10.2.0.0/16", |made| {
            made.pod_ip("route del 10.2.0.0/16 table 100");
            made.pod_ip("route add 10.2.0.0/16 via 10.9.0.1 table 101");
        }),
    ];
    attached().check().works();
    for (words, damage) in damages {
        let made = attached();
        damage(&made);
        let answer = made.check();
        assert_eq!(answer.json["code"], 102, "{words}: {answer:?}");
        let error = answer.error();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn a_stranger_in_place_of_the_pods_interface_is_found() {
    let made = attached();
    made.pod_ip("link set eth0 down");
    made.pod_ip("link set eth0 name old");
    made.pod_ip("link add eth0 type bridge");
    let error = made.check().error();
    assert!(error.contains("eth0 in the pod is a bridge"), "{error}");

    // A pair of somebody else, its other end on the bridge, as like as can be.
    let made = attached();
    let mac = made.conf["prevResult"]["interfaces"][2]["mac"].as_str().unwrap().to_owned();
    made.pod_ip("link del eth0");
    let pod = made.pod.ns.name().to_owned();
    made.node_ip(&format!("link add other type veth peer name eth0 netns {pod}"));
    made.node_ip("link set other master cni0 up");
    made.pod_ip(&format!("link set eth0 address {mac} up"));
    let error = made.check().error();
    assert!(error.contains("does not name the host end other"), "{error}");
}

#[test]
fn a_lost_lease_is_found_also_when_another_pod_has_it_and_the_other_familys_is_there() {
    for lease in ["10.9.0.2", "fd09::2"] {
        for of_another in [false, true] {
            let made = attached();
            let file = made.node.folder().join("leases/net").join(lease);
            std::fs::remove_file(&file).unwrap();
            if of_another {
                std::fs::write(&file, "another\r\neth0").unwrap();
            }
            let error = made.check().error();
            assert!(error.contains("Failed to find address added by container"), "{error}");
            assert!(error.contains(&format!("[{lease}] are missing")), "{error}");
        }
    }
}

#[test]
fn another_sandbox_and_a_missing_result_are_refused() {
    let mut made = attached();
    made.conf["prevResult"]["interfaces"][2]["sandbox"] = json!("/run/netns/other");
    let error = made.check().error();
    assert!(error.contains("/run/netns/other"), "{error}");
    made.conf["prevResult"]["interfaces"] = json!([]);
    assert!(made.check().error().contains("there are 0 interfaces"));
    made.conf.as_object_mut().unwrap().remove("prevResult");
    assert!(made.check().error().contains("prevResult"));
}
