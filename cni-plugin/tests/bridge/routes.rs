//! Routes of the result in the kernel of the pod.

use super::support::{Node, Pod, reaches};
use serde_json::{Value, json};

fn routes(pod: &Pod, which: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["-j"];
    arguments.extend(which);
    let value: Value = serde_json::from_str(&pod.ns.run("ip", &arguments)).unwrap();
    value.as_array().unwrap().clone()
}

fn to<'a>(routes: &'a [Value], destination: &str) -> Vec<&'a Value> {
    routes.iter().filter(|route| route["dst"] == destination).collect()
}

fn with_routes(node: &Node, routes: &Value) -> Value {
    node.network(&json!({"cniVersion": "1.1.0", "ipam": {"routes": routes}}))
}

#[test]
fn every_field_of_a_route_reaches_the_kernel() {
    let (node, pod) = (Node::new(), Pod::new());
    let wanted = json!([
        {"dst": "10.1.0.0/16", "gw": "10.9.0.77", "mtu": 1300, "advmss": 1200, "priority": 50},
        {"dst": "10.2.0.0/16", "table": 100},
        {"dst": "10.3.0.0/16", "scope": 253},
        {"dst": "10.4.0.0/16", "scope": 0},
        {"dst": "fd77::/48", "mtu": 1400, "priority": 7},
        {"dst": "fd78::/48", "gw": "fd09::77", "advmss": 1100, "table": 5000},
    ]);
    let result = node.add(&pod, &with_routes(&node, &wanted)).result();
    let list = result["routes"].as_array().unwrap();
    assert_eq!(&list[..6], wanted.as_array().unwrap().as_slice(), "the result says them as they were given");

    let four = routes(&pod, &["route"]);
    let first = to(&four, "10.1.0.0/16")[0];
    assert_eq!((&first["gateway"], &first["metric"]), (&json!("10.9.0.77"), &json!(50)));
    assert_eq!((&first["metrics"][0]["mtu"], &first["metrics"][0]["advmss"]), (&json!(1300), &json!(1200)));
    let link = to(&four, "10.3.0.0/16")[0];
    assert_eq!((&link["scope"], &link["gateway"]), (&json!("link"), &Value::Null));
    assert_eq!(to(&four, "10.4.0.0/16")[0]["gateway"], "10.9.0.1");
    let other = routes(&pod, &["route", "show", "table", "100"]);
    assert_eq!(to(&other, "10.2.0.0/16")[0]["gateway"], "10.9.0.1");
    assert!(to(&four, "10.2.0.0/16").is_empty());
    let six = routes(&pod, &["-6", "route"]);
    let first = to(&six, "fd77::/48")[0];
    assert_eq!((&first["gateway"], &first["metric"]), (&json!("fd09::1"), &json!(7)));
    assert_eq!(first["metrics"][0]["mtu"], 1400);
    let other = routes(&pod, &["-6", "route", "show", "table", "5000"]);
    assert_eq!(to(&other, "fd78::/48")[0]["metrics"][0]["advmss"], 1100);
}

#[test]
fn there_is_exactly_one_default_route_a_family_however_it_was_asked_for() {
    for asked in [
        json!([]),
        json!([{"dst": "0.0.0.0/0"}]),
        json!([{"dst": "0.0.0.0/0"}, {"dst": "0.0.0.0/0"}, {"dst": "::/0"}]),
        json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}, {"dst": "::/0", "gw": "fd09::1"}]),
    ] {
        let (node, pod) = (Node::new(), Pod::new());
        node.add(&pod, &with_routes(&node, &asked)).works();
        for (family, gateway) in [("-4", "10.9.0.1"), ("-6", "fd09::1")] {
            let routes = routes(&pod, &[family, "route"]);
            let defaults = to(&routes, "default");
            assert_eq!(defaults.len(), 1, "{asked}: {defaults:?}");
            assert_eq!(defaults[0]["gateway"], gateway);
        }
        assert!(reaches(&pod.ns, &node.ns, "10.9.0.1"));
    }
}

#[test]
fn the_same_route_twice_is_one_and_two_ways_to_one_destination_are_both_there_in_order() {
    let (node, pod) = (Node::new(), Pod::new());
    let asked = json!([
        {"dst": "10.1.0.0/16", "gw": "10.9.0.77"}, {"dst": "10.1.0.0/16", "gw": "10.9.0.78"},
        {"dst": "10.1.0.0/16", "gw": "10.9.0.77"},
        {"dst": "10.2.7.7/16", "gw": "10.9.0.77"}, {"dst": "10.2.0.0/16", "gw": "10.9.0.77"},
        {"dst": "fd77::/48", "gw": "fd09::77"}, {"dst": "fd77::/48", "gw": "fd09::78"}, {"dst": "fd77::/48", "gw": "fd09::77"},
    ]);
    node.add(&pod, &with_routes(&node, &asked)).works();
    let four = routes(&pod, &["route"]);
    let gateways: Vec<&Value> = to(&four, "10.1.0.0/16").iter().map(|route| &route["gateway"]).collect();
    assert_eq!(gateways, ["10.9.0.77", "10.9.0.78"], "the first one is used");
    assert_eq!(to(&four, "10.2.0.0/16").len(), 1, "host bits make no other route");
    let text = pod.ns.run("ip", &["-6", "route", "show", "fd77::/48"]);
    assert!(text.contains("fd09::77") && text.contains("fd09::78"), "{text}");
}

#[test]
fn a_route_that_cannot_be_is_told_with_what_it_is_and_nothing_stays() {
    let node = Node::new();
    for (asked, words) in [
        (json!([{"dst": "10.1.0.0/16", "gw": "192.0.2.1"}]), "10.1.0.0/16 via 192.0.2.1"),
        (json!([{"dst": "10.1.0.0/16", "gw": "10.9.0.77", "scope": 253}]), "10.1.0.0/16"),
        (json!([{"dst": "fd77::/48", "mtu": 1300}, {"dst": "fd77::/48", "mtu": 1400}]), "another route"),
    ] {
        let error = node.add(&Pod::new(), &with_routes(&node, &asked)).error();
        assert!(error.contains(words), "{asked}: {error}");
        node.assert_clean();
    }
}
