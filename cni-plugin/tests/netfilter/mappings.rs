//! Who reaches a pod by a port of the node, and whom the pod sees.

use std::net::IpAddr;

use cni_plugin::netfilter::SERVICE_MARK;
use serde_json::json;

use crate::support::{NODE4, NODE6, OUTSIDE4, OUTSIDE6, Pod, World, address, port, with_ports};
use crate::traffic::{tcp, udp};

/// The address that a server saw.
fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

#[test]
fn a_client_outside_reaches_the_pod_and_is_seen_as_itself() {
    let world = World::new();
    let (pod, _) = world.mapped(&json!([port("tcp", 8080, 80), port("udp", 8053, 53)]));
    for (node, outside) in [(NODE4.to_owned(), OUTSIDE4), (format!("[{NODE6}]"), OUTSIDE6)] {
        assert_eq!(tcp(&world.outside, &format!("{node}:8080"), &pod.ns, 80), ip(outside));
        assert_eq!(udp(&world.outside, &format!("{node}:8053"), &pod.ns, 53), ip(outside));
        assert_eq!(tcp(&world.outside, &format!("{node}:8053"), &pod.ns, 53), None, "the protocol counts");
    }
}

#[test]
fn the_node_reaches_the_pod_by_its_own_addresses_and_by_loopback() {
    let world = World::new();
    let (pod, _) = world.mapped(&json!([port("tcp", 8080, 80), port("udp", 8053, 53)]));
    for node in [NODE4.to_owned(), format!("[{NODE6}]"), "127.0.0.1".into(), "127.8.9.1".into()] {
        assert!(tcp(&world.node, &format!("{node}:8080"), &pod.ns, 80).is_some(), "{node}");
        assert!(udp(&world.node, &format!("{node}:8053"), &pod.ns, 53).is_some(), "{node}");
    }
    // The kernel cannot deliver the answer; it must not look like a server that hangs.
    assert_eq!(tcp(&world.node, "[::1]:8080", &pod.ns, 80), None);
}

#[test]
fn the_pod_itself_and_its_neighbour_reach_it_by_the_node() {
    let world = World::new();
    let (pod, neighbour) = (Pod::new(), Pod::new());
    let mut conf = world.one_run(&with_ports(&json!([port("tcp", 8080, 80), port("udp", 8053, 53)])));
    // Where bridged packets are shown to nf_tables the pod's own come back by the port they went in by.
    conf["hairpinMode"] = true.into();
    world.add(&pod, &conf).result();
    world.add(&neighbour, &world.one_run(&json!({}))).result();
    for client in [&neighbour, &pod] {
        for node in [NODE4.to_owned(), format!("[{NODE6}]")] {
            assert!(tcp(&client.ns, &format!("{node}:8080"), &pod.ns, 80).is_some(), "{node}");
            assert!(udp(&client.ns, &format!("{node}:8053"), &pod.ns, 53).is_some(), "{node}");
        }
    }
}

#[test]
fn the_chain_of_plugins_does_the_same_with_containerds_spelling() {
    let world = World::new();
    let pod = Pod::new();
    let bridge = world.network(&json!({}));
    let prev = world.add(&pod, &bridge).result();
    let portmap = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "portmap", "prevResult": prev,
        "runtimeConfig": {"portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]},
    });
    assert_eq!(world.add(&pod, &portmap).result(), prev, "the result is passed on as it is");
    assert_eq!(tcp(&world.outside, &format!("{NODE4}:8080"), &pod.ns, 80), ip(OUTSIDE4));
    world.call("CHECK", &pod, &pod.ns.path(), &portmap).result();
    world.del(&pod, &portmap).result();
    assert_eq!(tcp(&world.outside, &format!("{NODE4}:8080"), &pod.ns, 80), None);
    world.del(&pod, &bridge).result();
    assert_eq!(world.elements(), Vec::<String>::new());
}

#[test]
fn a_service_of_the_same_port_keeps_its_clients() {
    let world = World::new();
    let vip = "10.96.0.1";
    world.node.run("ip", &["address", "add", &format!("{vip}/32"), "dev", "lo"]);
    world.outside.run("ip", &["route", "add", vip, "via", NODE4]);
    // As routerd marks what goes to a Service.
    let chain = |hook: &str| {
        let marks = format!("ip daddr {vip} tcp dport 8080 meta mark set meta mark or {SERVICE_MARK:#x}");
        format!("chain {hook} {{ type filter hook {hook} priority mangle; {marks}; }};")
    };
    let services = format!("table inet services {{ {} {} }}", chain("prerouting"), chain("output"));
    world.node.run("nft", &[services.as_str()]);
    let (pod, _) = world.mapped(&json!([port("tcp", 8080, 80)]));
    for client in [&world.outside, &world.node] {
        let to_service = tcp(client, &format!("{vip}:8080"), &world.node, 8080);
        assert!(to_service.is_some(), "the Service's own server answers\n{}", world.rules());
        assert!(tcp(client, &format!("{NODE4}:8080"), &pod.ns, 80).is_some());
    }
}

