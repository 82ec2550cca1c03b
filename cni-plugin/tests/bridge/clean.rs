//! What a failed ADD leaves: nothing that was not there, and everything that was.

use super::support::{Node, Pod, links, reaches};
use kernel::testing::Churn;
use serde_json::{Value, json};

/// An ADD of this fails at its last step in the pod, after everything on the node was made.
fn failing() -> Value {
    json!({"ipam": {"routes": [{"dst": "10.1.0.0/16", "gw": "192.0.2.1"}]}})
}

/// Links and addresses of the node.
fn seen(node: &Node) -> String {
    let links = node.ns.run("ip", &["-br", "link"]);
    // The state comes a moment after the fact; name and address are what counts.
    let links = links.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}\n", words[0], words[2])
    });
    links.collect::<String>() + &node.ns.run("ip", &["-o", "address", "show", "scope", "global"])
}

#[test]
fn the_first_add_of_a_node_that_fails_leaves_not_even_the_bridge() {
    let node = Node::new();
    let before = seen(&node);
    for changes in [failing(), json!({"mtu": 1000}), json!({"mtu": 1000, "isDefaultGateway": false})] {
        let pod = Pod::new();
        node.add(&pod, &node.network(&changes)).error();
        assert_eq!(seen(&node), before, "{changes}");
        assert_eq!(links(&pod.ns, &[]), ["lo"]);
        node.assert_clean();
        // And again without DEL, as a runtime may do.
        node.add(&pod, &node.network(&json!({"mtu": 1300}))).works();
        node.del(&pod, &node.network(&json!({}))).works();
        node.ns.run("ip", &["link", "del", "cni0"]);
    }
}

#[test]
fn del_of_a_container_that_is_gone_spares_the_one_that_has_its_namespaces_path_now() {
    let (node, running, gone) = (Node::new(), Pod::new(), Pod::new());
    let mut conf = node.network(&json!({}));
    node.add(&running, &conf).works();
    node.call("DEL", &gone, &running.ns.path(), &conf).works();
    assert!(reaches(&running.ns, &node.ns, "10.9.0.1"));
    conf["name"] = json!("n".repeat(256).as_str());
    node.call("DEL", &gone, "", &conf).works();
}

#[test]
fn a_bridge_that_was_there_keeps_the_addresses_it_had() {
    let node = Node::new();
    node.ns.run("ip", &["link", "add", "name", "cni0", "up", "type", "bridge"]);
    node.ns.run("ip", &["address", "add", "10.8.0.1/16", "dev", "cni0"]);
    node.ns.run("ip", &["address", "add", "fd09::77/48", "nodad", "dev", "cni0"]);
    let addresses = || node.ns.run("ip", &["-o", "address", "show", "cni0", "scope", "global"]);
    let before = addresses();
    let mut changes = failing();
    changes["forceAddress"] = json!(true);
    node.add(&Pod::new(), &node.network(&changes)).error();
    assert_eq!(addresses(), before);
    assert_eq!(links(&node.ns, &["type", "bridge"]), ["cni0"]);
    node.assert_clean();
}

#[test]
fn who_locks_the_nodes_namespace_which_anybody_can_open_holds_up_no_add() {
    use nix::fcntl::{Flock, FlockArg};
    let node = Node::new();
    let namespace = std::fs::File::open(node.ns.path()).unwrap();
    let _held = Flock::lock(namespace, FlockArg::LockExclusive).unwrap();
    node.add(&Pod::new(), &node.network(&failing())).error();
    assert_eq!(node.links("bridge"), Vec::<String>::new(), "one that fails takes back what it made even so");
    node.add(&Pod::new(), &node.network(&json!({}))).works();
}

