//! The monitor tells what other programs change, and says so when it missed something.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::time::{Duration, Instant};

use kernel::monitor::{Event, Monitor};
use kernel::testing::TestNs;

/// Reads events until one is as wanted.
fn wait_for(monitor: &mut Monitor, what: &str, mut wanted: impl FnMut(&Event) -> bool) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if monitor.next(Duration::from_millis(100)).unwrap().iter().any(&mut wanted) {
            return;
        }
    }
    panic!("no word of {what}");
}

#[test]
fn it_tells_of_links_addresses_routes_and_rules() {
    let namespace = TestNs::new("monitor");
    let mut monitor = Monitor::open_in(namespace.namespace()).unwrap();
    let ip = |arguments: &[&str]| namespace.run("ip", arguments);
    ip(&["link", "add", "name", "veth-a", "up", "type", "veth", "peer", "name", "veth-b"]);
    wait_for(
        &mut monitor,
        "the link",
        |event| matches!(event, Event::Link(link) if link.name == "veth-a" && link.up),
    );
    ip(&["link", "set", "veth-b", "up"]);
    wait_for(
        &mut monitor,
        "carrier",
        |event| matches!(event, Event::Link(link) if link.name == "veth-a" && link.lower_up),
    );
    ip(&["address", "add", "10.9.0.1/24", "dev", "veth-a"]);
    wait_for(
        &mut monitor,
        "the address",
        |event| matches!(event, Event::Address(one) if one.address.to_string() == "10.9.0.1"),
    );
    for (family, to, gateway) in [("-4", "10.244.0.0/24", "10.9.0.2"), ("-6", "fd10::/64", "fe80::2")] {
        ip(&[family, "route", "add", to, "via", gateway, "dev", "veth-a"]);
        wait_for(
            &mut monitor,
            "the route",
            |event| matches!(event, Event::Route(route) if route.destination.to_string() == to),
        );
        ip(&[family, "route", "del", to]);
        wait_for(
            &mut monitor,
            "the route's end",
            |event| matches!(event, Event::RouteGone(route) if route.destination.to_string() == to),
        );
        ip(&[family, "rule", "add", "priority", "77", "lookup", "77"]);
        wait_for(&mut monitor, "the rule", |event| matches!(event, Event::Rule(rule) if rule.priority == 77));
        ip(&[family, "rule", "del", "priority", "77"]);
        wait_for(
            &mut monitor,
            "the rule's end",
            |event| matches!(event, Event::RuleGone(rule) if rule.priority == 77),
        );
    }
    ip(&["address", "del", "10.9.0.1/24", "dev", "veth-a"]);
    wait_for(&mut monitor, "the address's end", |event| matches!(event, Event::AddressGone(_)));
    ip(&["link", "del", "veth-a"]);
    wait_for(
        &mut monitor,
        "the link's end",
        |event| matches!(event, Event::LinkGone(link) if link.name == "veth-a"),
    );
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_told_as_gone() {
    let namespace = TestNs::new("monitor");
    namespace.run("ip", &["link", "add", "br0", "type", "bridge"]);
    namespace.run(
        "ip",
        &["link", "add", "name", "veth-a", "master", "br0", "type", "veth", "peer", "name", "veth-b"],
    );
    let mut monitor = Monitor::open_in(namespace.namespace()).unwrap();
    namespace.run("ip", &["link", "set", "veth-a", "nomaster"]);
    let mut events = Vec::new();
    let free =
        |event: &Event| matches!(event, Event::Link(link) if link.name == "veth-a" && link.master.is_none());
    wait_for(&mut monitor, "the port's leaving", |event| {
        let found = free(event);
        events.push(event.clone());
        found
    });
    events.extend(monitor.next(Duration::from_millis(300)).unwrap());
    assert!(!events.iter().any(|event| matches!(event, Event::LinkGone(_))), "{events:?}");
}

#[test]
fn new_virtual_addresses_and_their_routes_are_not_told_but_their_end_and_the_addresses_of_nodes_are() {
    let namespace = TestNs::new("monitor");
    let ip = |arguments: &[&str]| namespace.run("ip", arguments);
    ip(&["link", "set", "lo", "up"]);
    let mut monitor = Monitor::open_in(namespace.namespace()).unwrap();
    ip(&["address", "add", "10.96.0.1/32", "dev", "lo", "scope", "link"]);
    ip(&["-6", "route", "add", "local", "fd00:96::1/128", "dev", "lo", "table", "local"]);
    ip(&["address", "add", "192.0.2.1/32", "dev", "lo"]);
    ip(&["address", "add", "192.0.2.2/24", "dev", "lo", "scope", "link"]);
    let mut events = Vec::new();
    wait_for(&mut monitor, "the last address", |event| {
        events.push(event.clone());
        matches!(event, Event::Address(one) if one.address.to_string() == "192.0.2.2")
    });
    let virtual_ones = |event: &&Event| match event {
        Event::Address(address) => address.address.to_string() == "10.96.0.1",
        Event::Route(route) => route.destination.is_host(),
        _ => false,
    };
    assert_eq!(events.iter().filter(virtual_ones).collect::<Vec<_>>(), Vec::<&Event>::new());
    let node = |event: &Event| matches!(event, Event::Address(one) if one.address.to_string() == "192.0.2.1");
    assert!(events.iter().any(node), "{events:?}");
    ip(&["address", "del", "10.96.0.1/32", "dev", "lo"]);
    wait_for(
        &mut monitor,
        "its end",
        |event| matches!(event, Event::AddressGone(one) if one.address.to_string() == "10.96.0.1"),
    );
    ip(&["-6", "route", "del", "local", "fd00:96::1/128", "dev", "lo", "table", "local"]);
    wait_for(
        &mut monitor,
        "the end of the route",
        |event| matches!(event, Event::RouteGone(one) if one.destination.to_string() == "fd00:96::1/128"),
    );
}

#[test]
fn own_new_routes_are_not_told_but_their_end_and_those_of_others_are() {
    let namespace = TestNs::new("monitor");
    let ip = |arguments: &[&str]| namespace.run("ip", arguments);
    ip(&["link", "set", "lo", "up"]);
    let mut monitor = namespace.run_in(|| Monitor::open().unwrap().without_routes_of(179));
    let mut told = Vec::new();
    for (family, own, other) in [("-4", "10.1.0.0/16", "10.2.0.0/16"), ("-6", "fd01::/64", "fd02::/64")] {
        ip(&[family, "route", "add", own, "dev", "lo", "proto", "179"]);
        ip(&[family, "route", "add", "default", "dev", "lo", "proto", "179"]);
        ip(&[family, "route", "add", other, "dev", "lo", "proto", "178"]);
        ip(&[family, "route", "del", own, "dev", "lo"]);
        wait_for(&mut monitor, "the end of the own route", |event| {
            told.extend(match event {
                Event::Route(route) if route.destination.is_default() => Some("default".to_owned()),
                Event::Route(route) if route.protocol >= 178 => Some(route.destination.to_string()),
                _ => None,
            });
            matches!(event, Event::RouteGone(route) if route.destination.to_string() == own)
        });
    }
    assert_eq!(told, ["default", "10.2.0.0/16", "default", "fd02::/64"]);
}

#[test]
fn nothing_new_is_an_empty_answer_after_the_timeout() {
    let namespace = TestNs::new("monitor");
    let mut monitor = Monitor::open_in(namespace.namespace()).unwrap();
    let start = Instant::now();
    assert_eq!(monitor.next(Duration::from_millis(50)).unwrap(), Vec::new());
    assert!(start.elapsed() >= Duration::from_millis(50) && start.elapsed() < Duration::from_secs(30));
}

#[test]
fn an_overrun_asks_for_a_resync_and_the_monitor_goes_on() {
    let namespace = TestNs::new("monitor");
    let mut monitor = namespace.run_in(|| Monitor::with_buffer(4096).unwrap());
    namespace.run("ip", &["link", "add", "name", "veth-a", "up", "type", "veth", "peer", "name", "veth-b"]);
    let script =
        (0..200).map(|n| format!("address add 10.9.{n}.1/32 dev veth-a")).collect::<Vec<_>>().join("\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    namespace.run("ip", &["-batch", file.path().to_str().unwrap()]);
    wait_for(&mut monitor, "the overrun", |event| *event == Event::Resync);
    while !monitor.next(Duration::from_millis(50)).unwrap().is_empty() {}
    namespace.run("ip", &["link", "add", "later", "type", "bridge"]);
    wait_for(
        &mut monitor,
        "a later link",
        |event| matches!(event, Event::Link(link) if link.name == "later"),
    );
}
