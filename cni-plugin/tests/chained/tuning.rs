//! The role `tuning`: settings of a pod, and giving them back.

use std::fs;

use kernel::testing::TestNs;
use serde_json::{Value, json};

use crate::support::{Call, Node, OURS, Pod, THEIRS, after, link, with};

const MAC: &str = "0a:58:0a:09:00:77";

fn conf(node: &Node, version: &str, more: &Value) -> Value {
    let base = json!({"cniVersion": version, "name": "net", "type": "tuning", "dataDir": node.backups()});
    with(&base, more)
}

fn all(node: &Node) -> Value {
    conf(
        node,
        "1.1.0",
        &json!({
            "sysctl": {"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1"},
            "mac": MAC, "promisc": true, "mtu": 1400, "allmulti": true, "txQLen": 777,
        }),
    )
}

fn sysctl(ns: &TestNs, path: &str) -> String {
    ns.run("cat", &[&format!("/proc/sys/{path}")]).trim().to_owned()
}

/// Address, MTU, queue, promiscuous, all multicast.
fn settings(ns: &TestNs) -> (String, u64, u64, bool, bool) {
    let seen = link(ns, "eth0");
    let flag = |name: &str| seen["flags"].as_array().unwrap().contains(&json!(name));
    (
        seen["address"].as_str().unwrap().to_owned(),
        seen["mtu"].as_u64().unwrap(),
        seen["txqlen"].as_u64().unwrap(),
        flag("PROMISC"),
        flag("ALLMULTI"),
    )
}

#[test]
fn everything_is_set_in_the_pod_only_checked_and_given_back() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.1.0");
    let before = settings(&pod.ns);
    let conf = all(&node);
    let node_value = sysctl(&node.ns, "net/core/somaxconn");
    // As a plugin before it may say.
    let mut told = wired.clone();
    told["interfaces"][2]["mtu"] = json!(1500);
    let result = node.call(OURS, "ADD", &pod, &after(&conf, &told)).result();
    assert_eq!(result["interfaces"][2]["mac"], MAC);
    assert_eq!(result["interfaces"][2]["mtu"], 1400);
    assert_eq!(result["interfaces"][1], wired["interfaces"][1], "the node's side is as it was");
    assert_eq!(settings(&pod.ns), (MAC.to_owned(), 1400, 777, true, true));
    assert_eq!(sysctl(&pod.ns, "net/core/somaxconn"), "500");
    assert_eq!(sysctl(&pod.ns, "net/ipv4/conf/eth0/arp_filter"), "1");
    assert_eq!(sysctl(&node.ns, "net/core/somaxconn"), node_value);
    let checked = after(&conf, &result);
    node.call(OURS, "CHECK", &pod, &checked).works();
    assert_eq!(node.backup_names(), [format!("{}_eth0.json", pod.id)]);
    node.call(OURS, "DEL", &pod, &checked).works();
    assert_eq!(settings(&pod.ns), before);
    assert_eq!(node.backup_names(), Vec::<String>::new());
    node.call(OURS, "DEL", &pod, &checked).works();
}

#[test]
fn check_finds_every_setting_that_was_changed_back() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.1.0");
    let conf = all(&node);
    let result = node.call(OURS, "ADD", &pod, &after(&conf, &wired)).result();
    let checked = after(&conf, &result);
    let damage: [(&[&str], &[&str], &str); 6] = [
        (&["ip", "link", "set", "eth0", "mtu", "1500"], &["ip", "link", "set", "eth0", "mtu", "1400"], "MTU"),
        (
            &["ip", "link", "set", "eth0", "address", "0a:58:0a:09:00:01"],
            &["ip", "link", "set", "eth0", "address", MAC],
            "Ethernet",
        ),
        (
            &["ip", "link", "set", "eth0", "promisc", "off"],
            &["ip", "link", "set", "eth0", "promisc", "on"],
            "promiscuous",
        ),
        (
            &["ip", "link", "set", "eth0", "allmulticast", "off"],
            &["ip", "link", "set", "eth0", "allmulticast", "on"],
            "all-multicast",
        ),
        (
            &["ip", "link", "set", "eth0", "txqueuelen", "5"],
            &["ip", "link", "set", "eth0", "txqueuelen", "777"],
            "queue",
        ),
        (
            &["sh", "-c", "echo 501 > /proc/sys/net/core/somaxconn"],
            &["sh", "-c", "echo 500 > /proc/sys/net/core/somaxconn"],
            "somaxconn is 500, current value is 501",
        ),
    ];
    for (harm, repair, told) in damage {
        pod.ns.run(harm[0], &harm[1..]);
        let (code, error) = node.call(OURS, "CHECK", &pod, &checked).error();
        assert!(code == 102 && error.contains(told), "{harm:?}: {error}");
        pod.ns.run(repair[0], &repair[1..]);
        node.call(OURS, "CHECK", &pod, &checked).works();
    }
    let (_, error) = node.call(OURS, "CHECK", &pod, &conf).error();
    assert!(error.contains("Required prevResult missing"), "{error}");
}

#[test]
fn without_settings_the_result_is_passed_on_in_every_version_and_none_is_refused() {
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let (node, pod) = (Node::new(), Pod::new());
        let wired = node.wire(&pod, version);
        let conf = conf(&node, version, &json!({}));
        assert_eq!(node.call(OURS, "ADD", &pod, &after(&conf, &wired)).result(), wired);
        let (_, error) = node.call(OURS, "ADD", &pod, &conf).error();
        assert!(error.contains("Required prevResult missing"), "{error}");
        assert_eq!(node.backup_names(), Vec::<String>::new());
        node.call(OURS, "DEL", &pod, &conf).works();
    }
}