#[test]
fn what_other_pods_use_stays_when_an_add_fails() {
    let (node, pod) = (Node::new(), Pod::new());
    node.add(&pod, &node.network(&json!({}))).works();
    let before = seen(&node);
    node.add(&Pod::new(), &node.network(&failing())).error();
    assert_eq!(seen(&node), before);
    // Somebody took the gateway's address away; the failing ADD puts it back, and the pod that is there uses it.
    node.ns.run("ip", &["address", "del", "10.9.0.1/24", "dev", "cni0"]);
    node.add(&Pod::new(), &node.network(&failing())).error();
    assert!(reaches(&pod.ns, &node.ns, "10.9.0.1"));
}

#[test]
fn adds_that_fail_beside_adds_that_work_take_nothing_from_them() {
    let node = Node::new();
    let pods: Vec<Pod> = (0..24).map(|_| Pod::new()).collect();
    std::thread::scope(|scope| {
        for (number, pod) in pods.iter().enumerate() {
            let node = &node;
            scope.spawn(move || {
                let changes = if number % 2 == 0 { failing() } else { json!({}) };
                let answer = node.add(pod, &node.network(&changes));
                assert_eq!(answer.success, number % 2 == 1, "{answer:?}");
            });
        }
    });
    assert_eq!(node.links("veth").len(), 12);
    assert_eq!(node.leases().len(), 24);
    for pod in pods.iter().skip(1).step_by(2) {
        assert!(reaches(&pod.ns, &node.ns, "10.9.0.1") && reaches(&pod.ns, &node.ns, "fd09::1"));
    }
}

#[test]
fn a_host_end_that_was_renamed_is_still_known_by_its_alias() {
    let (node, pod, other) = (Node::new(), Pod::new(), Pod::new());
    let conf = node.network(&json!({}));
    let name = |result: Value| result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let near = name(node.add(&pod, &conf).result());
    let stays = name(node.add(&other, &conf).result());
    node.ns.run("ip", &["link", "set", &near, "down"]);
    node.ns.run("ip", &["link", "set", &near, "name", "renamed"]);
    node.call("DEL", &pod, "", &conf).works();
    assert_eq!(node.links("veth"), [stays]);
}

#[test]
fn del_of_what_is_gone_works_while_other_pods_come_and_go_all_the_time() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({"cniVersion": "1.1.0"}));
    let near = node.add(&pod, &conf).result()["interfaces"][1]["name"].as_str().unwrap().to_owned();
    node.ns.run("ip", &["link", "set", &near, "down"]);
    node.ns.run("ip", &["link", "set", &near, "name", "renamed"]);
    let churn = Churn::start(&node.ns);
    let gone = Pod::new();
    for _ in 0..20 {
        node.call("DEL", &gone, "", &conf).works();
    }
    node.call("DEL", &pod, "", &conf).works();
    drop(churn);
    assert!(!node.links("veth").contains(&"renamed".to_owned()));
    assert_eq!(node.leases(), Vec::<String>::new());
}

#[test]
fn gc_removes_the_devices_of_this_network_that_are_not_listed() {
    let (node, kept, stale, other) = (Node::new(), Pod::new(), Pod::new(), Pod::new());
    let conf = node.network(&json!({"cniVersion": "1.1.0"}));
    let another = node.network(&json!({"name": "other", "ipam": {"ranges": [[{"subnet": "10.9.0.128/25"}]]},
        "isDefaultGateway": false}));
    node.add(&kept, &conf).works();
    node.add(&stale, &conf).works();
    node.add(&other, &another).works();
    node.ns.run("ip", &["link", "add", "by-hand", "type", "veth", "peer", "name", "other-end"]);
    let gc = |valid: Value| {
        let mut conf = conf.clone();
        conf["cni.dev/valid-attachments"] = valid;
        node.call("GC", &kept, "", &conf).works();
        node.links("veth").len()
    };
    assert_eq!(gc(json!([{"containerID": kept.id, "ifname": "eth0"}])), 4);
    assert_eq!(links(&stale.ns, &[]), ["lo"]);
    assert!(reaches(&kept.ns, &node.ns, "10.9.0.1"));
    assert_eq!(node.leases(), ["10.9.0.2", "fd09::2"]);
    // The same id with another interface is another attachment.
    assert_eq!(gc(json!([{"containerID": kept.id, "ifname": "eth1"}])), 3);
    assert_eq!(node.leases(), Vec::<String>::new());
}

