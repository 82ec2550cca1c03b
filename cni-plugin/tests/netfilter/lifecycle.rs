//! What stays and what goes: DEL in all its forms, refused ADDs, flushed tables, many at once, CHECK and GC.

use serde_json::json;

use crate::support::{NODE4, OUTSIDE4, Pod, World, finish, port, with_ports};
use crate::traffic::tcp;

const NOTHING: Vec<String> = Vec::new();

#[test]
fn everything_goes_with_the_pod_however_little_the_runtime_still_knows() {
    let world = World::new();
    let conf = world.one_run(&json!({"ipMasq": true, "macspoofchk": true}));
    let with = |changes| {
        let mut conf = conf.clone();
        crate::support::merge(&mut conf, &changes);
        conf
    };
    let full = with(with_ports(&json!([port("tcp", 8080, 80), port("udp", 8053, 53)])));
    for (what, netns, left) in [
        ("all is known", true, full.clone()),
        ("the namespace is not named", false, full.clone()),
        ("the mappings are not named", true, conf.clone()),
        ("the mappings cannot be read", true, with(with_ports(&json!("?")))),
        ("others are named", true, with(with_ports(&json!([port("tcp", 1, 1)])))),
        ("the keys are gone", false, with(json!({"ipMasq": false, "macspoofchk": false, "vlan": "?"}))),
    ] {
        let pod = Pod::new();
        world.add(&pod, &full).result();
        assert!(!world.elements().is_empty());
        let path = if netns { pod.ns.path() } else { String::new() };
        world.call("DEL", &pod, &path, &left).result();
        assert_eq!(world.elements(), NOTHING, "{what}");
        world.call("DEL", &pod, &path, &left).result();
    }
}

#[test]
fn a_pod_whose_namespace_is_gone_leaves_nothing_and_its_neighbour_stays() {
    let world = World::new();
    let conf = world.one_run(&json!({"ipMasq": true, "macspoofchk": true}));
    let neighbour = Pod::new();
    world.add(&neighbour, &conf).result();
    let before = world.elements();
    let pod = Pod::new();
    world.add(&pod, &conf).result();
    let path = pod.ns.path();
    drop(pod.ns);
    let pod = Pod { id: pod.id, ..Pod::new() };
    world.call("DEL", &pod, &path, &conf).result();
    assert_eq!(world.elements(), before);
}

#[test]
fn two_networks_of_one_container_are_apart() {
    let world = World::new();
    let one = Pod::new();
    let two = Pod { id: one.id.clone(), ifname: "eth1", ..Pod::new() };
    let first = world.one_run(&with_ports(&json!([port("tcp", 8080, 80)])));
    let mut second = world.one_run(&with_ports(&json!([port("tcp", 8081, 81)])));
    second["name"] = "other".into();
    second["bridge"] = "other0".into();
    second["ipam"]["ranges"] = json!([[{"subnet": "10.10.0.0/24"}]]);
    world.add(&one, &first).result();
    world.add(&two, &second).result();
    world.del(&two, &second).result();
    assert!(tcp(&world.outside, &format!("{NODE4}:8080"), &one.ns, 80).is_some(), "{}", world.rules());
    world.del(&one, &first).result();
    assert_eq!(world.elements(), NOTHING);
}

#[test]
fn ten_dels_at_once_are_all_success() {
    let world = World::new();
    let (pod, _) = world.mapped(&json!([port("tcp", 8080, 80)]));
    let conf = world.one_run(&with_ports(&json!([port("tcp", 8080, 80)])));
    let running: Vec<_> = (0..10).map(|_| world.start("DEL", &pod, &pod.ns.path(), &conf)).collect();
    for child in running {
        finish(child).result();
    }
    assert_eq!(world.elements(), NOTHING);
}

#[test]
fn an_administrator_who_flushes_the_rules_breaks_no_del_and_no_add() {
    let world = World::new();
    let conf = world.one_run(&with_ports(&json!([port("tcp", 8080, 80)])));
    let (pod, next) = (Pod::new(), Pod::new());
    world.add(&pod, &conf).result();
    world.node.run("nft", &["flush", "ruleset"]);
    world.del(&pod, &conf).result();
    world.add(&next, &conf).result();
    assert!(tcp(&world.outside, &format!("{NODE4}:8080"), &next.ns, 80).is_some());
    // Only some of it.
    world.node.run("nft", &["delete", "map", "inet", "routerd-cni", "attachments"]);
    let third = Pod::new();
    let other = world.one_run(&with_ports(&json!([port("tcp", 8081, 80)])));
    world.add(&third, &other).result();
    assert!(tcp(&world.outside, &format!("{NODE4}:8081"), &third.ns, 80).is_some());
}

