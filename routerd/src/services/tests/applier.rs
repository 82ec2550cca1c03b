//! The writing half against a kernel in memory.

use std::collections::BTreeMap;

use kernel::ipvs;

use super::super::Settings;
use super::super::apply::Applier;
use super::super::desired::{Key, Value};
use super::super::state::Balanced;
use super::fake::Fake;
use super::fixture::*;
use crate::cluster::objects::{Protocol, Service, ServiceKind};
use crate::cluster::{Index, Object};
use crate::runner::{Apply, Report, Scope};

pub(super) fn desired(index: &Index) -> BTreeMap<Key, Value> {
    desired_with(Settings::default(), index)
}

pub(super) fn web_and_db() -> Vec<Object> {
    let mut db = service("db", "10.96.0.2");
    db.kind = ServiceKind::NodePort;
    db.ports = vec![port(Protocol::Udp, 53, Some(30053))];
    vec![
        Object::Service(service("web", "10.96.0.1")),
        Object::EndpointSlice(slice("web", "a", vec![ready("10.1.2.1"), here(ready("10.1.1.1"))])),
        Object::Service(db),
        Object::EndpointSlice(slice("db", "a", vec![ready("10.1.2.2")])),
    ]
}

pub(super) fn applier(fake: Fake) -> Applier<Fake> {
    Applier::new(fake, Settings::default())
}

pub(super) fn keys(names: &[&str]) -> Scope<Key> {
    Scope::Keys(names.iter().map(|text| Key::Service(name(text))).collect())
}

pub(super) fn clean(report: &Report) {
    assert_eq!(report.problems, Vec::new());
}

#[test]
fn a_second_run_and_a_restart_write_nothing() {
    let desired = desired(&index(web_and_db()));
    let mut first = applier(Fake::default());
    let report = first.apply(&desired, &Scope::Everything);
    clean(&report);
    assert!(report.writes > 0);
    assert_eq!(report.counts["virtual services"], 3);
    assert_eq!(first.apply(&desired, &Scope::Everything).writes, 0);
    assert_eq!(first.apply(&desired, &keys(&["web", "db"])).writes, 0);

    let left = Fake { state: first.kernel().state.clone(), ..Fake::default() };
    let mut second = applier(left);
    assert_eq!(second.apply(&desired, &Scope::Everything).writes, 0);
}

#[test]
fn a_change_of_one_service_does_not_read_the_kernel_and_writes_only_it() {
    let mut objects = web_and_db();
    let mut applier = applier(Fake::default());
    applier.apply(&desired(&index(objects.clone())), &Scope::Everything);
    objects[1] = Object::EndpointSlice(slice("web", "a", vec![ready("10.1.2.1"), ready("10.1.2.3")]));
    let report = applier.apply(&desired(&index(objects)), &keys(&["web"]));
    clean(&report);
    // One backend comes, one goes, and the one that went was local.
    assert_eq!((report.writes, applier.kernel().observed), (3, 1));
    let web = &applier.kernel().state.services[&tuple("10.96.0.1", 6, 80)];
    assert_eq!(web.destinations.len(), 2);
}

#[test]
fn what_an_earlier_run_made_and_nobody_wants_goes_and_foreign_services_stay() {
    let desired = desired(&index(web_and_db()));
    let mut first = applier(Fake::default());
    first.apply(&desired, &Scope::Everything);
    let mut left = Fake { state: first.kernel().state.clone(), ..Fake::default() };
    let foreign = tuple("192.0.2.11", 6, 30053);
    let balanced = Balanced::of(&ipvs::Service::new(foreign.key(), "wlc"));
    left.state.services.insert(foreign, balanced.into());

    let mut second = applier(left);
    clean(&second.apply(&BTreeMap::new(), &Scope::Everything));
    let state = &second.kernel().state;
    assert_eq!(state.services.keys().collect::<Vec<_>>(), [&foreign]);
    assert!(state.vips.is_empty() && state.packets.tuples.is_empty(), "{state:?}");
}

#[test]
fn a_kernel_without_ipvs_is_one_problem_of_the_plane_until_it_has_it() {
    let desired = desired(&index(web_and_db()));
    let mut applier = applier(Fake { without_ipvs: true, ..Fake::default() });
    let report = applier.apply(&desired, &Scope::Everything);
    assert_eq!((report.problems.len(), report.writes), (1, 0));
    let problem = &report.problems[0];
    assert!(problem.item == "services" && problem.retry && problem.message.contains("modprobe ip_vs"));
    assert_eq!(applier.apply(&desired, &keys(&["web"])).problems.len(), 1);
}

/// Two Services at one address, as objects.
fn two(a: Service, b: Service) -> Vec<Object> {
    vec![
        Object::EndpointSlice(slice(&a.name.name, "s", vec![ready("10.1.2.1")])),
        Object::EndpointSlice(slice(&b.name.name, "s", vec![ready("10.1.2.2")])),
        Object::Service(a),
        Object::Service(b),
    ]
}

/// The backend that serves the address of [`two`].
fn backend(applier: &Applier<Fake>) -> String {
    let found = &applier.kernel().state.services[&tuple("10.96.0.7", 6, 80)].destinations;
    found.keys().map(ToString::to_string).collect()
}

