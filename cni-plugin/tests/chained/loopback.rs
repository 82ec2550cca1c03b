//! The role `loopback`.

use serde_json::{Value, json};

use crate::support::{Call, Node, OURS, Pod, link};

fn conf(version: &str) -> Value {
    json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"})
}

/// A pod as a runtime makes it: nothing in it is up.
fn fresh_pod() -> Pod {
    let pod = Pod::new();
    pod.ns.run("ip", &["link", "set", "lo", "down"]);
    pod
}

fn is_up(pod: &Pod) -> bool {
    link(&pod.ns, "lo")["flags"].as_array().unwrap().contains(&json!("UP"))
}

#[test]
fn lo_is_set_up_and_told_in_the_form_of_every_version() {
    let node = Node::new();
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = fresh_pod();
        let result = node.call(OURS, "ADD", &pod, &conf(version)).result();
        assert!(is_up(&pod));
        assert_eq!(result["cniVersion"], version);
        let lo = json!([{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": pod.ns.path()}]);
        assert_eq!(result["interfaces"], lo);
        let with_version = version < "1.0.0";
        for (ip, address, family) in
            [(&result["ips"][0], "127.0.0.1/8", "4"), (&result["ips"][1], "::1/128", "6")]
        {
            assert_eq!((&ip["address"], &ip["interface"]), (&json!(address), &json!(0)));
            assert_eq!(ip["version"] == family, with_version, "{version}: {ip}");
        }
    }
    for version in ["0.1.0", "0.2.0"] {
        let pod = fresh_pod();
        let result = node.call(OURS, "ADD", &pod, &conf(version)).result();
        assert!(is_up(&pod));
        assert_eq!((&result["ip4"]["ip"], &result["ip6"]["ip"]), (&json!("127.0.0.1/8"), &json!("::1/128")));
        assert!(result["interfaces"].is_null() && result["ips"].is_null(), "{result}");
    }
}

#[test]
fn what_containerd_sends_works_and_the_interfaces_name_does_not_matter() {
    let node = Node::new();
    // As libcni makes it of containerd's fixed list.
    for ifname in ["lo", "eth7"] {
        let pod = fresh_pod();
        let path = pod.ns.path();
        let args = "K8S_POD_UID=u;IgnoreUnknown=1;K8S_POD_NAME=web";
        let call = |command| Call { program: "loopback", ours: OURS, command, ifname, netns: &path, args };
        let result = node.call_with(&call("ADD"), &pod, &conf("0.3.1")).result();
        assert_eq!(result["interfaces"][0]["name"], "lo");
        node.call_with(&call("DEL"), &pod, &conf("0.3.1")).works();
        assert!(!is_up(&pod));
    }
}

#[test]
fn without_ipv6_the_ipv4_address_alone_is_told() {
    let (node, pod) = (Node::new(), fresh_pod());
    pod.ns.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"]);
    pod.ns.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6"]);
    let result = node.call(OURS, "ADD", &pod, &conf("1.0.0")).result();
    assert_eq!(result["ips"], json!([{"address": "127.0.0.1/8", "interface": 0}]));
}

#[test]
fn a_result_before_it_is_passed_on() {
    let (node, pod) = (Node::new(), fresh_pod());
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let wired = node.wire(&pod, version);
        let mut conf = conf(version);
        conf["prevResult"] = wired.clone();
        assert_eq!(node.call(OURS, "ADD", &pod, &conf).result(), wired);
        assert!(is_up(&pod));
        node.call(OURS, "DEL", &pod, &node.bridge(version)).works();
    }
}

#[test]
fn an_address_that_is_no_loopback_address_is_refused_and_lo_stays_down() {
    let (node, pod) = (Node::new(), fresh_pod());
    pod.ns.run("ip", &["addr", "add", "10.9.9.9/32", "dev", "lo"]);
    let (_, error) = node.call(OURS, "ADD", &pod, &conf("1.0.0")).error();
    assert!(error.contains("10.9.9.9"), "{error}");
    assert!(!is_up(&pod));
}

#[test]
fn check_sees_lo_down_and_del_bears_a_namespace_that_is_gone() {
    let (node, pod) = (Node::new(), fresh_pod());
    let result = node.call(OURS, "ADD", &pod, &conf("1.0.0")).result();
    let mut checked = conf("1.0.0");
    checked["prevResult"] = result;
    node.call(OURS, "CHECK", &pod, &checked).works();
    pod.ns.run("ip", &["link", "set", "lo", "down"]);
    let (_, error) = node.call(OURS, "CHECK", &pod, &checked).error();
    assert!(error.contains("loopback interface is down"), "{error}");
    for netns in ["", "/run/netns/no-such-namespace", "/etc/hostname"] {
        let call = Call { program: "loopback", ours: OURS, command: "DEL", ifname: "lo", netns, args: "" };
        node.call_with(&call, &pod, &conf("1.0.0")).works();
    }
}

#[test]
fn status_and_gc_exist_since_the_version_that_has_them() {
    let (node, pod) = (Node::new(), fresh_pod());
    for command in ["STATUS", "GC"] {
        node.call(OURS, command, &pod, &conf("1.1.0")).works();
        let (code, error) = node.call(OURS, command, &pod, &conf("1.0.0")).error();
        assert!(code == 1 && error.contains(command), "{error}");
    }
}

#[test]
fn the_loopback_of_the_node_stays_up_whatever_a_runtime_says() {
    let (node, pod) = (Node::new(), fresh_pod());
    let own = node.ns.path();
    let call =
        |command| Call { program: "loopback", ours: OURS, command, ifname: "lo", netns: &own, args: "" };
    let (code, words) = node.call_with(&call("ADD"), &pod, &conf("1.0.0")).error();
    assert!(code == 8 && words.contains(&own), "{code} {words}");
    node.call_with(&call("DEL"), &pod, &conf("1.0.0")).works();
    assert!(link(&node.ns, "lo")["flags"].as_array().unwrap().contains(&json!("UP")));
}
