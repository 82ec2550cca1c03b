//! The role `bandwidth`: what is made, refused, checked and taken away.

use serde_json::{Value, json};

use crate::support::{Call, Node, OURS, Pod, after, link, with};

fn limits(version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "net", "type": "bandwidth",
        "ingressRate": 8000, "ingressBurst": 80, "egressRate": 16000, "egressBurst": 80,
    })
}

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn both_directions_are_limited_as_the_reference_does_in_every_version_and_del_takes_the_block_away() {
    for version in VERSIONS {
        let (node, pod) = (Node::new(), Pod::new());
        let wired = node.wire(&pod, version);
        let conf = after(&limits(version), &wired);
        let result = node.call(OURS, "ADD", &pod, &conf).result();
        let port = Node::host_end(&wired);
        assert_eq!(result["cniVersion"], version);
        let block = result["interfaces"][3]["name"].as_str().unwrap();
        assert!(block.starts_with("bwp") && block.len() == 15, "{block}");
        let seen = link(&node.ns, block);
        assert_eq!(result["interfaces"][3]["mac"], seen["address"]);
        assert_eq!((&seen["mtu"], seen["linkinfo"]["info_kind"].as_str()), (&json!(1500), Some("ifb")));
        assert!(seen["flags"].as_array().unwrap().contains(&json!("UP")), "{seen}");
        assert_eq!(seen["ifalias"], format!("routerd-cni:net/{}/eth0", pod.id));
        let show = |device: &str| node.ns.run("tc", &["qdisc", "show", "dev", device]);
        let to_pod = show(&port);
        assert!(
            to_pod.contains("tbf 1: root") && to_pod.contains("rate 8Kbit burst 10b lat 25ms"),
            "{to_pod}"
        );
        assert!(to_pod.contains("qdisc ingress ffff:"), "{to_pod}");
        assert!(show(block).contains("rate 16Kbit burst 10b lat 25ms"), "{}", show(block));
        let filter = node.ns.run("tc", &["filter", "show", "dev", &port, "parent", "ffff:"]);
        assert!(filter.contains(&format!("Egress Redirect to device {block}")), "{filter}");
        node.call(OURS, "DEL", &pod, &conf).works();
        assert_eq!(node.links("ifb"), Vec::<String>::new());
        node.call(OURS, "DEL", &pod, &limits(version)).works();
    }
}

#[test]
fn versions_without_interfaces_are_refused_by_every_command() {
    let (node, pod) = (Node::new(), Pod::new());
    for (version, command) in [("0.1.0", "ADD"), ("0.2.0", "ADD"), ("0.2.0", "DEL")] {
        let (code, words) = node.call(OURS, command, &pod, &limits(version)).error();
        assert_eq!(code, 1);
        assert!(words.contains("incompatible CNI versions") && words.contains("0.3.0"), "{words}");
    }
    let told = node.call(OURS, "VERSION", &pod, &limits("1.1.0")).result();
    assert_eq!(told["supportedVersions"], json!(VERSIONS));
}

#[test]
fn one_direction_alone_leaves_the_other_as_it_is() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let port = Node::host_end(&wired);
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bandwidth", "prevResult": wired,
        "runtimeConfig": {"bandwidth": {"IngressRate": 800_000, "IngressBurst": 4_294_967_295_u32}}});
    let result = node.call(OURS, "ADD", &pod, &conf).result();
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
    assert_eq!(node.links("ifb"), Vec::<String>::new());
    let seen = node.ns.run("tc", &["qdisc", "show", "dev", &port]);
    assert!(seen.contains("rate 800Kbit") && !seen.contains("ingress"), "{seen}");
    node.call(OURS, "CHECK", &pod, &after(&conf, &result)).works();
}

#[test]
fn without_limits_a_result_is_passed_on_and_none_is_no_crash() {
    let (node, pod) = (Node::new(), Pod::new());
    for version in VERSIONS {
        let wired = node.wire(&pod, version);
        let none = json!({"cniVersion": version, "name": "net", "type": "bandwidth",
            "runtimeConfig": {"bandwidth": {"ingressRate": 0, "egressRate": 0}}});
        assert_eq!(node.call(OURS, "ADD", &pod, &after(&none, &wired)).result(), wired);
        let alone = node.call(OURS, "ADD", &pod, &none).result();
        assert_eq!(alone["cniVersion"], version);
        assert!(alone["interfaces"].is_null() && alone["ips"].is_null(), "{alone}");
        node.call(OURS, "DEL", &pod, &node.bridge(version)).works();
    }
}

