//! From objects to values, the law of plans, and routes in a real kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use kernel::fou::Port;
use kernel::nft::Identity;
use kernel::rtnl::{Encapsulation, Tunnel, table};
use kernel::testing::TestNs;
use prefix::{Family, Prefix};
use proptest::prelude::*;

use super::overlay::Around;
use super::*;
use crate::cluster::objects::{LearntRoute, Node};
use crate::cluster::{Event, Index, Object};
use crate::runner::{Apply, Plane, Scope};

fn routing() -> Routing {
    Routing { families: vec![Family::V4], egress: true }
}

fn node(name: &str, range: &str, address: &str) -> Event {
    Event::Upsert(Object::Node(Node {
        name: name.into(),
        pod_cidrs: vec![range.parse().unwrap()],
        internal_addresses: vec![address.parse().unwrap()],
        ..Node::default()
    }))
}

fn learnt(prefix: &str, hops: &[&str]) -> Event {
    let next_hops = hops.iter().map(|hop| hop.parse().unwrap()).collect();
    Event::Route(LearntRoute { prefix: prefix.parse().unwrap(), next_hops })
}

fn index(events: impl IntoIterator<Item = Event>) -> Index {
    let mut index = Index::new("node1");
    for event in events {
        index.apply(event);
    }
    index
}

fn desired(index: &Index) -> BTreeMap<Key, Value> {
    let plane = routing();
    plane.keys(index).into_iter().filter_map(|key| Some((key.clone(), plane.desired(index, &key)?))).collect()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn a_route_to_our_own_pods_is_never_taken_from_a_peer() {
    let index = index([
        node("node1", "10.244.1.0/24", "192.0.2.1"),
        learnt("10.244.1.0/24", &["192.0.2.9"]),
        learnt("10.244.1.128/25", &["192.0.2.9"]),
        learnt("10.244.2.0/24", &["192.0.2.2"]),
        learnt("fd00::/64", &["fd00::2"]),
    ]);
    let state = wanted::state(&desired(&index), Overlay::OFF, &Around::default());
    let routes: Vec<Prefix> = state.routes.keys().map(|(_, prefix)| *prefix).collect();
    assert_eq!(routes, [prefix("10.244.2.0/24")]);
}

#[test]
fn a_new_node_touches_its_range_and_its_address_and_nothing_else() {
    let mut index =
        index([node("node1", "10.244.1.0/24", "192.0.2.1"), learnt("10.9.0.0/16", &["192.0.2.9"])]);
    let change = index.apply(node("node2", "10.244.2.0/24", "192.0.2.2")).unwrap();
    let expected = BTreeSet::from([
        Key::PodRange(prefix("10.244.2.0/24")),
        Key::NodeAddress("192.0.2.2".parse().unwrap()),
        Key::Peer("node2".into()),
    ]);
    assert_eq!(routing().touched(&index, &change), expected);
}

fn node_address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn range(third: u8) -> Prefix {
    Prefix::new(IpAddr::from([10, 244, third, 0]), 24).unwrap()
}

fn states() -> impl Strategy<Value = State> {
    let hop = (any::<bool>(), (1u8..5).prop_map(node_address))
        .prop_map(|(router, address)| if router { Hop::Router(address) } else { Hop::Tunnel(address) });
    let path =
        (proptest::collection::btree_set(hop, 1..3), prop_oneof![Just(PROTOCOL), Just(KUBE_ROUTER_PROTOCOL)])
            .prop_map(|(hops, protocol)| Path { hops: hops.into_iter().collect(), source: None, protocol });
    let place = (prop_oneof![Just(table::MAIN), Just(POD_TABLE)], (0u8..8).prop_map(range));
    let tunnel =
        ((1u8..5).prop_map(node_address), 1400u32..1403, any::<bool>()).prop_map(|(remote, mtu, up)| {
            let tunnel = Tunnel::new(node_address(9), remote, Encapsulation::Bare);
            (remote, Tunnelled { tunnel, mtu, up })
        });
    let port = (5555u16..5558).prop_map(|number| Port::gue(Family::V4, number));
    (
        proptest::collection::btree_map(place, path, 0..8),
        proptest::collection::vec(tunnel, 0..4),
        proptest::collection::btree_set(port, 0..3),
        proptest::collection::btree_set((0u8..4).prop_map(range), 0..3),
    )
        .prop_map(|(routes, tunnels, ports, rules)| State {
            routes,
            tunnels: tunnels.into_iter().collect(),
            ports,
            rules,
        })
}

proptest! {
    #[test]
    fn a_plan_makes_what_it_was_made_from_into_what_is_wanted(observed in states(), wanted in states()) {
        let plan = Plan::between(&observed, &wanted);
        let mut state = observed;
        plan.applied_to(&mut state);
        prop_assert_eq!(&state, &wanted);
        prop_assert!(Plan::between(&state, &wanted).is_empty());
    }
}

/// A namespace with a network 192.0.2.0/24 attached.
fn attached() -> TestNs {
    let namespace = TestNs::new("routing");
    namespace.run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
    namespace.run("ip", &["addr", "add", "192.0.2.1/24", "dev", "up0"]);
    namespace.run("ip", &["link", "set", "up0", "up"]);
    namespace.run("ip", &["link", "set", "up1", "up"]);
    namespace
}

fn cluster() -> Index {
    index([
        node("node1", "10.244.1.0/24", "192.0.2.1"),
        node("node2", "10.244.2.0/24", "192.0.2.2"),
        learnt("10.244.2.0/24", &["192.0.2.2"]),
        learnt("10.244.3.0/24", &["192.0.2.3", "192.0.2.4"]),
    ])
}

fn routes_of(namespace: &TestNs) -> String {
    namespace.run("ip", &["route", "show", "proto", "179"])
}

#[test]
fn routes_are_written_shared_among_equal_paths_and_written_once() {
    let namespace = attached();
    namespace.run_in(|| {
        let mut applier = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF).unwrap();
        let report = applier.apply(&desired(&cluster()), &Scope::Everything);
        let unexpected = report.problems.iter().find(|problem| !problem.item.contains("bridge-nf-call"));
        assert_eq!(unexpected, None);
        let again = applier.apply(&desired(&cluster()), &Scope::Everything);
        assert_eq!(again.writes, 0, "an unchanged state writes nothing");
    });
    let routes = routes_of(&namespace);
    assert!(routes.contains("10.244.2.0/24 via 192.0.2.2 dev up0"), "{routes}");
    assert!(routes.contains("nexthop via 192.0.2.3") && routes.contains("nexthop via 192.0.2.4"), "{routes}");
    let rules = namespace.run("nft", &["list", "ruleset"]);
    assert!(rules.contains("10.244.1.0-10.244.2.255") || rules.contains("10.244.1.0/24"), "{rules}");
    assert!(rules.contains("masquerade"), "{rules}");
}