#[test]
fn a_mapping_of_one_address_of_the_node_is_not_one_of_another() {
    let world = World::new();
    world.node.run("ip", &["address", "add", "192.0.2.2/32", "dev", "lo"]);
    world.outside.run("ip", &["route", "add", "192.0.2.2", "via", NODE4]);
    let at = |address: &str, host: u16| json!({"hostPort": host, "containerPort": 80, "protocol": "tcp", "hostIP": address});
    let (pod, _) = world.mapped(&json!([at("192.0.2.2", 8080), at("0.0.0.0", 8081), at("::", 8082)]));
    let reaches = |to: &str| tcp(&world.outside, to, &pod.ns, 80).is_some();
    let node6 = format!("[{NODE6}]");
    for (to, expected) in [
        ("192.0.2.2:8080".to_owned(), true),
        (format!("{NODE4}:8080"), false),
        (format!("{node6}:8080"), false),
        (format!("{NODE4}:8081"), true),
        ("192.0.2.2:8081".into(), true),
        (format!("{node6}:8081"), false),
        (format!("{NODE4}:8082"), false),
        (format!("{node6}:8082"), true),
    ] {
        assert_eq!(reaches(&to), expected, "{to}\n{}", world.rules());
    }
}

#[test]
fn the_more_special_mapping_of_two_wins() {
    let world = World::new();
    let at = json!({"hostPort": 8080, "containerPort": 81, "protocol": "tcp", "hostIP": NODE4});
    let (pod, _) = world.mapped(&json!([port("tcp", 8080, 80), at]));
    assert_eq!(tcp(&world.outside, &format!("{NODE4}:8080"), &pod.ns, 81), ip(OUTSIDE4));
    assert_eq!(tcp(&world.outside, &format!("[{NODE6}]:8080"), &pod.ns, 80), ip(OUTSIDE6));
}

#[test]
fn a_port_of_any_address_that_is_written_in_two_ways_leads_to_one_place() {
    let world = World::new();
    let any4 = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "0.0.0.0"});
    let (pod, _) = world.mapped(&json!([any4, port("tcp", 8080, 80)]));
    assert_eq!(tcp(&world.outside, &format!("{NODE4}:8080"), &pod.ns, 80), ip(OUTSIDE4));
    assert_eq!(tcp(&world.outside, &format!("[{NODE6}]:8080"), &pod.ns, 80), ip(OUTSIDE6));
    let other = world.one_run(&with_ports(&json!([any4, port("tcp", 8080, 81)])));
    let error = world.add(&Pod::new(), &other).error();
    assert!(error.contains("portMappings[1].hostPort") && error.contains("8080"), "{error}");
}

#[test]
fn masq_all_hides_everybody_and_no_snat_hides_nobody() {
    let world = World::new();
    let conf = |key: &str, value: bool, host: u16| {
        let mut conf = world.one_run(&with_ports(&json!([port("tcp", host, 80)])));
        conf[key] = value.into();
        conf
    };
    let (hidden, plain) = (Pod::new(), Pod::new());
    world.add(&hidden, &conf("masqAll", true, 8080)).result();
    let result = world.add(&plain, &conf("snat", false, 8081)).result();
    assert_eq!(tcp(&world.outside, &format!("{NODE4}:8080"), &hidden.ns, 80), ip("10.9.0.1"));
    assert_eq!(tcp(&world.outside, &format!("[{NODE6}]:8080"), &hidden.ns, 80), ip("fd09::1"));
    assert_eq!(tcp(&world.outside, &format!("{NODE4}:8081"), &plain.ns, 80), ip(OUTSIDE4));
    let sources: Vec<String> =
        world.elements().into_iter().filter(|line| line.contains(&address(&result, false))).collect();
    assert_eq!(sources.len(), 1, "only the destination is translated: {sources:?}");
}

#[test]
fn packets_that_only_pass_the_node_are_not_taken() {
    let world = World::new();
    let (_mapped, _) = world.mapped(&json!([port("tcp", 8080, 80)]));
    let client = Pod::new();
    world.add(&client, &world.one_run(&json!({}))).result();
    world.outside.run("ip", &["route", "add", "10.9.0.0/24", "via", NODE4]);
    let seen = tcp(&client.ns, &format!("{OUTSIDE4}:8080"), &world.outside, 8080);
    assert!(seen.is_some(), "the pod reaches the server outside and not the mapped pod");
}

#[test]
fn many_mappings_of_one_pod_all_work() {
    let world = World::new();
    let mut mappings: Vec<_> = (0..20).map(|number| port("tcp", 8000 + number, 80 + number)).collect();
    mappings.extend((0..3).map(|number| port("udp", 9000 + number, 90 + number)));
    let (pod, _) = world.mapped(&json!(mappings));
    for number in 0..20 {
        let to = format!("{NODE4}:{}", 8000 + number);
        assert_eq!(tcp(&world.outside, &to, &pod.ns, 80 + number), ip(OUTSIDE4));
    }
    for number in 0..3 {
        let to = format!("{NODE4}:{}", 9000 + number);
        assert_eq!(udp(&world.outside, &to, &pod.ns, 90 + number), ip(OUTSIDE4));
    }
}
