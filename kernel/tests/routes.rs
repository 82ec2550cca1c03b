//! Routes, rules and neighbours as `ip` sees them; each is read back as it was written.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use kernel::rtnl::{
    MacAddress, Neighbour, NeighbourState, NewAddress, NewLink, NextHop, Route, RouteFilter, RouteKind, Rtnl,
    Rule, RuleAction, VethPeer,
};
use kernel::testing::TestNs;
use prefix::{Family, Prefix};

/// A number no well-known daemon has.
const OURS: u8 = 179;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn to(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A namespace with a link that has 10.9.0.1/24 and fd09::1/64.
fn network(namespace: &TestNs) -> (Rtnl, u32) {
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    let peer = VethPeer { name: "b", ..VethPeer::default() };
    rtnl.create_link(&NewLink { up: true, ..NewLink::veth("a", peer) }).unwrap();
    let other = rtnl.link_by_name("b").unwrap().unwrap().index;
    rtnl.set_up(other).unwrap();
    let link = rtnl.link_by_name("a").unwrap().unwrap().index;
    rtnl.add_address(&NewAddress::new(link, ip("10.9.0.1"), 24)).unwrap();
    rtnl.add_address(&NewAddress { no_dad: true, ..NewAddress::new(link, ip("fd09::1"), 64) }).unwrap();
    (rtnl, link)
}

fn ours() -> RouteFilter {
    RouteFilter { protocol: Some(OURS), ..RouteFilter::default() }
}

#[test]
fn routes_of_every_shape_are_read_back_as_written() {
    let namespace = TestNs::new("routes");
    let (mut rtnl, link) = network(&namespace);
    let base = |text: &str| Route::new(to(text)).protocol(OURS);
    let via = |gateway: &str| NextHop { link: Some(link), ..NextHop::via(ip(gateway)) };
    let routes = [
        base("10.244.1.0/24").next_hop(via("10.9.0.11")).source(ip("10.9.0.1")),
        Route { mtu: Some(1400), advmss: Some(1300), ..base("10.244.2.0/24").next_hop(via("10.9.0.12")) },
        base("10.244.3.0/24").on_link(link),
        base("10.244.4.0/24").kind(RouteKind::Blackhole),
        base("10.244.5.0/24").next_hop(via("10.9.0.11")).next_hop(NextHop { weight: 3, ..via("10.9.0.12") }),
        base("10.99.0.1/32").kind(RouteKind::Local).on_link(1).table(255),
        base("0.0.0.0/0").next_hop(NextHop { on_link: true, ..via("192.0.2.1") }).table(1077),
        Route { metric: Some(50), ..base("10.244.6.0/24").next_hop(via("10.9.0.13")) },
        base("fd10:1::/64").next_hop(via("fd09::11")),
        base("fd10:2::/64").next_hop(via("fd09::11")).next_hop(via("fd09::12")),
        base("fd10:3::/64").kind(RouteKind::Unreachable),
        Route { metric: Some(7), ..base("fd10:4::/64").on_link(link).table(77) },
        base("::/0").next_hop(via("fd09::1:1")),
    ];
    for route in &routes {
        rtnl.add_route(route).unwrap();
        let error = rtnl.add_route(route).unwrap_err();
        assert!(error.is_exists() && error.operation.contains(&route.destination.to_string()), "{error}");
        rtnl.replace_route(route).unwrap();
    }
    let read = rtnl.routes(&ours()).unwrap();
    for route in &routes {
        assert!(read.contains(route), "{route:?} is not in {read:#?}");
    }
    assert_eq!(read.len(), routes.len(), "replacing added none");
    for route in &routes {
        rtnl.delete_route(route).unwrap();
        let error = rtnl.delete_route(route).unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
    assert!(rtnl.routes(&ours()).unwrap().is_empty());
}

#[test]
fn another_program_sees_the_same_route() {
    let namespace = TestNs::new("seen");
    let (mut rtnl, _) = network(&namespace);
    let route =
        Route { mtu: Some(1400), ..Route::new(to("10.244.1.0/24")).protocol(OURS).via(ip("10.9.0.11")) };
    rtnl.add_route(&route).unwrap();
    let text = namespace.run("ip", &["-4", "route", "show", "proto", "179"]);
    assert_eq!(text.trim(), "10.244.1.0/24 via 10.9.0.11 dev a mtu 1400");
    let shared = Route::new(to("10.244.2.0/24")).protocol(OURS).via(ip("10.9.0.11")).via(ip("10.9.0.12"));
    rtnl.replace_route(&shared).unwrap();
    let text = namespace.run("ip", &["-4", "route", "show", "10.244.2.0/24"]);
    assert!(text.contains("via 10.9.0.11 dev a weight 1") && text.contains("via 10.9.0.12"), "{text}");
}

#[test]
fn replacing_changes_the_way_and_leaves_one_route() {
    let namespace = TestNs::new("replace");
    let (mut rtnl, _) = network(&namespace);
    for (prefix, first, second) in
        [("10.244.1.0/24", "10.9.0.11", "10.9.0.12"), ("fd10::/64", "fd09::11", "fd09::12")]
    {
        let route = |gateway: &str| Route::new(to(prefix)).protocol(OURS).via(ip(gateway));
        rtnl.add_route(&route(first)).unwrap();
        rtnl.replace_route(&route(second)).unwrap();
        let family = Some(to(prefix).family());
        let read = rtnl.routes(&RouteFilter { family, ..ours() }).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].next_hops[0].gateway, Some(ip(second)));
    }
}

