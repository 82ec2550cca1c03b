//! The role `bridge` as a process: pods that speak to each other, and nothing left behind.

use super::support::{Node, Pod, links, reaches};
use serde_json::{Value, json};

fn address(result: &Value, number: usize) -> String {
    let text = result["ips"][number]["address"].as_str().unwrap();
    text.split('/').next().unwrap().to_owned()
}

#[test]
fn two_pods_reach_each_other_and_the_node_from_the_first_packet_on() {
    let (node, a, b) = (Node::new(), Pod::new(), Pod::new());
    let conf = node.network(&json!({}));
    let first = node.add(&a, &conf).result();
    let second = node.add(&b, &conf).result();
    assert_eq!((address(&first, 0), address(&second, 0)), ("10.9.0.2".into(), "10.9.0.3".into()));
    for number in [0, 1] {
        assert!(reaches(&a.ns, &b.ns, &address(&second, number)), "{second}");
        assert!(reaches(&b.ns, &a.ns, &address(&first, number)), "{first}");
    }
    for gateway in ["10.9.0.1", "fd09::1"] {
        assert!(reaches(&a.ns, &node.ns, gateway), "{gateway} answers");
    }
}

#[test]
fn the_result_names_what_the_kernel_has() {
    let (node, pod) = (Node::new(), Pod::new());
    let result = node.add(&pod, &node.network(&json!({}))).result();
    let interfaces = result["interfaces"].as_array().unwrap();
    let names: Vec<&str> = interfaces.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[2]), ("cni0", "eth0"));
    assert_eq!(interfaces[2]["sandbox"], pod.ns.path());
    assert_eq!(names[1..2], node.links("veth"));
    for (ns, interface) in [(&node.ns, 0), (&node.ns, 1), (&pod.ns, 2)] {
        let seen = ns.run("ip", &["link", "show", names[interface]]);
        assert!(seen.contains(interfaces[interface]["mac"].as_str().unwrap()), "{seen} {result}");
    }
    assert_eq!((&result["ips"][0]["interface"], &result["ips"][1]["interface"]), (&json!(2), &json!(2)));
    assert_eq!(
        result["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}, {"dst": "::/0", "gw": "fd09::1"}])
    );
    let alias = node.ns.run("ip", &["link", "show", names[1]]);
    assert!(
        alias.contains(&format!("alias routerd-cni:net/{}/eth0", pod.id)),
        "people see whose it is: {alias}"
    );
}

#[test]
fn a_deleted_pod_leaves_nothing_and_deleting_again_is_success() {
    let (node, pod, never) = (Node::new(), Pod::new(), Pod::new());
    let conf = node.network(&json!({}));
    node.add(&pod, &conf).works();
    assert_eq!(node.leases().len(), 2);
    node.del(&pod, &conf).works();
    node.assert_clean();
    assert_eq!(links(&pod.ns, &[]), ["lo"]);
    assert_eq!(node.links("bridge"), ["cni0"], "other pods may be on the bridge");
    node.del(&pod, &conf).works();
    node.del(&never, &conf).works();
}

#[test]
fn deleting_works_when_the_namespace_is_not_named_or_gone_or_no_namespace() {
    let node = Node::new();
    let conf = node.network(&json!({}));
    let file = tempfile::NamedTempFile::new().unwrap();
    for netns in ["", "/run/netns/routerd-never-was", file.path().to_str().unwrap()] {
        let pod = Pod::new();
        node.add(&pod, &conf).works();
        node.call("DEL", &pod, netns, &conf).works();
        node.assert_clean();
    }
    let pod = Pod::new();
    node.add(&pod, &conf).works();
    let path = pod.ns.path();
    drop(pod.ns);
    let pod = Pod { id: pod.id, ..Pod::new() };
    node.call("DEL", &pod, &path, &conf).works();
    node.assert_clean();
}

#[test]
fn a_pair_with_another_name_is_found_in_the_pod() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({}));
    // As the reference plugin leaves it, whose names are random.
    node.ns.run(
        "ip",
        &["link", "add", "veth12345678", "type", "veth", "peer", "name", "eth0", "netns", pod.ns.name()],
    );
    node.del(&pod, &conf).works();
    node.assert_clean();
}

