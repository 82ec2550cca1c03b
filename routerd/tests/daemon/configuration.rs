//! The network configuration of pods, kept current by a running daemon.

use std::fs;

use serde_json::{Value, json};

use crate::world::{NODE, World, wait};

fn conflist(world: &World) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(world.path("cni.conflist")).ok()?).ok()
}

/// Waits until the plugin's entry in the configuration is as wanted.
fn until(world: &World, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait(what, || conflist(world).map(|conf| conf["plugins"][0].clone()).filter(|plugin| wanted(plugin)))
}

fn set_mtu(world: &World, mtu: u32) {
    world.namespace.run("ip", &["link", "set", "up0", "mtu", &mtu.to_string()]);
}

#[test]
fn the_mtu_of_pods_follows_the_uplink_while_the_daemon_runs_and_one_of_the_users_stays() {
    let world = World::running("conf");
    until(&world, "the uplink's MTU", |plugin| plugin["mtu"] == 1500);
    for mtu in [1400, 9000] {
        set_mtu(&world, mtu);
        until(&world, "the uplink's new MTU", |plugin| plugin["mtu"] == mtu);
    }
    let path = world.path("cni.conflist");
    let mine = fs::read_to_string(&path).unwrap().replace("\"mtu\": 9000", "\"mtu\": 1300, \"mine\": [1]");
    fs::write(&path, mine).unwrap();
    set_mtu(&world, 1450);
    world.write("node.yaml", &NODE.replace("10.244.1.0/24", "10.244.9.0/24"));
    let plugin = until(&world, "the new range", |plugin| {
        plugin["ipam"]["ranges"] == json!([[{"subnet": "10.244.9.0/24"}]])
    });
    assert_eq!((&plugin["mtu"], &plugin["mine"]), (&json!(1300), &json!([1])));
}

#[test]
fn ranges_follow_the_node_object_in_one_and_in_both_families() {
    let mut world = World::new("conf");
    world.write(
        "node.yaml",
        &NODE.replace("podCIDR: 10.244.1.0/24", "podCIDRs: [10.244.1.0/24, \"fd00:1::/64\"]"),
    );
    world.start_with(&["--enable-ipv6=true"]);
    let ranges = |plugin: &Value| plugin["ipam"]["ranges"].clone();
    until(&world, "both ranges", |plugin| {
        ranges(plugin) == json!([[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]])
    });
    world.write("node.yaml", &NODE.replace("podCIDR: 10.244.1.0/24", "podCIDRs: [\"fd00:2::/64\"]"));
    until(&world, "the IPv6 range alone", |plugin| ranges(plugin) == json!([[{"subnet": "fd00:2::/64"}]]));
    let annotated = "metadata: {name: node1, annotations: {kube-router.io/pod-cidrs: 10.244.7.0/24}}";
    world.write("node.yaml", &NODE.replace("metadata: {name: node1}", annotated));
    until(&world, "the annotation's range", |plugin| {
        ranges(plugin) == json!([[{"subnet": "10.244.7.0/24"}]])
    });
}

#[test]
fn a_broken_configuration_is_reported_with_its_place_and_left_and_a_mended_one_is_used() {
    let mut world = World::new("conf");
    let path = world.path("cni.conflist");
    let broken = "{\n  \"name\": \"mynet\",\n  \"plugins\": [}\n}";
    fs::write(&path, broken).unwrap();
    world.start();
    let problems = |status: &Value| {
        let planes = status["planes"].as_array().unwrap().clone();
        let cni = planes.into_iter().find(|plane| plane["name"] == "cni");
        cni.map(|plane| plane["problems"].to_string()).unwrap_or_default()
    };
    let status = world.until("the broken file", |status| problems(status).contains("line 3 column 15"));
    assert!(problems(&status).contains("cni.conflist"), "{}", problems(&status));
    assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    let mended =
        r#"{"name":"mynet","plugins":[{"type":"bridge","bridge":"br1","ipam":{"type":"host-local"}}]}"#;
    fs::write(&path, mended).unwrap();
    // No event of the kernel or the cluster tells of it: it is tried again.
    let plugin =
        until(&world, "the mended file with the range", |plugin| !plugin["ipam"]["ranges"].is_null());
    assert_eq!((&plugin["bridge"], &plugin["type"]), (&json!("br1"), &json!("bridge")));
}
