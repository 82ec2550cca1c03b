//! Which virtual services a Service has.

use std::collections::BTreeSet;

use kernel::ipvs::ServiceFlags;
use prefix::Family;

use super::super::Settings;
use super::super::desired::{At, Key, NodeFacts, Services, Value};
use super::super::gates::Gate;
use super::super::wanted::LocalAddresses;
use super::fixture::*;
use crate::cluster::objects::{Endpoint, Labels, Pod, Protocol, Service, ServiceKind, ServicePort};
use crate::cluster::{Event, Index, Object, ObjectKey};
use crate::runner::Plane;

fn places(settings: Settings, service: Service) -> (Vec<(At, u16)>, Vec<String>) {
    let wish = wish_with(settings, &index(vec![Object::Service(service)]));
    (wish.virtuals.iter().map(|found| (found.at, found.port)).collect(), wish.problems)
}

fn annotated(key: &str, value: &str) -> Service {
    let annotations = Labels::from([(key.to_owned(), value.to_owned())]);
    Service { annotations, ..service("web", "10.96.0.1") }
}

fn dual_node_port() -> Service {
    Service {
        kind: ServiceKind::NodePort,
        cluster_ips: vec![ip("10.96.0.1"), ip("fd00:96::1")],
        ports: vec![port(Protocol::Udp, 53, Some(30053))],
        ..service("web", "10.96.0.1")
    }
}