#[test]
fn the_filters_of_the_list_hold() {
    let namespace = TestNs::new("filter");
    let (mut rtnl, link) = network(&namespace);
    rtnl.add_route(&Route::new(to("10.244.1.0/24")).protocol(OURS).on_link(link).table(77)).unwrap();
    let table = |table| RouteFilter { table: Some(table), ..RouteFilter::default() };
    assert_eq!(rtnl.routes(&table(77)).unwrap().len(), 1);
    assert!(rtnl.routes(&table(4242)).unwrap().is_empty(), "a table nobody made is empty");
    let local = rtnl.routes(&table(255)).unwrap();
    assert!(
        local.iter().any(|route| route.destination == to("10.9.0.1/32") && route.kind == RouteKind::Local)
    );
    let six = rtnl.routes(&RouteFilter { family: Some(Family::V6), ..RouteFilter::default() }).unwrap();
    assert!(!six.is_empty() && six.iter().all(|route| route.family() == Family::V6));
}

#[test]
fn a_gateway_out_of_reach_is_refused_in_the_kernels_words() {
    let namespace = TestNs::new("unreachable");
    let (mut rtnl, _) = network(&namespace);
    let error = rtnl.add_route(&Route::new(to("10.244.1.0/24")).via(ip("192.0.2.7"))).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("add route 10.244.1.0/24 via 192.0.2.7") && text.contains("invalid gateway"),
        "{text}"
    );
}

#[test]
fn rules_are_read_back_as_written_and_deleted() {
    let namespace = TestNs::new("rules");
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    let rules = [
        Rule { from: Some(to("10.244.0.0/16")), ..Rule::lookup(Family::V4, 1077, 77) },
        Rule { mark: Some((0x4000, 0x4000)), protocol: OURS, ..Rule::lookup(Family::V4, 1078, 1078) },
        Rule { mark: Some((0, 0x4000)), inverted: true, ..Rule::lookup(Family::V4, 1079, 77) },
        Rule { to: Some(to("fd10::/16")), input: Some("lo".to_owned()), ..Rule::lookup(Family::V6, 5, 77) },
        Rule {
            action: RuleAction::Unreachable,
            to: Some(to("10.1.0.0/16")),
            ..Rule::lookup(Family::V4, 9, 0)
        },
    ];
    for rule in &rules {
        rtnl.add_rule(rule).unwrap();
        let error = rtnl.add_rule(rule).unwrap_err();
        assert!(error.is_exists(), "{error}");
        assert!(rtnl.rules(rule.family).unwrap().contains(rule), "{rule:?} in {:?}", rtnl.rules(rule.family));
    }
    let text = namespace.run("ip", &["rule"]);
    assert!(text.contains("1078:\tfrom all fwmark 0x4000/0x4000 lookup 1078"), "{text}");
    let before = rtnl.rules(Family::V4).unwrap().len();
    for rule in &rules {
        rtnl.delete_rule(rule).unwrap();
        assert!(rtnl.delete_rule(rule).unwrap_err().is_not_found());
    }
    assert_eq!(rtnl.rules(Family::V4).unwrap().len(), before - 4);
}