#[test]
fn a_lost_route_goes_and_foreign_routes_stay() {
    let namespace = attached();
    namespace.run("ip", &["route", "add", "10.99.0.0/16", "via", "192.0.2.9"]);
    namespace.run_in(|| {
        let mut applier = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF).unwrap();
        applier.apply(&desired(&cluster()), &Scope::Everything);
        let mut index = cluster();
        let change = index.apply(learnt("10.244.2.0/24", &[])).unwrap();
        let keys = routing().touched(&index, &change);
        assert_eq!(applier.apply(&desired(&index), &Scope::Keys(keys)).writes, 1);
    });
    assert!(!routes_of(&namespace).contains("10.244.2.0/24"));
    assert!(namespace.run("ip", &["route"]).contains("10.99.0.0/16 via 192.0.2.9"));
}

#[test]
fn after_a_restart_routes_stay_until_bgp_had_time_to_learn_them_again() {
    let namespace = attached();
    let empty = index([node("node1", "10.244.1.0/24", "192.0.2.1")]);
    namespace.run_in(|| {
        Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF)
            .unwrap()
            .apply(&desired(&cluster()), &Scope::Everything);
        let mut restarted = Applier::new(Duration::from_mins(10), Identity::new(), Overlay::OFF).unwrap();
        let report = restarted.apply(&desired(&empty), &Scope::Everything);
        assert!(report.again.is_some_and(|again| again <= Duration::from_mins(10)));
    });
    assert!(routes_of(&namespace).contains("10.244.2.0/24"));
    namespace.run_in(|| {
        let mut late = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF).unwrap();
        late.apply(&desired(&empty), &Scope::Everything);
    });
    assert_eq!(routes_of(&namespace), "");
}

#[test]
fn a_next_hop_that_is_nowhere_is_said_and_the_other_routes_are_written() {
    let namespace = attached();
    let mut index = cluster();
    index.apply(learnt("10.244.9.0/24", &["203.0.113.9"]));
    namespace.run_in(|| {
        let report = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF)
            .unwrap()
            .apply(&desired(&index), &Scope::Everything);
        let problem = report.problems.iter().find(|problem| problem.item == "route 10.244.9.0/24").unwrap();
        assert!(problem.message.contains("attached"), "{}", problem.message);
    });
    assert!(routes_of(&namespace).contains("10.244.2.0/24"));
}

