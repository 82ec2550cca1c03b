//! Pods that Debian's reference plugins made, through iptables.

use serde_json::{Value, json};

use crate::support::{Node, Pod, Who};

/// A node with a pod that stays, rules of somebody else, and what it holds before another pod comes.
fn lived_in() -> (Node, Pod, Vec<String>) {
    let node = Node::new();
    for rule in [
        "-N SOMEBODY",
        "-A SOMEBODY -s 192.0.2.7 -m comment --comment mine -j RETURN",
        "-A POSTROUTING -s 192.0.2.0/24 -m multiport -p tcp --dports 80,81 -j SOMEBODY",
        "-A POSTROUTING -s 192.0.2.9 -m comment --comment CNI-like -j MASQUERADE",
    ] {
        let words: Vec<&str> = ["-t", "nat"].into_iter().chain(rule.split(' ')).collect();
        node.ns.run("iptables", &words);
    }
    let stays = Pod::new();
    node.add(Who::Theirs, &stays, &node.chain(&stays));
    let before = node.holds();
    (node, stays, before)
}

#[test]
fn our_del_leaves_nothing_of_the_pod_and_does_not_touch_anything_else() {
    let (node, _stays, before) = lived_in();
    let pod = Pod::new();
    let chain = node.chain(&pod);
    let result = node.add(Who::Theirs, &pod, &chain);
    assert!(node.holds().len() > before.len() + 20, "the reference plugins made nothing");
    node.del(Who::Ours, &pod, &pod.ns.path(), &chain, &result);
    assert_eq!(node.holds(), before);
    node.del(Who::Ours, &pod, &pod.ns.path(), &chain, &result);
    assert_eq!(node.holds(), before, "a second DEL");
}

#[test]
fn our_one_plugin_for_all_removes_what_a_chain_of_three_made() {
    let (node, _stays, before) = lived_in();
    let pod = Pod::new();
    let result = node.add(Who::Theirs, &pod, &node.chain(&pod));
    let mut one = node.bridge();
    one["type"] = json!("routerd-cni");
    one["bridge"] = json!("cni0");
    node.del(Who::Ours, &pod, &pod.ns.path(), &[one], &result);
    assert_eq!(node.holds(), before);
}

#[test]
fn after_a_reboot_of_the_pod_nothing_is_known_but_the_id_and_still_nothing_stays() {
    for netns in ["", "/run/netns/gone-for-good"] {
        let (node, _stays, before) = lived_in();
        let pod = Pod::new();
        let mut chain = node.chain(&pod);
        node.add(Who::Theirs, &pod, &chain);
        // The namespace takes the pod's devices with it.
        let id = pod.id.clone();
        drop(pod);
        let pod = Pod { id, ..Pod::new() };
        chain[1].as_object_mut().unwrap().remove("runtimeConfig");
        node.del(Who::Ours, &pod, netns, &chain, &Value::Null);
        let left: Vec<String> =
            node.holds().into_iter().filter(|line| !line.starts_with("link veth")).collect();
        let wanted: Vec<String> = before.into_iter().filter(|line| !line.starts_with("link veth")).collect();
        assert_eq!(left, wanted, "{netns:?}");
    }
}

#[test]
fn gc_removes_pods_of_the_reference_plugins_that_are_not_listed_and_keeps_the_others() {
    let (node, stays, before) = lived_in();
    let pod = Pod::new();
    node.add(Who::Theirs, &pod, &node.chain(&pod));
    let host_end = node.ns.run("ip", &["-o", "link", "show", "type", "veth"]).lines().count();
    assert_eq!(host_end, 2);
    let id = pod.id.clone();
    drop(pod);
    let mut conf = node.bridge();
    conf["cniVersion"] = json!("1.1.0");
    conf["cni.dev/valid-attachments"] = json!([{"containerID": stays.id, "ifname": "eth0"}]);
    // The device went with the namespace; the kernel may still be at it.
    while node.ns.run("ip", &["-o", "link", "show", "type", "veth"]).lines().count() > 1 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    node.call(Who::Ours, "GC", &stays, &stays.ns.path(), &conf).unwrap();
    let ifb = |line: &String| !line.starts_with("link bwp");
    let left: Vec<String> = node.holds().into_iter().filter(ifb).collect();
    assert_eq!(left, before.into_iter().filter(ifb).collect::<Vec<_>>(), "{id}");
}

#[test]
fn a_node_that_never_had_the_reference_plugins_gets_no_table_of_theirs() {
    let node = Node::new();
    let pod = Pod::new();
    node.del(Who::Ours, &pod, &pod.ns.path(), &[node.bridge()], &Value::Null);
    assert_eq!(node.ns.run("nft", &["list", "tables"]), "");
}

#[test]
fn a_pod_of_ours_is_removed_by_the_reference_plugins() {
    let node = Node::new();
    let pod = Pod::new();
    let mut conf = node.bridge();
    conf.as_object_mut().unwrap().remove("ipMasq");
    let result = node.add(Who::Ours, &pod, std::slice::from_ref(&conf));
    assert_eq!(node.leases().len(), 2);
    node.del(Who::Theirs, &pod, &pod.ns.path(), &[conf], &result);
    assert_eq!(node.leases(), Vec::<String>::new());
    assert!(!node.holds().iter().any(|line| line.starts_with("link veth")), "{:?}", node.holds());
}