#[test]
fn a_neighbour_is_written_seen_and_forgotten() {
    let namespace = TestNs::new("neighbour");
    let (mut rtnl, link) = network(&namespace);
    for address in ["10.9.0.11", "fd09::11"] {
        let neighbour = Neighbour {
            link,
            address: ip(address),
            mac: Some(MacAddress([2, 0, 0, 0, 0, 7])),
            state: NeighbourState::Permanent,
        };
        rtnl.replace_neighbour(&neighbour).unwrap();
        rtnl.replace_neighbour(&neighbour).unwrap();
        assert!(rtnl.neighbours(Some(link), None).unwrap().contains(&neighbour));
        let text = namespace.run("ip", &["neighbour", "show", address]);
        assert!(text.contains("lladdr 02:00:00:00:00:07 PERMANENT"), "{text}");
        rtnl.delete_neighbour(link, ip(address)).unwrap();
        assert!(!rtnl.neighbours(Some(link), None).unwrap().contains(&neighbour));
    }
}

#[test]
fn the_kernel_is_asked_where_an_address_leads_to() {
    let namespace = TestNs::new("way");
    let (mut rtnl, link) = network(&namespace);
    for near in ["10.9.0.77", "fd09::77"] {
        let way = rtnl.way_to(ip(near)).unwrap().unwrap();
        assert_eq!((way.kind, way.link), (RouteKind::Unicast, Some(link)), "{near}");
    }
    for own in ["10.9.0.1", "127.0.0.9", "fd09::1", "::1"] {
        let start = Instant::now();
        // The kernel's worker makes the local route of a new IPv6 address, a moment after the address.
        while rtnl.way_to(ip(own)).unwrap().unwrap().kind != RouteKind::Local {
            assert!(start.elapsed() < Duration::from_secs(30), "{own}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    for nowhere in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(rtnl.way_to(ip(nowhere)).unwrap(), None, "{nowhere}");
    }
}

#[test]
fn an_address_whose_packets_are_dropped_has_no_way_there() {
    let namespace = TestNs::new("dropped");
    let (mut rtnl, _) = network(&namespace);
    for kind in ["blackhole", "prohibit", "unreachable", "throw"] {
        for (address, family) in [("192.0.2.1", "-4"), ("2001:db8::1", "-6")] {
            namespace.run("ip", &[family, "route", "replace", kind, address]);
            let way = rtnl.way_to(ip(address));
            let dropped = way.as_ref().is_ok_and(|way| way.is_none_or(|way| way.kind != RouteKind::Unicast));
            assert!(dropped, "{kind} {address}: {way:?}");
        }
    }
}

#[test]
fn a_route_can_stand_behind_another_to_the_same_destination_but_not_behind_itself() {
    let namespace = TestNs::new("routes");
    let (mut rtnl, link) = network(&namespace);
    let via = |gateway: &str| NextHop { link: Some(link), ..NextHop::via(ip(gateway)) };
    for (destination, first, second) in
        [("10.244.1.0/24", "10.9.0.11", "10.9.0.12"), ("fd10:1::/64", "fd09::11", "fd09::12")]
    {
        let route = |gateway: &str| Route::new(to(destination)).protocol(OURS).next_hop(via(gateway));
        rtnl.append_route(&route(first)).unwrap();
        rtnl.append_route(&route(second)).unwrap();
        assert!(rtnl.append_route(&route(first)).unwrap_err().is_exists());
        let family = if destination.contains(':') { "-6" } else { "-4" };
        let seen = namespace.run("ip", &[family, "route", "show", destination]);
        let (one, two) = (seen.find(first).unwrap(), seen.find(second).unwrap());
        assert!(one < two, "{seen}");
    }
}