#[test]
fn of_several_next_hops_those_that_can_be_used_carry_the_traffic() {
    let namespace = attached();
    let with = |hops: &[&str]| {
        let mut index = cluster();
        index.apply(learnt("10.244.9.0/24", hops));
        desired(&index)
    };
    let shown = || namespace.run("ip", &["route", "show", "10.244.9.0/24"]);
    let gateways = |text: &str| text.split_whitespace().filter(|word| word.starts_with("192.0.2.")).count();
    namespace.run_in(|| {
        let mut applier = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF).unwrap();
        applier.apply(&with(&["192.0.2.2"]), &Scope::Everything);
        let key = Scope::Keys([Key::Route("10.244.9.0/24".parse().unwrap())].into());
        for scope in [&key, &key, &Scope::Everything] {
            let report = applier.apply(&with(&["192.0.2.2", "192.0.2.3", "203.0.113.9"]), scope);
            let items: Vec<_> = report.problems.iter().map(|problem| problem.item.as_str()).collect();
            assert_eq!(items, ["route 10.244.9.0/24"], "{:?}", report.problems);
            assert!(report.problems[0].message.contains("attached"), "{:?}", report.problems);
            assert_eq!((gateways(&shown()), shown().contains("203.0.113.9")), (2, false), "{}", shown());
        }
        // One that is refused leaves what was there, which is ours still.
        applier.apply(&with(&["203.0.113.9"]), &key);
        assert_eq!(gateways(&shown()), 2, "{}", shown());
        assert_eq!(applier.apply(&with(&["192.0.2.3"]), &key).problems, []);
        assert_eq!(gateways(&shown()), 1, "{}", shown());
    });
}

#[test]
fn a_flushed_route_comes_back_with_the_next_full_run() {
    let namespace = attached();
    namespace.run_in(|| {
        let mut applier = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF).unwrap();
        applier.apply(&desired(&cluster()), &Scope::Everything);
        namespace.run("ip", &["route", "flush", "proto", "179"]);
        assert_eq!(applier.apply(&desired(&cluster()), &Scope::Everything).writes, 2);
    });
}

#[test]
fn a_peer_cannot_move_a_route_of_another_origin() {
    let namespace = attached();
    namespace.run("ip", &["route", "add", "10.244.2.0/24", "via", "192.0.2.9"]);
    let mut index = cluster();
    index.apply(learnt("192.0.2.0/24", &["192.0.2.3"]));
    let before = namespace.run("ip", &["route", "show", "192.0.2.0/24"]);
    namespace.run_in(|| {
        let report = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF)
            .unwrap()
            .apply(&desired(&index), &Scope::Everything);
        for item in ["route 10.244.2.0/24", "route 192.0.2.0/24"] {
            let problem = report.problems.iter().find(|problem| problem.item == item);
            assert!(problem.is_some_and(|problem| problem.message.contains("another origin")), "{item}");
        }
    });
    assert_eq!(namespace.run("ip", &["route", "show", "192.0.2.0/24"]), before);
    assert!(namespace.run("ip", &["route", "show", "10.244.2.0/24"]).contains("via 192.0.2.9"));
    assert!(routes_of(&namespace).contains("10.244.3.0/24"));
}

#[test]
fn what_kube_router_left_is_taken_over_without_a_gap_and_the_rest_of_it_goes() {
    let namespace = attached();
    for line in ["10.244.2.0/24 via 192.0.2.2 proto 17", "10.244.7.0/24 via 192.0.2.7 proto 17"] {
        namespace.run("ip", &[&["route", "add"], line.split(' ').collect::<Vec<_>>().as_slice()].concat());
    }
    let mut monitor = namespace.run_in(|| kernel::monitor::Monitor::open().unwrap());
    let apply = |grace| {
        namespace.run_in(move || {
            let mut applier = Applier::new(grace, Identity::new(), Overlay::OFF).unwrap();
            applier.apply(&desired(&cluster()), &Scope::Everything)
        })
    };
    let report = apply(Duration::from_mins(1));
    assert!(report.again.is_some(), "what BGP has not learnt again stays for the time of grace");
    assert!(routes_of(&namespace).contains("10.244.2.0/24 via 192.0.2.2"));
    assert!(namespace.run("ip", &["route", "show", "proto", "17"]).contains("10.244.7.0/24"));
    let gone = |event: &kernel::monitor::Event| matches!(event, kernel::monitor::Event::RouteGone(route) if route.destination == range(2));
    assert!(!monitor.next(Duration::from_millis(100)).unwrap().iter().any(gone), "it was written over");
    apply(Duration::ZERO);
    assert_eq!(namespace.run("ip", &["route", "show", "proto", "17"]), "");
}

/// Where a tunnel is wanted, by what the node is attached to.
fn tunnels(reach: Reach, subnet: &str, index: &Index) -> Vec<IpAddr> {
    let own: IpAddr = "192.0.2.1".parse().unwrap();
    let subnets = BTreeSet::from([subnet.parse().unwrap()]);
    let around = Around { attached: BTreeMap::from([(own, subnets)]), ..Around::default() };
    let overlay = Overlay { reach, encapsulation: Encapsulation::Gue(5555) };
    wanted::state(&desired(index), overlay, &around).tunnels.into_keys().collect()
}