#[test]
fn what_cannot_be_limited_is_refused_and_nothing_is_made() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let port = Node::host_end(&wired);
    let conf = limits("1.0.0");
    let mut unlisted = wired.clone();
    unlisted["interfaces"][1]["name"] = json!("veth00000000");
    let no_interfaces = json!({"cniVersion": "1.0.0", "ips": []});
    for (conf, words) in [
        (conf.clone(), "must be called as chained plugin"),
        (after(&conf, &no_interfaces), "no interfaces provided"),
        (after(&conf, &unlisted), "no veth peer of container interface found in host ns"),
        (after(&with(&conf, &json!({"egressBurst": 0})), &wired), "if rate is set, burst must also be set"),
        (after(&with(&conf, &json!({"ingressRate": 0})), &wired), "if burst is set, rate must also be set"),
        (after(&with(&conf, &json!({"egressBurst": 34_359_738_368_u64})), &wired), "more than 4GB"),
        (after(&with(&conf, &json!({"egressRate": "fast"})), &wired), "egressRate"),
    ] {
        let (_, error) = node.call(OURS, "ADD", &pod, &conf).error();
        assert!(error.contains(words), "{words}: {error}");
    }
    let path = pod.ns.path();
    let call =
        Call { program: "bandwidth", ours: OURS, command: "ADD", ifname: "lo", netns: &path, args: "" };
    let (_, error) = node.call_with(&call, &pod, &after(&conf, &wired)).error();
    assert!(error.contains("container interface lo has no veth peer"), "{error}");
    assert_eq!(node.links("ifb"), Vec::<String>::new());
    assert!(node.ns.run("tc", &["qdisc", "show", "dev", &port]).contains("noqueue"));
}

#[test]
fn what_is_limited_already_is_refused_and_keeps_its_limits() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let port = Node::host_end(&wired);
    let conf = after(&limits("1.0.0"), &wired);
    // Somebody's own look at what arrives.
    node.ns.run("tc", &["qdisc", "add", "dev", &port, "ingress"]);
    let (code, error) = node.call(OURS, "ADD", &pod, &conf).error();
    assert!(code == 101 && error.contains(&port), "{error}");
    assert_eq!(node.links("ifb"), Vec::<String>::new());
    let seen = node.ns.run("tc", &["qdisc", "show", "dev", &port]);
    assert!(!seen.contains("tbf") && seen.contains("ingress"), "{seen}");
    node.ns.run("tc", &["qdisc", "del", "dev", &port, "ingress"]);
    // Somebody's own discipline.
    node.ns.run("tc", &["qdisc", "add", "dev", &port, "root", "pfifo", "limit", "77"]);
    let (code, error) = node.call(OURS, "ADD", &pod, &conf).error();
    assert!(code == 101 && error.contains(&port), "{error}");
    assert_eq!(node.links("ifb"), Vec::<String>::new());
    let seen = node.ns.run("tc", &["qdisc", "show", "dev", &port]);
    assert!(seen.contains("limit 77p") && !seen.contains("ingress"), "{seen}");
    node.ns.run("tc", &["qdisc", "del", "dev", &port, "root"]);
    // A second ADD of the same pod.
    let result = node.call(OURS, "ADD", &pod, &conf).result();
    let (code, error) = node.call(OURS, "ADD", &pod, &conf).error();
    assert!(code == 101 && error.contains("has a bandwidth limit already"), "{error}");
    node.call(OURS, "CHECK", &pod, &after(&conf, &result)).works();
}