#[test]
fn fifty_first_pods_at_once_make_the_rules_once() {
    let world = World::new();
    let pods: Vec<Pod> = (0..50).map(|_| Pod::new()).collect();
    let conf = |number: usize| {
        let number = u16::try_from(number).unwrap();
        let mut conf = world.one_run(&json!({"ipMasq": true, "macspoofchk": true}));
        crate::support::merge(&mut conf, &with_ports(&json!([port("tcp", 8000 + number, 80)])));
        conf
    };
    let running: Vec<_> = pods
        .iter()
        .enumerate()
        .map(|(number, pod)| world.start("ADD", pod, &pod.ns.path(), &conf(number)))
        .collect();
    for child in running {
        finish(child).result();
    }
    let rules = world.rules();
    for (rule, times) in [
        ("fib daddr type local jump hostports", 2),
        ("ip daddr 224.0.0.0/4 return", 1),
        ("iifname @spoofcheck-ports jump spoofcheck", 1),
        ("vmap @masquerade4", 1),
    ] {
        assert_eq!(rules.matches(rule).count(), times, "{rule} in {rules}");
    }
    assert!(tcp(&world.outside, &format!("{NODE4}:8049"), &pods[49].ns, 80).is_some());
    let running: Vec<_> = pods
        .iter()
        .enumerate()
        .map(|(number, pod)| world.start("DEL", pod, &pod.ns.path(), &conf(number)))
        .collect();
    for child in running {
        finish(child).result();
    }
    assert_eq!(world.elements(), NOTHING);
}

#[test]
fn a_port_that_another_pod_has_is_refused_with_its_name_and_nothing_is_left() {
    let world = World::new();
    let (holder, _) = world.mapped(&json!([port("tcp", 8080, 80)]));
    let (before, links) = (world.rules(), world.node.run("ip", &["-o", "link"]).lines().count());
    let pod = Pod::new();
    let conf = world.one_run(&with_ports(&json!([port("udp", 8080, 80), port("tcp", 8080, 80)])));
    let answer = world.add(&pod, &conf);
    assert_eq!(answer.json["code"], 100);
    let error = answer.error();
    assert!(error.contains(&holder.id) && error.contains("tcp port 8080"), "{error}");
    assert_eq!(world.rules(), before);
    assert_eq!(world.node.run("ip", &["-o", "link"]).lines().count(), links);
    assert!(tcp(&world.outside, &format!("{NODE4}:8080"), &holder.ns, 80).is_some());
    // When it is free it can be had.
    world.del(&holder, &conf).result();
    world.add(&pod, &conf).result();
    assert!(tcp(&world.outside, &format!("{NODE4}:8080"), &pod.ns, 80).is_some());
}

#[test]
fn what_is_left_of_a_pod_that_had_our_address_is_replaced() {
    let world = World::new();
    let (gone, _) = world.mapped(&json!([port("tcp", 8080, 80)]));
    let conf = world.one_run(&with_ports(&json!([port("tcp", 8080, 81)])));
    // The lease is lost, as after a wiped disk, and no DEL came.
    std::fs::remove_dir_all(conf["ipam"]["dataDir"].as_str().unwrap()).unwrap();
    let pod = Pod::new();
    world.add(&pod, &conf).result();
    assert!(tcp(&world.outside, &format!("{NODE4}:8080"), &pod.ns, 81).is_some(), "{}", world.rules());
    world.del(&gone, &conf).result();
    assert!(
        tcp(&world.outside, &format!("{NODE4}:8080"), &pod.ns, 81).is_some(),
        "the late DEL of the other"
    );
    world.del(&pod, &conf).result();
    assert_eq!(world.elements(), NOTHING);
}

#[test]
fn an_add_that_fails_later_leaves_no_rule_and_no_way_for_packets_of_127() {
    let world = World::new();
    world.node.run("ip", &["link", "add", "name", "cni0", "up", "type", "bridge"]);
    let pod = Pod::new();
    let mut conf = world.one_run(&json!({"ipMasq": true, "macspoofchk": true}));
    crate::support::merge(&mut conf, &with_ports(&json!([port("tcp", 8080, 80)])));
    conf["routerd"] = json!({"socket": "/nowhere/nobody.sock", "awayMs": 1, "required": true});
    assert_eq!(world.add(&pod, &conf).json["code"], 11);
    assert_eq!(world.elements(), NOTHING);
    assert_eq!(world.node.run("sysctl", &["-n", "net.ipv4.conf.cni0.route_localnet"]).trim(), "0");
}

#[test]
fn no_mappings_make_no_table() {
    let world = World::new();
    let pod = Pod::new();
    world.add(&pod, &world.one_run(&with_ports(&json!([])))).result();
    let portmap =
        json!({"cniVersion": "1.1.0", "name": "n", "type": "portmap", "prevResult": {"cniVersion": "1.1.0"}});
    world.add(&pod, &portmap).result();
    world.del(&pod, &portmap).result();
    assert!(!world.rules().contains("routerd-cni"), "{}", world.rules());
    assert_eq!(
        world.add(&pod, &json!({"cniVersion": "1.1.0", "name": "n", "type": "portmap"})).error().trim(),
        "must be called as chained plugin prevResult is missing; list portmap after the plugin that makes the \
         pod's interface"
    );
}