#[test]
fn keys_outside_the_pods_network_and_unknown_or_wrong_ones_change_nothing() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.1.0");
    let before = settings(&pod.ns);
    let sysctl_before = sysctl(&pod.ns, "net/core/somaxconn");
    for (key, value, told) in [
        ("kernel.hostname", "evil", "invalid net sysctl key: \"kernel.hostname\""),
        ("net/../kernel/x", "1", "invalid net sysctl key"),
        ("net.ipv4.no_such_key", "1", "no_such_key"),
        ("net.ipv4.conf.IFNAME.arp_filter", "many", "arp_filter"),
    ] {
        let sysctls = json!({"net.core.somaxconn": "501", key: value});
        let conf = conf(&node, "1.1.0", &json!({"sysctl": sysctls, "mtu": 1400}));
        let (_, error) = node.call(OURS, "ADD", &pod, &after(&conf, &wired)).error();
        assert!(error.contains(told), "{key}: {error}");
        assert_eq!(sysctl(&pod.ns, "net/core/somaxconn"), sysctl_before, "{key}");
        assert_eq!(settings(&pod.ns), before, "{key}");
    }
    // The kernel refuses it after the sysctls were written.
    let conf = conf(&node, "1.1.0", &json!({"sysctl": {"net.core.somaxconn": "501"}, "mtu": 67}));
    let conf = with(&conf, &json!({"mtu": 2_000_000, "promisc": true}));
    node.call(OURS, "ADD", &pod, &after(&conf, &wired)).error();
    assert_eq!(sysctl(&pod.ns, "net/core/somaxconn"), sysctl_before);
    assert_eq!(settings(&pod.ns), before);
    assert_eq!(node.backup_names(), Vec::<String>::new());
}

#[test]
fn the_administrators_list_decides_which_sysctls_may_be_set() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.1.0");
    let list = "mount -t tmpfs none /etc && mkdir -p /etc/cni/tuning && \
                printf '^net\\\\.core\\\\..*$\\n' > /etc/cni/tuning/allowlist.conf";
    let path = pod.ns.path();
    let call = Call { program: "tuning", ours: OURS, command: "ADD", ifname: "eth0", netns: &path, args: "" };
    let allowed = conf(&node, "1.1.0", &json!({"sysctl": {"net.core.somaxconn": "501"}}));
    node.call_after(list, &call, &pod, &after(&allowed, &wired)).result();
    assert_eq!(sysctl(&pod.ns, "net/core/somaxconn"), "501");
    let refused = conf(&node, "1.1.0", &json!({"sysctl": {"net.ipv4.ip_forward": "1"}}));
    let (_, error) = node.call_after(list, &call, &pod, &after(&refused, &wired)).error();
    assert!(error.contains("net.ipv4.ip_forward is not allowed"), "{error}");
    assert_eq!(sysctl(&pod.ns, "net/ipv4/ip_forward"), "0");
}

#[test]
fn the_address_is_taken_from_the_reference_plugins_sources() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.1.0");
    let path = pod.ns.path();
    let mut more = json!({"mac": "0a:00:00:00:00:01"});
    for (key, value, wanted) in [
        ("x", json!(null), "0a:00:00:00:00:02"),
        ("runtimeConfig", json!({"mac": "0a:00:00:00:00:03"}), "0a:00:00:00:00:03"),
        ("args", json!({"cni": {"mac": "0a:00:00:00:00:04"}}), "0a:00:00:00:00:04"),
    ] {
        more[key] = value;
        for ours in [OURS, THEIRS] {
            let args = "MAC=0a:00:00:00:00:02;IgnoreUnknown=1;K8S_POD_NAME=x";
            let call = Call { program: "tuning", ours, command: "ADD", ifname: "eth0", netns: &path, args };
            let version = if ours { "1.1.0" } else { "1.0.0" };
            let conf = conf(&node, version, &more);
            let result =
                node.call_with(&call, &pod, &after(&conf, &with(&wired, &json!({"cniVersion": version}))));
            assert_eq!(result.result()["interfaces"][2]["mac"], wanted);
            assert_eq!(settings(&pod.ns).0, wanted);
        }
    }
}

#[test]
fn gone_pods_leave_no_file_and_collecting_takes_those_of_this_network_only() {
    let node = Node::new();
    let pods: Vec<Pod> = (0..4).map(|_| Pod::new()).collect();
    let change = |name: &str| conf(&node, "1.1.0", &json!({"name": name, "mtu": 1400}));
    for (pod, name) in pods.iter().zip(["net", "net", "net", "other"]) {
        let wired = node.wire(pod, "1.1.0");
        node.call(OURS, "ADD", pod, &after(&change(name), &wired)).result();
    }
    // The reference plugin's file says nothing of its network.
    fs::write(node.backups().join("theirs_eth0.json"), "{\n \"mtu\": 1500\n}").unwrap();
    assert_eq!(node.backup_names().len(), 5);
    let call = Call { program: "tuning", ours: OURS, command: "DEL", ifname: "eth0", netns: "", args: "" };
    node.call_with(&call, &pods[0], &change("net")).works();
    assert_eq!(node.backup_names().len(), 4, "the namespace is not named, the file goes");
    let listed = json!({"cni.dev/valid-attachments": [{"containerID": pods[1].id, "ifname": "eth0"}]});
    node.call(OURS, "GC", &pods[0], &with(&change("net"), &listed)).works();
    let mut left = node.backup_names();
    left.sort();
    let mut wanted = vec![
        format!("{}_eth0.json", pods[1].id),
        format!("{}_eth0.json", pods[3].id),
        "theirs_eth0.json".into(),
    ];
    wanted.sort();
    assert_eq!(left, wanted);
}