#[test]
fn of_two_services_at_one_address_and_port_the_older_has_it_and_the_newer_says_so_until_it_gets_it() {
    let aged = |text: &str, created| Service { created, ..service(text, "10.96.0.7") };
    let both = two(aged("a", 20), aged("b", 10));
    let mut applier = applier(Fake::default());
    let alone = [both[0].clone(), both[2].clone()];
    clean(&applier.apply(&desired(&index(alone.to_vec())), &Scope::Everything));
    assert_eq!(backend(&applier), "10.1.2.1:8080");

    // The other comes; only it is looked at, and the one that lost is judged all the same.
    let report = applier.apply(&desired(&index(both.clone())), &keys(&["b"]));
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let problem = &report.problems[0];
    assert!(
        problem.item == "Service default/a" && problem.message.contains("Service default/b"),
        "{problem:?}"
    );
    assert_eq!(backend(&applier), "10.1.2.2:8080");

    let report = applier.apply(&desired(&index(alone.to_vec())), &keys(&["b"]));
    clean(&report);
    assert_eq!(report.judged, ["Service default/a".to_owned()].into(), "what was said of it is over");
    assert_eq!(backend(&applier), "10.1.2.1:8080");
}

#[test]
fn nobody_takes_a_cluster_address_by_writing_it_among_external_ones() {
    let thief = Service { external_ips: vec![ip("10.96.0.7")], created: 1, ..service("a", "10.96.0.8") };
    let owner = Service { created: 2, ..service("b", "10.96.0.7") };
    let settings = Settings { any_external_address: true, ..Settings::default() };
    let wanted = desired_with(settings, &index(two(thief, owner)));
    let mut applier = applier(Fake::default());
    let report = applier.apply(&wanted, &Scope::Everything);
    assert_eq!(backend(&applier), "10.1.2.2:8080");
    assert_eq!((report.problems.len(), report.problems[0].item.as_str()), (1, "Service default/a"));
}

#[test]
fn node_ports_of_two_services_that_are_the_same_are_one_problem_of_the_newer_and_its_other_addresses_work() {
    let at = |text: &str, address: &str| Service {
        kind: ServiceKind::NodePort,
        ports: vec![port(Protocol::Tcp, 80, Some(30080))],
        ..service(text, address)
    };
    let mut applier = applier(Fake::default());
    let report =
        applier.apply(&desired(&index(two(at("a", "10.96.0.7"), at("b", "10.96.0.8")))), &Scope::Everything);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let problem = &report.problems[0];
    assert!(
        problem.item == "Service default/b" && problem.message.contains("192.0.2.11:30080"),
        "{problem:?}"
    );
    assert!(applier.kernel().state.services.contains_key(&tuple("10.96.0.8", 6, 80)));
    let node_port = &applier.kernel().state.services[&tuple("192.0.2.11", 6, 30080)];
    assert!(node_port.destinations.contains_key(&"10.1.2.1:8080".parse().unwrap()));
}

#[test]
fn a_gate_that_changes_is_written_as_its_difference() {
    let balanced = |ranges: &[&str]| Service {
        kind: ServiceKind::LoadBalancer,
        load_balancer_ips: vec![ip("203.0.113.1")],
        source_ranges: Some(ranges.iter().map(|range| range.parse().unwrap()).collect()),
        ..service("web", "10.96.0.1")
    };
    let wanted = |ranges: &[&str]| {
        let index = index(vec![
            Object::Service(balanced(ranges)),
            Object::EndpointSlice(slice("web", "a", vec![ready("10.1.2.1")])),
        ]);
        desired_with(Settings { any_external_address: true, ..Settings::default() }, &index)
    };
    let mut applier = applier(Fake::default());
    clean(&applier.apply(&wanted(&["192.0.2.0/24", "198.51.100.0/24"]), &Scope::Everything));
    let report = applier.apply(&wanted(&["192.0.2.0/25", "198.51.100.0/24"]), &keys(&["web"]));
    clean(&report);
    assert_eq!(report.writes, 2, "a range comes and a range goes");
    let gates = &applier.kernel().state.packets.gates;
    let sources = &gates.sources[&tuple("203.0.113.1", 6, 80)];
    assert!(sources.contains(&(ip("192.0.2.0"), ip("192.0.2.127"))) && sources.len() == 2, "{sources:?}");
    clean(&applier.apply(&BTreeMap::new(), &keys(&["web"])));
    assert!(applier.kernel().state.packets.gates.is_empty());
}

#[test]
fn another_node_address_moves_sources_and_node_ports() {
    let mut applier = applier(Fake::default());
    applier.apply(&desired(&index(web_and_db())), &Scope::Everything);
    let mut moved = node();
    moved.internal_addresses = vec![ip("192.0.2.99")];
    let mut objects = web_and_db();
    objects.push(Object::Node(moved));
    let wanted = desired(&index(objects));
    let scope = Scope::Keys(wanted.keys().cloned().collect());
    clean(&applier.apply(&wanted, &scope));
    let state = &applier.kernel().state;
    assert_eq!(state.vips[&ip("10.96.0.1")].source, Some(ip("192.0.2.99")));
    assert!(state.services.contains_key(&tuple("192.0.2.99", 17, 30053)));
    assert!(!state.services.contains_key(&tuple("192.0.2.11", 17, 30053)));
}
