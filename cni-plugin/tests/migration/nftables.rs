//! The tables of the release 1.9.1's backend `nftables`, written by `nft` as that release wrote them for two pods: it is
//! not packaged. (`cargo lab bench cni` builds and runs it.)

use serde_json::{Value, json};

use crate::support::{Node, Pod, Who};

/// Of the container `c1`: addresses 10.9.0.2 and fd09::2, host ports 8080/tcp and 8053/udp; and of a second one.
const TABLES: &str = r#"
table inet cni_plugins_masquerade {
	comment "Masquerading for plugins from github.com/containernetworking/plugins"
	chain masq_checks {
		comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"
		ip saddr 10.9.0.2 ip daddr != 10.9.0.0/24 masquerade comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1"
		ip6 saddr fd09::2 ip6 daddr != fd09::/64 masquerade comment "a4861f4ae9f7d238-f4d01f2ef4b92245, net: net, if: eth0, id: c1"
		ip saddr 10.9.0.3 ip daddr != 10.9.0.0/24 masquerade comment "a4861f4ae9f7d238-0123456789abcdef, net: net, if: eth0, id: c2"
		ip saddr 10.9.0.9 ip daddr != 10.9.0.0/24 masquerade comment "of an administrator"
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		ip6 daddr ff00::/8 return
		goto masq_checks
	}
}
table ip cni_hostport {
	comment "CNI portmap plugin"
	chain hostports {
		tcp dport 8080 dnat to 10.9.0.2:80 comment "c1"
		ip daddr 192.0.2.1 udp dport 8053 dnat to 10.9.0.2:53 comment "c1"
		tcp dport 8081 dnat to 10.8.0.7:80 comment "c1"
		tcp dport 8082 dnat to 10.9.0.3:80 comment "c2"
	}
	chain hostip_hostports {
	}
	chain hostports_all {
		jump hostip_hostports
		jump hostports
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		fib daddr type local jump hostports_all
	}
	chain masquerading {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.9.0.2 ip daddr 10.9.0.2 masquerade comment "c1"
		ip saddr 127.0.0.1 ip daddr 10.9.0.2 masquerade comment "c1"
		ip saddr 10.9.0.3 ip daddr 10.9.0.3 masquerade comment "c2"
	}
}
table ip6 cni_hostport {
	chain hostports {
		tcp dport 8080 dnat to [fd09::2]:80 comment "c1"
	}
	chain masquerading {
		type nat hook postrouting priority srcnat; policy accept;
		ip6 saddr fd09::2 ip6 daddr fd09::2 masquerade comment "c1"
	}
}
table bridge nat {
	chain PREROUTING {
		type filter hook prerouting priority dstnat; policy accept;
		iifname "vethea42f24f" jump cni-br-iface-c1-eth0 comment "macspoofchk-c1-eth0"
	}
	chain cni-br-iface-c1-eth0 {
		jump cni-br-iface-c1-eth0-mac comment "macspoofchk-c1-eth0"
	}
	chain cni-br-iface-c1-eth0-mac {
		ether saddr c6:22:83:5c:44:58 return comment "macspoofchk-c1-eth0"
		drop comment "macspoofchk-c1-eth0"
	}
}
"#;

fn node() -> (Node, Pod) {
    let node = Node::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TABLES).unwrap();
    node.ns.run("nft", &["-f", file.path().to_str().unwrap()]);
    (node, Pod { id: "c1".into(), ..Pod::new() })
}

/// What stays: nothing that names the container or its addresses, and all of the others' rules.
fn assert_removed(node: &Node) {
    for gone in ["10.9.0.2 ", "10.9.0.2:", "fd09::2", "cni-br-iface", "id: c1"] {
        assert_eq!(node.rules_with(gone), Vec::<String>::new());
    }
    for stays in
        ["10.9.0.3:80", "10.9.0.9", "saddr 10.9.0.3 ip daddr 10.9.0.3", "goto masq_checks", "jump hostports"]
    {
        assert!(!node.rules_with(stays).is_empty(), "{stays} is gone");
    }
}

#[test]
fn a_pod_goes_by_its_id_whatever_else_is_known() {
    let (node, pod) = node();
    node.del(Who::Ours, &pod, "", &[node.bridge()], &Value::Null);
    assert_removed(&node);
    assert_eq!(
        node.rules_with("10.8.0.7"),
        Vec::<String>::new(),
        "no address was known that says it is another's"
    );
}

#[test]
fn check_finds_the_rule_of_each_mapping() {
    let (node, pod) = node();
    let at = |host: u16, ip: &str| {
        json!({"hostPort": host, "containerPort": if host == 8053 { 53 } else { 80 },
        "protocol": if host == 8053 { "udp" } else { "tcp" }, "hostIP": ip})
    };
    for (mappings, found) in [
        (json!([at(8080, "")]), true),
        (json!([at(8080, ""), at(8053, "192.0.2.1")]), true),
        (json!([at(8053, "192.0.2.2")]), false),
        (json!([at(8082, "")]), false),
    ] {
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "portmap",
            "runtimeConfig": {"portMappings": mappings},
            "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}, {"address": "fd09::2/64"}]}});
        let checked = node.call(Who::Ours, "CHECK", &pod, &pod.ns.path(), &conf);
        assert_eq!(checked.is_ok(), found, "{checked:?}");
    }
}

#[test]
fn a_mapping_of_the_same_container_in_another_network_stays() {
    let (node, pod) = node();
    let result = json!({
        "cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": pod.ns.path()}],
        "ips": [{"address": "10.9.0.2/24", "interface": 0}, {"address": "fd09::2/64", "interface": 0}],
    });
    node.del(Who::Ours, &pod, &pod.ns.path(), &[node.bridge()], &result);
    assert_removed(&node);
    assert_eq!(node.rules_with("10.8.0.7").len(), 1);
}

#[test]
fn gc_knows_pods_of_this_network_by_hash_address_and_missing_device() {
    let (node, pod) = node();
    let mut conf = node.bridge();
    conf["cniVersion"] = json!("1.1.0");
    conf["cni.dev/valid-attachments"] =
        json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth0"}]);
    let all = node.rules();
    node.call(Who::Ours, "GC", &pod, "", &conf).unwrap();
    let c2 = "a4861f4ae9f7d238-0123456789abcdef";
    let less: Vec<String> = all.into_iter().filter(|line| !line.contains(c2)).collect();
    assert_eq!(node.rules(), less, "a hash that is of no valid attachment");
    conf["cni.dev/valid-attachments"] = json!([{"containerID": "c2", "ifname": "eth0"}]);
    node.call(Who::Ours, "GC", &pod, "", &conf).unwrap();
    assert_removed(&node);
    assert_eq!(node.rules_with("10.8.0.7").len(), 1, "an address of no range of this network");
}