/// Settings that an ADD changes: of the node and, if it is there, of the bridge.
fn settings(node: &Node) -> String {
    let mut seen = String::new();
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/forwarding"] {
        seen += &node.ns.run("cat", &[&format!("/proc/sys/{key}")]);
    }
    for key in ["ipv6/conf/cni0/accept_ra", "ipv6/conf/cni0/accept_dad"] {
        let path = format!("/proc/sys/net/{key}");
        if node.ns.succeeds("test", &["-e", &path]) {
            seen += &node.ns.run("grep", &["-H", "", &path]);
        }
    }
    let links: Value = serde_json::from_str(&node.ns.run("ip", &["-j", "-d", "link"])).unwrap();
    let bridge = links.as_array().unwrap().iter().find(|link| link["ifname"] == "cni0");
    // The carrier is no setting.
    let has = |link: &Value, flag: &str| link["flags"].as_array().unwrap().contains(&json!(flag));
    let flags = |link: &Value| ["UP", "PROMISC"].map(|flag| format!("{flag} {}", has(link, flag))).join(" ");
    seen + &bridge.map(flags).unwrap_or_default()
}

#[test]
fn an_add_that_fails_leaves_the_settings_of_the_node_and_of_its_bridge_as_they_were() {
    // The last step fails: no daemon is there.
    let no_daemon = json!({"routerd": {"socket": "/nonexistent/routerd.sock", "awayMs": 1}});
    for prepared in [&["down"][..], &["up"], &["up", "promisc", "on"], &[]] {
        let node = Node::new();
        if !prepared.is_empty() {
            node.ns.run("ip", &["link", "add", "name", "cni0", "type", "bridge"]);
            node.ns.run("sysctl", &["-qw", "net.ipv6.conf.cni0.accept_ra=2"]);
            node.ns.run("ip", &[&["link", "set", "cni0"][..], prepared].concat());
        }
        let before = settings(&node);
        for failing in [&no_daemon, &failing()] {
            let mut changes = failing.clone();
            changes["promiscMode"] = json!(true);
            node.add(&Pod::new(), &node.network(&changes)).error();
            assert_eq!(settings(&node), before, "{prepared:?} {failing}");
        }
        // One that works needs them.
        let pod = Pod::new();
        node.add(&pod, &node.network(&json!({"promiscMode": true}))).works();
        assert!(settings(&node).starts_with("1\n1\n1\n"), "{}", settings(&node));
        assert!(settings(&node).contains("PROMISC true"));
    }
}

#[test]
fn a_bridge_that_is_full_is_told_of_with_what_to_do_and_nothing_stays() {
    let node = Node::new();
    // Both ends of each pair are ports: of 1024 the last one finds no room.
    let pairs = |number| format!("link add p{number} master cni0 type veth peer name q{number}\n");
    let ports = |number| format!("link set q{number} master cni0\n");
    let all = (0..511).flat_map(|number| [pairs(number), ports(number)]).collect::<String>();
    let last = pairs(511);
    let batch = node.folder().join("ports");
    std::fs::write(&batch, format!("link add cni0 type bridge\n{all}{last}")).unwrap();
    node.ns.run("ip", &["-batch", batch.to_str().unwrap()]);
    let before = node.links("veth");
    let refused = node.add(&Pod::new(), &node.network(&json!({})));
    assert_eq!(refused.json["code"], 11, "{}", refused.json);
    let words = refused.error();
    for word in ["cni0", "full", "1023 ports", "maxPods"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    assert_eq!(node.links("veth"), before);
    assert_eq!(node.leases(), Vec::<String>::new());
}
