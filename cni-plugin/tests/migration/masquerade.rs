//! `ipMasqBackend: nftables`: our rules in the reference plugin's table.

use std::net::UdpSocket;
use std::time::Duration;

use kernel::testing::TestNs;
use serde_json::{Value, json};

use crate::support::{Node, Pod, Who};

fn conf(node: &Node) -> Value {
    let mut conf = node.bridge();
    conf["ipMasqBackend"] = json!("nftables");
    conf
}

#[test]
fn the_table_is_the_one_the_reference_plugin_makes() {
    let node = Node::new();
    let pod = Pod { id: "c1".into(), ..Pod::new() };
    node.add(Who::Ours, &pod, &[conf(&node)]);
    let found = node.ns.run("nft", &["-s", "list", "table", "inet", "cni_plugins_masquerade"]);
    // As release 1.9.1 makes it.
    let wanted = r#"table inet cni_plugins_masquerade {
	comment "Masquerading for plugins from github.com/containernetworking/plugins"
	chain masq_checks {
		comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"
		ip saddr 10.9.0.2 ip daddr != 10.9.0.0/24 masquerade comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1"
		ip6 saddr fd09::2 ip6 daddr != fd09::/64 masquerade comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1"
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		ip6 daddr ff00::/8 return
		goto masq_checks
	}
}
"#;
    assert_eq!(found, wanted);
}

#[test]
fn a_pod_leaves_its_subnet_with_the_nodes_address_and_the_rules_go_with_it() {
    let node = Node::new();
    let outside = TestNs::new("out");
    node.ns
        .run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", outside.name()]);
    node.ns.run("ip", &["address", "add", "192.0.2.1/24", "dev", "up0"]);
    node.ns.run("ip", &["link", "set", "up0", "up"]);
    outside.run("ip", &["address", "add", "192.0.2.2/24", "dev", "down0"]);
    outside.run("ip", &["link", "set", "down0", "up"]);
    let (pod, conf) = (Pod::new(), conf(&node));
    let result = node.add(Who::Ours, &pod, std::slice::from_ref(&conf));
    let server = outside.run_in(|| UdpSocket::bind("192.0.2.2:0").unwrap());
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let client = pod.ns.run_in(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    client.send_to(b"ping", server.local_addr().unwrap()).unwrap();
    let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(from.ip().to_string(), "192.0.2.1");

    let mut check = conf.clone();
    check["prevResult"] = result.clone();
    node.call(Who::Ours, "CHECK", &pod, &pod.ns.path(), &check).unwrap();
    node.ns.run("nft", &["flush", "chain", "inet", "cni_plugins_masquerade", "masq_checks"]);
    let error = node.call(Who::Ours, "CHECK", &pod, &pod.ns.path(), &check).unwrap_err();
    assert!(error.contains("does not masquerade 10.9.0."), "{error}");
    node.del(Who::Ours, &pod, &pod.ns.path(), &[conf], &result);
    assert_eq!(node.rules_with("id: container"), Vec::<String>::new());
}

#[test]
fn many_first_pods_at_once_make_one_table_and_what_others_have_in_it_stays() {
    let node = Node::new();
    let pods: Vec<Pod> = (0..12).map(|_| Pod::new()).collect();
    let conf = conf(&node);
    std::thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(|| node.add(Who::Ours, pod, std::slice::from_ref(&conf)));
        }
    });
    assert_eq!(node.rules_with("goto masq_checks").len(), 1);
    assert_eq!(node.rules_with("ip daddr != 10.9.0.0/24 masquerade").len(), 12);
    let others = [
        "add",
        "rule",
        "inet",
        "cni_plugins_masquerade",
        "masq_checks",
        "ip",
        "saddr",
        "192.0.2.7",
        "return",
    ];
    node.ns.run("nft", &others);
    std::thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(|| {
                node.del(Who::Ours, pod, &pod.ns.path(), std::slice::from_ref(&conf), &Value::Null);
            });
        }
    });
    assert_eq!(node.rules_with("masquerade comment"), Vec::<String>::new());
    assert_eq!(node.rules_with("192.0.2.7").len(), 1);
}

#[test]
fn a_failed_add_leaves_no_rule() {
    let node = Node::new();
    let pod = Pod::new();
    let mut conf = conf(&node);
    // No daemon listens there, and it is required: the last step of the ADD.
    conf["routerd"] = json!({"socket": "/nonexistent/routerd.sock", "awayMs": 1});
    node.call(Who::Ours, "ADD", &pod, &pod.ns.path(), &conf).unwrap_err();
    assert_eq!(node.rules_with(&pod.id), Vec::<String>::new());
    assert_eq!(node.leases(), Vec::<String>::new());
}