#[test]
fn check_notices_what_somebody_changed() {
    let world = World::new();
    let mut conf = world.one_run(&json!({"ipMasq": true, "macspoofchk": true}));
    crate::support::merge(&mut conf, &with_ports(&json!([port("tcp", 8080, 80)])));
    for (program, breaks, word) in [
        ("nft", "flush chain inet routerd-cni prerouting", "chain inet routerd-cni prerouting"),
        ("nft", "delete element inet routerd-cni hostports4 { tcp . 8080 }", "hostports4"),
        ("nft", "flush map inet routerd-cni masquerade4", "masquerade4"),
        ("nft", "flush set bridge routerd-cni spoofcheck-sources", "spoofcheck-sources"),
        ("nft", "flush chain bridge routerd-cni spoofcheck", "spoofcheck"),
        ("nft", "add rule inet routerd-cni output accept", "chain inet routerd-cni output"),
        ("sysctl", "net.ipv4.conf.cni0.route_localnet=0", "route_localnet"),
    ] {
        let pod = Pod::new();
        let mut made = conf.clone();
        made["prevResult"] = world.add(&pod, &conf).result();
        let check = || world.call("CHECK", &pod, &pod.ns.path(), &made);
        check().result();
        world.node.run(program, &breaks.split(' ').collect::<Vec<_>>());
        let answer = check();
        assert_eq!(answer.json["code"], 102, "{breaks}");
        let error = answer.error();
        assert!(error.contains(word), "{breaks}: {error}");
        world.del(&pod, &made).result();
        world.node.run("nft", &["flush", "ruleset"]);
    }
}

#[test]
fn gc_frees_what_is_not_listed_and_mends_the_rules() {
    let world = World::new();
    let conf = |host: u16| {
        let mut conf = world.one_run(&json!({"ipMasq": true, "macspoofchk": true}));
        crate::support::merge(&mut conf, &with_ports(&json!([port("tcp", host, 80)])));
        conf
    };
    let (stays, goes) = (Pod::new(), Pod::new());
    world.add(&stays, &conf(8080)).result();
    let of = |pod: &Pod| world.rules().matches(&format!("/{}/", pod.id)).count();
    let before = of(&stays);
    world.add(&goes, &conf(8081)).result();
    let mut other = conf(8082);
    other["name"] = "other".into();
    other["bridge"] = "other0".into();
    other["ipam"]["ranges"] = json!([[{"subnet": "10.10.0.0/24"}]]);
    let foreign = Pod::new();
    world.add(&foreign, &other).result();
    world.node.run("nft", &["flush chain inet routerd-cni prerouting"]);
    let mut gc = conf(8080);
    gc["cni.dev/valid-attachments"] = json!([{"containerID": stays.id, "ifname": "eth0"}]);
    world.call("GC", &stays, "", &gc).result();
    assert_eq!((of(&stays), of(&goes)), (before, 0), "{}", world.rules());
    assert!(of(&foreign) > 0, "another network's");
    for (port, pod) in [(8080, &stays), (8082, &foreign)] {
        assert!(tcp(&world.outside, &format!("{NODE4}:{port}"), &pod.ns, 80).is_some(), "{port}");
    }
    // With the last pod of a subnet its chains are not needed any more.
    gc["name"] = "other".into();
    gc["cni.dev/valid-attachments"] = json!(null);
    world.call("GC", &stays, "", &gc).result();
    assert!(!world.rules().contains("10.10.0.0"), "{}", world.rules());
    assert!(world.rules().contains("from-10.9.0.0/24"));
}

#[test]
fn loopback_addresses_of_the_node_are_not_open_to_the_wire() {
    let world = World::new();
    let (pod, _) = world.mapped(&json!([port("tcp", 8080, 80)]));
    // A pod that sends to 127.0.0.2 by its gateway, as the sysctl would let in.
    pod.ns.run("ip", &["address", "del", "127.0.0.1/8", "dev", "lo"]);
    pod.ns.run("sysctl", &["-qw", "net.ipv4.conf.all.route_localnet=1"]);
    pod.ns
        .run("ip", &["route", "add", "127.0.0.0/8", "via", "10.9.0.1", "src", "10.9.0.2", "table", "local"]);
    let secret = crate::traffic::Server::new(&world.node, 5353, false);
    let client = crate::traffic::Client::new(&pod.ns, "127.0.0.2:5353");
    assert!(client.is_unheard(&secret), "{}", world.rules());
    world.node.run("nft", &["flush chain inet routerd-cni guard"]);
    assert!(client.is_heard(&secret), "without the rule it would be");
    assert!(OUTSIDE4.starts_with("192"));
}