#[test]
fn a_node_port_is_at_the_nodes_address_of_each_family() {
    let (found, problems) = places(Settings::default(), dual_node_port());
    assert_eq!(
        found,
        [
            (At::Virtual(ip("10.96.0.1")), 53),
            (At::Virtual(ip("fd00:96::1")), 53),
            (At::Node(ip("192.0.2.11")), 30053),
            (At::Node(ip("2001:db8::11")), 30053),
        ]
    );
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn a_family_that_is_switched_off_is_no_part_of_a_service_and_no_problem_of_it() {
    let mut both = dual_node_port();
    both.external_ips = vec![ip("198.51.100.1"), ip("2001:db8:1::1")];
    let settings =
        Settings { switched_off: vec![Family::V6], any_external_address: true, ..Settings::default() };
    let (found, problems) = places(settings, both);
    let expected = [
        (At::Virtual(ip("10.96.0.1")), 53),
        (At::Virtual(ip("198.51.100.1")), 53),
        (At::Node(ip("192.0.2.11")), 30053),
    ];
    assert_eq!((&found[..], problems), (&expected[..], Vec::new()));
}

#[test]
fn a_node_port_can_be_at_every_address() {
    let settings = Settings { node_port_on_all_addresses: true, ..Settings::default() };
    let (found, _) = places(settings, dual_node_port());
    assert_eq!(found[2..], [(At::EveryAddress(Family::V4), 30053), (At::EveryAddress(Family::V6), 30053)]);
}

#[test]
fn a_node_without_address_says_which_node_port_is_missing() {
    let mut index = Index::new("unknown");
    index.apply(Event::Upsert(Object::Service(dual_node_port())));
    let wish = wish(&index);
    assert_eq!(wish.virtuals.len(), 2);
    assert!(
        wish.problems[0].contains("node port 30053") && wish.problems[0].contains("Node unknown has no IPv4")
    );
}

#[test]
fn external_addresses_need_a_range_and_never_lie_among_cluster_addresses() {
    let mut web = service("web", "10.96.0.1");
    web.kind = ServiceKind::LoadBalancer;
    web.external_ips = vec![ip("198.51.100.1"), ip("10.96.7.7")];
    web.load_balancer_ips = vec![ip("203.0.113.1")];
    let (found, problems) = places(Settings::default(), web.clone());
    assert_eq!(found, [(At::Virtual(ip("10.96.0.1")), 80)]);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("198.51.100.1") && problems[0].contains("--service-external-ip-range"));

    let ranges = Settings {
        cluster_ranges: vec!["10.96.0.0/12".parse().unwrap()],
        external_ranges: vec!["198.51.100.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        load_balancer_ranges: vec!["203.0.113.0/24".parse().unwrap()],
        ..Settings::default()
    };
    let (found, problems) = places(ranges, web.clone());
    assert_eq!(found[1..], [(At::Virtual(ip("203.0.113.1")), 80), (At::Virtual(ip("198.51.100.1")), 80)]);
    assert!(problems.len() == 1 && problems[0].contains("10.96.7.7"), "{problems:?}");

    web.annotations.insert("kube-router.io/service.skiplbips".into(), "true".into());
    let (found, _) = places(Settings { any_external_address: true, ..Settings::default() }, web);
    assert_eq!(found[1..], [(At::Virtual(ip("198.51.100.1")), 80), (At::Virtual(ip("10.96.7.7")), 80)]);
}

#[test]
fn an_external_address_of_a_node_is_refused_whatever_else_is_allowed() {
    let mut web = service("web", "10.96.0.1");
    web.external_ips = vec![ip("192.0.2.11"), ip("192.0.2.12"), ip("10.1.1.7")];
    let mut other = node();
    other.name = "n2".into();
    other.internal_addresses = vec![ip("192.0.2.12")];
    let index = index(vec![Object::Service(web), Object::Node(other)]);
    let any = wish_with(Settings { any_external_address: true, ..Settings::default() }, &index);
    assert_eq!(
        any.virtuals.iter().map(|found| found.at).collect::<Vec<_>>(),
        [At::Virtual(ip("10.96.0.1")), At::Virtual(ip("10.1.1.7"))]
    );
    assert!(
        any.problems[0].contains("192.0.2.11") && any.problems[0].contains("Node n1"),
        "{:?}",
        any.problems
    );
    assert!(
        any.problems[1].contains("192.0.2.12") && any.problems[1].contains("Node n2"),
        "{:?}",
        any.problems
    );
    let ranges = Settings { external_ranges: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let strict = wish_with(ranges, &index);
    assert!(strict.problems[2].contains("10.1.1.0/24 of the pods of Node n1"), "{:?}", strict.problems);
    assert_eq!(strict.virtuals.len(), 1);
}

#[test]
fn services_that_are_not_ours_want_nothing() {
    let labelled = |key: &str, value: &str| Service {
        labels: Labels::from([(key.to_owned(), value.to_owned())]),
        ..service("web", "10.96.0.1")
    };
    let plane = Services::default();
    let headless = Service { cluster_ips: Vec::new(), ..service("web", "10.96.0.1") };
    let alias = Service { kind: ServiceKind::ExternalName, ..service("web", "10.96.0.1") };
    for (service, wanted) in [
        (headless, false),
        (alias, false),
        (labelled("service.kubernetes.io/headless", ""), false),
        (labelled("service.kubernetes.io/service-proxy-name", "cilium"), false),
        (labelled("service.kubernetes.io/service-proxy-name", "kube-router"), true),
    ] {
        let index = index(vec![Object::Service(service.clone())]);
        assert_eq!(plane.desired(&index, &Key::Service(name("web"))).is_some(), wanted, "{service:?}");
    }
}

#[test]
fn annotations_choose_the_scheduler_and_a_wrong_one_is_told() {
    let scheduling = |service: Service| {
        let wish = wish(&index(vec![Object::Service(service)]));
        (wish.virtuals[0].scheduling, wish.problems)
    };
    let (found, problems) = scheduling(annotated("kube-router.io/service.scheduler", "lc"));
    assert_eq!((found.scheduler, problems.len()), ("lc", 0));
    let (found, problems) = scheduling(annotated("kube-router.io/service.scheduler", "fastest"));
    assert_eq!(found.scheduler, "rr");
    assert!(problems[0].contains("fastest") && problems[0].contains("mh"), "{problems:?}");

    let mut maglev = annotated("kube-router.io/service.scheduler", "mh");
    maglev.annotations.insert("kube-router.io/service.schedflags".into(), "flag-1, flag-2,flag-9".into());
    maglev.affinity_seconds = Some(600);
    let (found, problems) = scheduling(maglev);
    let flags = ServiceFlags::SCHEDULER_1.with(ServiceFlags::SCHEDULER_2).with(ServiceFlags::PERSISTENT);
    assert_eq!((found.flags, found.affinity_seconds), (flags, 600));
    assert!(problems.len() == 1 && problems[0].contains("flag-9"), "{problems:?}");

    let (found, problems) = scheduling(annotated("kube-router.io/service.schedflags", "flag-1"));
    assert_eq!((found.flags, problems.len()), (ServiceFlags::empty(), 1));
}

#[test]
fn a_change_touches_the_services_it_concerns() {
    let plane = Services::default();
    let mut index = index(vec![
        Object::Service(service("web", "10.96.0.1")),
        Object::Service(service("db", "10.96.0.2")),
    ]);
    let touched = |index: &mut Index, event| {
        let change = index.apply(event).unwrap();
        plane.touched(index, &change)
    };
    let web = BTreeSet::from([Key::Service(name("web"))]);
    let slice = slice("web", "a", vec![ready("10.1.2.1")]);
    assert_eq!(touched(&mut index, Event::Upsert(Object::EndpointSlice(slice.clone()))), web);
    let gone = Event::Delete(ObjectKey::Service(name("web")));
    assert_eq!(touched(&mut index, gone), web);
    let mut moved = slice;
    moved.service = Some(name("db"));
    let both = BTreeSet::from([Key::Service(name("web")), Key::Service(name("db"))]);
    assert_eq!(touched(&mut index, Event::Upsert(Object::EndpointSlice(moved))), both);

    let mut other = node();
    other.name = "n2".into();
    assert_eq!(touched(&mut index, Event::Upsert(Object::Node(other.clone()))), BTreeSet::new());
    let mut own = node();
    own.internal_addresses.remove(1);
    let all = BTreeSet::from([Key::Node, Key::Pods, Key::Service(name("db"))]);
    assert_eq!(touched(&mut index, Event::Upsert(Object::Node(own.clone()))), all);

    own.labels.insert("disk".into(), "fast".into());
    assert_eq!(touched(&mut index, Event::Upsert(Object::Node(own.clone()))), BTreeSet::new());
    own.labels.insert("topology.kubernetes.io/zone".into(), "a".into());
    assert_eq!(
        touched(&mut index, Event::Upsert(Object::Node(own.clone()))),
        BTreeSet::new(),
        "nobody has hints"
    );
    index.apply(Event::Upsert(Object::EndpointSlice(super::fixture::slice(
        "db",
        "z",
        vec![hinted("10.1.2.1", &["a"], &[])],
    ))));
    own.labels.insert("topology.kubernetes.io/zone".into(), "b".into());
    let db = BTreeSet::from([Key::Service(name("db"))]);
    assert_eq!(touched(&mut index, Event::Upsert(Object::Node(own))), db);

    // Of pods only one of this node with an address that nobody could tell.
    let mut pod = |node: &str, address: &str| {
        let pod = Pod { node: Some(node.into()), addresses: vec![ip(address)], ..Pod::default() };
        touched(&mut index, Event::Upsert(Object::Pod(pod)))
    };
    assert_eq!(pod(NODE, "10.1.1.7"), BTreeSet::new());
    assert_eq!(pod("n2", "10.77.0.7"), BTreeSet::new());
    assert_eq!(pod(NODE, "10.77.0.8"), BTreeSet::from([Key::Pods]));

    // A node gets an address that a Service has among its external ones.
    let public = Service { external_ips: vec![ip("192.0.2.12")], ..service("db", "10.96.0.2") };
    index.apply(Event::Upsert(Object::Service(public)));
    other.internal_addresses = vec![ip("192.0.2.12")];
    assert_eq!(touched(&mut index, Event::Upsert(Object::Node(other))), db);
}

#[test]
fn node_ports_keep_to_the_given_ranges_in_the_families_that_these_are_of() {
    let settings =
        Settings { node_port_ranges: vec!["192.0.2.0/24".parse().unwrap()], ..Settings::default() };
    let (found, _) = places(settings, dual_node_port());
    assert_eq!(found[2..], [(At::EveryAddress(Family::V4), 30053), (At::Node(ip("2001:db8::11")), 30053)]);
    let addresses = LocalAddresses {
        for_node_ports: ["192.0.2.11", "198.51.100.7", "2001:db8::11"].map(ip).into(),
        ..LocalAddresses::default()
    };
    let within = addresses.within(&["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(within.for_node_ports, ["192.0.2.11", "2001:db8::11"].map(ip).into());
}

#[test]
fn one_port_with_several_protocols_and_several_ports_are_virtual_services_of_their_own() {
    let mut dns = service("web", "10.96.0.1");
    let of = |protocol, number| ServicePort { name: "p".into(), ..port(protocol, number, None) };
    dns.ports =
        vec![of(Protocol::Udp, 53), of(Protocol::Tcp, 53), of(Protocol::Sctp, 53), of(Protocol::Tcp, 9153)];
    let wish = wish(&index(vec![
        Object::Service(dns),
        Object::EndpointSlice(slice("web", "a", vec![ready("10.1.2.1")])),
    ]));
    let found: Vec<_> =
        wish.virtuals.iter().map(|one| (one.protocol, one.port, one.backends.by_socket.len())).collect();
    assert_eq!(
        found,
        [(Protocol::Udp, 53, 1), (Protocol::Tcp, 53, 1), (Protocol::Sctp, 53, 1), (Protocol::Tcp, 9153, 1)]
    );
}

#[test]
fn a_local_external_policy_leads_clients_of_the_node_to_the_cluster_address_if_that_serves_more() {
    let mut web = dual_node_port();
    web.external_local = true;
    let gate = |web: &Service, endpoints: Vec<Endpoint>| {
        let objects = vec![Object::Service(web.clone()), Object::EndpointSlice(slice("web", "a", endpoints))];
        let wish = wish(&index(objects));
        assert_eq!(at(&wish, At::Virtual(ip("10.96.0.1")), 53).gate(), &Gate::default());
        at(&wish, At::Node(ip("192.0.2.11")), 30053).gate().clone()
    };
    let elsewhere = || vec![ready("10.1.2.1")];
    assert_eq!(gate(&web, elsewhere()).detour, Some("10.96.0.1:53".parse().unwrap()));
    assert_eq!(gate(&web, Vec::new()).detour, None, "nobody serves: refused like everybody");
    web.internal_local = true;
    assert_eq!(
        gate(&web, elsewhere()).detour,
        Some("10.96.0.1:65535".parse().unwrap()),
        "a place of its own"
    );
    (web.internal_local, web.external_local) = (false, false);
    assert_eq!(gate(&web, elsewhere()).detour, None);
    web.annotations.insert("kube-router.io/service.local".into(), "maybe".into());
    let wish = wish(&index(vec![Object::Service(web)]));
    assert!(wish.problems[0].contains("service.local") && wish.problems[0].contains("maybe"), "{wish:?}");
}

#[test]
fn source_ranges_stand_before_load_balancer_addresses_only() {
    let mut web = service("web", "10.96.0.1");
    web.kind = ServiceKind::LoadBalancer;
    web.load_balancer_ips = vec![ip("203.0.113.1"), ip("2001:db8:1::1")];
    web.external_ips = vec![ip("198.51.100.1")];
    web.source_ranges = Some(vec!["192.0.2.0/24".parse().unwrap()]);
    let wish = wish_with(
        Settings { any_external_address: true, ..Settings::default() },
        &index(vec![Object::Service(web)]),
    );
    let sources = |address: &str| at(&wish, At::Virtual(ip(address)), 80).gate().sources.clone();
    assert_eq!(sources("203.0.113.1"), Some([(ip("192.0.2.0"), ip("192.0.2.255"))].into()));
    assert_eq!((sources("198.51.100.1"), sources("10.96.0.1")), (None, None));
    assert_eq!(sources("2001:db8:1::1"), Some([].into()));
    assert!(
        wish.problems[0].contains("none is of IPv6, so nobody reaches 2001:db8:1::1"),
        "{:?}",
        wish.problems
    );
}

#[test]
fn the_node_key_holds_its_addresses_and_pod_prefixes() {
    let facts =
        NodeFacts { addresses: vec![ip("192.0.2.11"), ip("2001:db8::11")], pod_cidrs: node().pod_cidrs };
    let found = Services::default().desired(&index(Vec::new()), &Key::Node);
    assert_eq!(found, Some(Value::Node(facts)));
}