#[test]
fn an_add_that_fails_leaves_nothing() {
    let node = Node::new();
    for (changes, words) in [
        (json!({"ipam": {"routes": [{"dst": "10.1.0.0/16", "gw": "192.0.2.1"}]}}), "192.0.2.1"),
        (json!({"ipam": {"ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "10.9.0.0/16"}]]}}), "overlap"),
        (json!({"hairpinMode": true, "promiscMode": true}), "hairpin"),
    ] {
        let pod = Pod::new();
        let error = node.add(&pod, &node.network(&changes)).error();
        assert!(error.contains(words), "{error}");
        node.assert_clean();
        assert_eq!(links(&pod.ns, &[]), ["lo"], "{error}");
        node.add(&pod, &node.network(&json!({}))).works();
        node.del(&pod, &node.network(&json!({}))).works();
    }
}

#[test]
fn a_second_add_is_refused_and_the_first_pod_stays_as_it_is() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({}));
    let result = node.add(&pod, &conf).result();
    let (leases, before) = (node.leases(), links(&node.ns, &[]));
    let error = node.add(&pod, &conf).error();
    assert!(error.contains("duplicate allocation"), "{error}");
    let layer2 = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge"});
    let error = node.add(&pod, &layer2).error();
    assert!(error.contains(r#"container veth name ("eth0")"#) && error.contains("already exists"), "{error}");
    assert_eq!((node.leases(), links(&node.ns, &[])), (leases, before));
    assert!(reaches(&pod.ns, &node.ns, "10.9.0.1"), "{result}");
}

#[test]
fn an_interface_made_by_hand_is_refused_and_not_touched() {
    let (node, pod) = (Node::new(), Pod::new());
    pod.ns.run("ip", &["link", "add", "eth0", "type", "bridge"]);
    let conf = node.network(&json!({}));
    let error = node.add(&pod, &conf).error();
    assert!(error.contains("already exists"), "{error}");
    node.assert_clean();
    node.del(&pod, &conf).works();
    assert_eq!(links(&pod.ns, &["type", "bridge"]), ["eth0"]);
}

#[test]
fn a_device_of_another_kind_under_the_bridges_name_is_refused_and_not_touched() {
    let (node, pod) = (Node::new(), Pod::new());
    node.ns.run("ip", &["link", "add", "cni0", "type", "veth", "peer", "name", "other"]);
    let before = node.ns.run("ip", &["-d", "link", "show", "cni0"]);
    for changes in [json!({}), json!({"promiscMode": true})] {
        let error = node.add(&pod, &node.network(&changes)).error();
        assert!(error.contains("not a bridge"), "{error}");
    }
    assert_eq!(node.ns.run("ip", &["-d", "link", "show", "cni0"]), before);
    assert_eq!(node.leases(), Vec::<String>::new());
    let status = node.call("STATUS", &pod, "", &node.network(&json!({"cniVersion": "1.1.0"})));
    assert_eq!(status.json["code"], 50, "{status:?}");
}

#[test]
fn the_keys_for_devices_reach_the_kernel() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({
        "bridge": "br7", "mtu": 1400, "hairpinMode": true, "portIsolation": true,
        "runtimeConfig": {"mac": "02:00:00:00:00:07"}, "args": {"cni": {"mac": "02:00:00:00:00:08"}},
    }));
    let variables = [("CNI_ARGS", "MAC=02:00:00:00:00:09")];
    let result = node.call_with("ADD", &pod, &pod.ns.path(), &conf, &variables).result();
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07", "the runtime's word is first");
    let near = node.ns.run("ip", &["-d", "link", "show", result["interfaces"][1]["name"].as_str().unwrap()]);
    for word in ["mtu 1400", "master br7", "hairpin on", "isolated on", "state UP"] {
        assert!(near.contains(word), "{word} in {near}");
    }
    let far = pod.ns.run("ip", &["link", "show", "eth0"]);
    assert!(far.contains("mtu 1400") && far.contains("02:00:00:00:00:07"), "{far}");
    assert!(node.ns.run("ip", &["link", "show", "br7"]).contains("mtu 1400"));

    let other = Pod::new();
    let conf = node.network(&json!({"bridge": "br8", "promiscMode": true}));
    node.add(&other, &conf).works();
    assert!(node.ns.run("ip", &["link", "show", "br8"]).contains("PROMISC"));
    for (text, code) in [("no-mac", 7), ("01:00:5e:00:00:01", 7)] {
        let conf = node.network(&json!({"args": {"cni": {"mac": text}}}));
        let answer = node.add(&Pod::new(), &conf);
        assert_eq!(answer.json["code"], code, "{answer:?}");
    }
}

#[test]
fn a_disabled_container_interface_stays_down() {
    let (node, pod) = (Node::new(), Pod::new());
    let layer2 =
        json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "disableContainerInterface": true});
    let result = node.add(&pod, &layer2).result();
    assert_eq!(result.get("ips").and_then(Value::as_array).map_or(0, Vec::len), 0);
    assert!(pod.ns.run("ip", &["link", "show", "eth0"]).contains("state DOWN"));
    let error = node.add(&pod, &node.network(&json!({"disableContainerInterface": true}))).error();
    assert!(error.contains("cannot use IPAM"), "{error}");
}