#[test]
fn check_finds_every_part_that_is_missing_or_other() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let port = Node::host_end(&wired);
    let conf = limits("1.0.0");
    let damage: [(&[&str], &str); 5] = [
        (&["tc", "qdisc", "del", "dev", "PORT", "root"], "Failed to find qdisc"),
        (&["tc", "qdisc", "del", "dev", "PORT", "ingress"], "do not go to"),
        (
            &[
                "tc", "qdisc", "change", "dev", "BLOCK", "root", "tbf", "rate", "9kbit", "burst", "10",
                "limit", "35",
            ],
            "Rate",
        ),
        (&["ip", "link", "set", "BLOCK", "down"], "is down"),
        (&["ip", "link", "del", "BLOCK"], "is gone"),
    ];
    for (words, told) in damage {
        let result = node.call(OURS, "ADD", &pod, &after(&conf, &wired)).result();
        let checked = after(&conf, &result);
        node.call(OURS, "CHECK", &pod, &checked).works();
        let block = node.links("ifb").remove(0);
        let words: Vec<&str> = words
            .iter()
            .map(|word| word.replace("PORT", &port).replace("BLOCK", &block).leak() as &str)
            .collect();
        node.ns.run(words[0], &words[1..]);
        let (code, error) = node.call(OURS, "CHECK", &pod, &checked).error();
        assert!(code == 102 && error.contains(told), "{words:?}: {error}");
        node.call(OURS, "DEL", &pod, &checked).works();
        // The pair stays in this test, and so do its limits.
        for which in ["root", "ingress"] {
            node.ns.succeeds("tc", &["qdisc", "del", "dev", &port, which]);
        }
    }
    node.call(OURS, "CHECK", &pod, &conf).error();
}

#[test]
fn two_attachments_of_a_container_to_one_network_have_a_block_each() {
    let (node, pod) = (Node::new(), Pod::new());
    let path = pod.ns.path();
    let call = |program: &'static str, command: &'static str, ifname: &'static str, conf: &Value| {
        let call = Call { program, ours: OURS, command, ifname, netns: &path, args: "" };
        node.call_with(&call, &pod, conf)
    };
    let conf = limits("1.0.0");
    let mut results = Vec::new();
    for ifname in ["eth0", "net1"] {
        let bridge = with(&node.bridge("1.0.0"), &json!({"isDefaultGateway": false}));
        let wired = call("bridge", "ADD", ifname, &bridge).result();
        results.push(call("bandwidth", "ADD", ifname, &after(&conf, &wired)).result());
    }
    assert_eq!(node.links("ifb").len(), 2);
    call("bandwidth", "DEL", "eth0", &conf).works();
    call("bandwidth", "CHECK", "net1", &after(&conf, &results[1])).works();
    assert_eq!(node.links("ifb").len(), 1);
    call("bandwidth", "DEL", "net1", &conf).works();
    assert_eq!(node.links("ifb"), Vec::<String>::new());
}

#[test]
fn what_a_killed_add_left_goes_with_del_or_gc_and_others_stay() {
    let node = Node::new();
    let (pod, valid, stranger) = (Pod::new(), Pod::new(), Pod::new());
    let conf = limits("1.1.0");
    let other = with(&conf, &json!({"name": "other"}));
    for (pod, conf) in [(&pod, &conf), (&valid, &conf), (&stranger, &other)] {
        let wired = node.wire(pod, "1.1.0");
        node.call(OURS, "ADD", pod, &after(conf, &wired)).result();
    }
    // As an ADD of the reference plugin leaves it that is killed between block and filter.
    node.ns.run("ip", &["link", "add", "bwp0123456789ab", "type", "ifb"]);
    // As an administrator makes one.
    node.ns.run("ip", &["link", "add", "ifb-mine", "type", "ifb"]);
    assert_eq!(node.links("ifb").len(), 5);
    node.call(OURS, "GC", &pod, &conf).works();
    assert_eq!(node.links("ifb").len(), 5, "nobody said what is valid");
    let listed = json!([{"containerID": valid.id, "ifname": "eth0"}]);
    node.call(OURS, "GC", &pod, &with(&conf, &json!({"cni.dev/valid-attachments": listed}))).works();
    let left = node.links("ifb");
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.contains(&"ifb-mine".to_owned()) && !left.contains(&"bwp0123456789ab".to_owned()));
    node.call(OURS, "DEL", &valid, &conf).works();
    node.call(OURS, "DEL", &stranger, &other).works();
    assert_eq!(node.links("ifb"), ["ifb-mine"]);
}

