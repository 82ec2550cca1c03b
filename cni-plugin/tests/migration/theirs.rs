//! Pods that Debian's reference plugins made, through iptables.

use serde_json::{Value, json};

use crate::support::{Node, Pod, Who, with_result};

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
fn our_check_is_content_with_the_rules_of_the_reference_plugins_as_long_as_they_are_there() {
    let (node, pod) = (Node::new(), Pod::new());
    let chain = node.chain(&pod);
    let result = node.add(Who::Theirs, &pod, &chain);
    let check = |at: usize| {
        node.call(Who::Ours, "CHECK", &pod, &pod.ns.path(), &with_result(&chain[at], &result)).map(drop)
    };
    assert_eq!((0..3).map(check).collect::<Vec<_>>(), [Ok(()), Ok(()), Ok(())]);
    for (at, program, rules, key) in
        [(0, "ip6tables", "POSTROUTING", "ipMasq"), (1, "iptables", "CNI-HOSTPORT-DNAT", "portMappings")]
    {
        node.ns.run(program, &["-t", "nat", "-F", rules]);
        let error = check(at).unwrap_err();
        assert!(error.contains("102") && error.contains(key), "{error}");
    }
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
    assert_eq!(node.holds(), before, "{id}");
}

#[test]
fn a_node_that_never_had_the_reference_plugins_gets_no_table_of_theirs() {
    let node = Node::new();
    let pod = Pod::new();
    node.del(Who::Ours, &pod, &pod.ns.path(), &[node.bridge()], &Value::Null);
    assert_eq!(node.ns.run("nft", &["list", "tables"]), "");
}

#[test]
fn the_reference_plugins_remove_a_pod_of_ours_but_for_rules_they_do_not_know_which_our_gc_frees() {
    let node = Node::new();
    let (stays, pod) = (Pod::new(), Pod::new());
    node.add(Who::Ours, &stays, &node.chain(&stays));
    let before = node.holds();
    let mut chain = node.chain(&pod);
    chain[0]["ipMasq"] = json!(false);
    let result = node.add(Who::Ours, &pod, &chain);
    node.del(Who::Theirs, &pod, &pod.ns.path(), &chain, &result);
    let is_rule = |line: &&String| !line.starts_with("link ") && !line.starts_with("lease ");
    let devices = |lines: &[String]| lines.iter().filter(|line| !is_rule(line)).cloned().collect::<Vec<_>>();
    assert_eq!(devices(&node.holds()), devices(&before), "devices and leases");
    assert!(
        !node.rules_with(&pod.id).is_empty(),
        "the reference plugins know our table: this test is out of date"
    );
    let mut conf = node.bridge();
    conf["cniVersion"] = json!("1.1.0");
    conf["cni.dev/valid-attachments"] = json!([{"containerID": stays.id, "ifname": "eth0"}]);
    node.call(Who::Ours, "GC", &stays, "", &conf).unwrap();
    assert_eq!(node.rules_with(&pod.id), Vec::<String>::new());
    assert!(!node.rules_with(&stays.id).is_empty());
    assert_eq!(devices(&node.holds()), devices(&before));
}

#[test]
fn with_masquerading_the_old_reference_plugin_complains_of_its_chain_only_after_all_else_is_gone() {
    let node = Node::new();
    let pod = Pod::new();
    let mut conf = node.bridge();
    let result = node.add(Who::Ours, &pod, std::slice::from_ref(&conf));
    conf["prevResult"] = result;
    // 1.1.1 fails like this also after an ADD of its own that was killed; 1.6 and later do not.
    let error = node.call(Who::Theirs, "DEL", &pod, &pod.ns.path(), &conf).unwrap_err();
    assert!(error.contains("does not exist"), "{error}");
    let left: Vec<String> = node
        .holds()
        .into_iter()
        .filter(|line| line.starts_with("lease ") || line.starts_with("link veth"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    // A kubelet says DEL again until it works, so the pod ends.
    node.call(Who::Theirs, "DEL", &pod, &pod.ns.path(), &conf).unwrap();
}