#[test]
fn tunnels_lead_to_nodes_of_other_subnets_or_to_all_and_never_to_this_one() {
    let index = index([
        node("node1", "10.244.1.0/24", "192.0.2.1"),
        node("near", "10.244.2.0/24", "192.0.2.2"),
        node("far", "10.244.3.0/24", "198.51.100.3"),
        node("twin", "10.244.4.0/24", "192.0.2.1"),
    ]);
    let [near, far]: [IpAddr; 2] = ["192.0.2.2", "198.51.100.3"].map(|text| text.parse().unwrap());
    assert_eq!(tunnels(Reach::OtherSubnets, "192.0.2.0/24", &index), [far]);
    assert_eq!(tunnels(Reach::OtherSubnets, "192.0.2.1/32", &index), [near, far]);
    assert_eq!(tunnels(Reach::Everywhere, "192.0.2.0/24", &index), [near, far]);
    assert!(tunnels(Reach::Never, "192.0.2.0/24", &index).is_empty());
}

#[test]
fn only_routes_to_a_nodes_own_pods_go_through_its_tunnel() {
    let index = index([
        node("node1", "10.244.1.0/24", "192.0.2.1"),
        node("far", "10.244.3.0/24", "198.51.100.3"),
        learnt("10.244.3.0/24", &["198.51.100.3"]),
        // Announced by an outside router, with the node as next hop, as a router, and as one of two.
        learnt("203.0.113.0/24", &["198.51.100.3"]),
        learnt("203.0.114.0/24", &["198.51.100.254"]),
        learnt("10.244.3.128/25", &["198.51.100.254", "198.51.100.3"]),
    ]);
    let overlay = Overlay { reach: Reach::Everywhere, encapsulation: Encapsulation::Bare };
    let state = wanted::state(&desired(&index), overlay, &Around::default());
    let hops =
        |text: &str| state.routes[&(table::MAIN, prefix(text))].hops.iter().copied().collect::<Vec<_>>();
    let [far, outside]: [IpAddr; 2] = ["198.51.100.3", "198.51.100.254"].map(|text| text.parse().unwrap());
    assert_eq!(hops("10.244.3.0/24"), [Hop::Tunnel(far)]);
    assert_eq!(hops("203.0.113.0/24"), [Hop::Router(far)]);
    assert_eq!(hops("203.0.114.0/24"), [Hop::Router(outside)]);
    assert_eq!(hops("10.244.3.128/25"), [Hop::Router(outside), Hop::Tunnel(far)]);
    assert_eq!(state.tunnels.keys().copied().collect::<Vec<_>>(), [far], "none to the outside router");
}

#[test]
fn a_tunnel_carries_what_the_way_does_less_its_own_headers() {
    let [v4, v6]: [IpAddr; 2] = ["198.51.100.3", "2001:db8::3"].map(|text| text.parse().unwrap());
    let around = Around { paths: BTreeMap::from([(v4, 1400), (v6, 1300)]), ..Around::default() };
    let mtu = |remote, encapsulation| around.mtu(&Tunnel::new(remote, remote, encapsulation));
    assert_eq!(mtu(v4, Encapsulation::Bare), 1380);
    assert_eq!(mtu(v4, Encapsulation::Gue(5555)), 1368);
    assert_eq!(mtu(v6, Encapsulation::Bare), 1280, "less would be no IPv6");
    assert_eq!(mtu(node_address(7), Encapsulation::Bare), 1480, "to nowhere yet");
}

#[test]
fn a_chain_of_others_that_drops_what_pods_send_is_said_with_the_remedy_and_left_alone() {
    let namespace = attached();
    let apply = || {
        namespace.run_in(|| {
            let mut applier = Applier::new(Duration::ZERO, Identity::new(), Overlay::OFF).unwrap();
            applier.apply(&desired(&cluster()), &Scope::Everything).problems
        })
    };
    let about = |problems: &[crate::runner::Problem]| {
        problems.iter().find(|problem| problem.item.contains("FORWARD")).map(|found| found.message.clone())
    };
    namespace.run("nft", &["add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy accept; }"]);
    assert_eq!(about(&apply()), None, "one that accepts harms nobody");
    namespace.run("nft", &["add chain ip filter FORWARD { policy drop; }"]);
    let before = namespace.run("nft", &["list", "table", "ip", "filter"]);
    let message = about(&apply()).unwrap();
    assert!(message.contains("kube-bridge") && message.contains("iptables -I FORWARD"), "{message}");
    assert_eq!(namespace.run("nft", &["list", "table", "ip", "filter"]), before);
    namespace.run("nft", &["add rule ip filter FORWARD iifname kube-bridge accept"]);
    assert_eq!(about(&apply()), None);
}