#[test]
fn a_block_that_an_earlier_add_left_does_not_stand_in_the_way() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = limits("1.0.0");
    for _ in 0..2 {
        let wired = node.wire(&pod, "1.0.0");
        node.call(OURS, "ADD", &pod, &after(&conf, &wired)).result();
        assert_eq!(node.links("ifb").len(), 1);
        // The pair goes, the block stays.
        node.call(OURS, "DEL", &pod, &node.bridge("1.0.0")).works();
    }
    node.call(OURS, "DEL", &pod, &conf).works();
    assert_eq!(node.links("ifb"), Vec::<String>::new());
}

/// The same limits in the one exec of `routerd-cni`; the daemon is not there, and its absence is no failure.
fn one(node: &Node) -> Value {
    let limits = json!({"ingressRate": 8000, "ingressBurst": 80, "egressRate": 16000, "egressBurst": 80});
    let routerd = json!({"socket": node.folder().join("no.sock"), "required": false});
    let more = json!({"type": "routerd-cni", "runtimeConfig": {"bandwidth": limits}, "routerd": routerd});
    with(&node.bridge("1.1.0"), &more)
}

#[test]
fn one_exec_limits_as_the_chain_does_and_del_takes_pair_and_block_together() {
    let (node, pod, other) = (Node::new(), Pod::new(), Pod::new());
    let conf = one(&node);
    node.call(OURS, "ADD", &other, &conf).result();
    for netns_is_named in [true, false] {
        let result = node.call(OURS, "ADD", &pod, &conf).result();
        let (port, block) = (Node::host_end(&result), result["interfaces"][3]["name"].as_str().unwrap());
        let show = |device: &str| node.ns.run("tc", &["qdisc", "show", "dev", device]);
        assert!(show(&port).contains("rate 8Kbit") && show(block).contains("rate 16Kbit"));
        let checked = after(&conf, &result);
        node.call(OURS, "CHECK", &pod, &checked).works();
        node.ns.run("tc", &["qdisc", "del", "dev", &port, "ingress"]);
        let (code, error) = node.call(OURS, "CHECK", &pod, &checked).error();
        assert!(code == 102 && error.contains(block), "{error}");
        let path = if netns_is_named { pod.ns.path() } else { String::new() };
        let call = Call {
            program: "routerd-cni",
            ours: OURS,
            command: "DEL",
            ifname: "eth0",
            netns: &path,
            args: "",
        };
        node.call_with(&call, &pod, &checked).works();
        assert_eq!((node.links("veth").len(), node.links("ifb").len()), (1, 1), "the other pod's");
    }
    node.call(OURS, "DEL", &other, &conf).works();
    assert_eq!((node.links("veth").len(), node.links("ifb").len()), (0, 0));
}

#[test]
fn a_limit_that_cannot_be_set_takes_the_whole_pod_back() {
    let (node, pod) = (Node::new(), Pod::new());
    let wrong = with(&one(&node), &json!({"runtimeConfig": {"bandwidth": {"egressRate": 8}}}));
    let (code, error) = node.call(OURS, "ADD", &pod, &wrong).error();
    assert!(code == 7 && error.contains("runtimeConfig.bandwidth.egressBurst"), "{error}");
    // Both names of its block are taken by somebody else.
    let conf = one(&node);
    let first = node.call(OURS, "ADD", &pod, &conf).result()["interfaces"][3]["name"].clone();
    node.call(OURS, "DEL", &pod, &conf).works();
    node.ns.run("ip", &["link", "add", first.as_str().unwrap(), "type", "veth", "peer", "name", "x"]);
    let second = node.call(OURS, "ADD", &pod, &conf).result()["interfaces"][3]["name"].clone();
    assert_ne!(first, second);
    node.call(OURS, "DEL", &pod, &conf).works();
    node.ns.run("ip", &["link", "add", second.as_str().unwrap(), "type", "veth", "peer", "name", "y"]);
    let (_, error) = node.call(OURS, "ADD", &pod, &conf).error();
    assert!(error.contains(second.as_str().unwrap()), "{error}");
    assert_eq!((node.links("veth").len(), node.links("ifb").len()), (4, 0));
    let leases = std::fs::read_dir(node.folder().join("leases/net")).unwrap();
    let names: Vec<String> = leases.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.parse::<std::net::IpAddr>().is_ok()), "{names:?}");
}
