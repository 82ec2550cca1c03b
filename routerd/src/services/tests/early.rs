//! What is added before the whole view is there, against a kernel in memory.

use std::collections::BTreeMap;

use super::super::apply::Applier;
use super::super::desired::{Key, Value};
use super::super::state::{State, Tuple};
use super::super::{Few, Settings};
use super::fake::Fake;
use super::fixture::*;
use crate::cluster::objects::{ObjectName, Protocol, Service};
use crate::cluster::{Index, Object};
use crate::runner::{Apply, Scope};

const API: &str = "10.96.0.1";
const DNS: &str = "10.96.0.10";
const WEB: &str = "10.96.0.80";

/// Where external addresses may lie.
fn settings() -> Settings {
    Settings { external_ranges: vec!["203.0.113.0/24".parse().unwrap()], ..Settings::default() }
}

fn desired(index: &Index) -> BTreeMap<Key, Value> {
    desired_with(settings(), index)
}

fn named(namespace: &str, name: &str, service: Service, endpoint: &str) -> Vec<Object> {
    let name = ObjectName::new(namespace, name);
    let mut slice = slice("x", "a", vec![ready(endpoint)]);
    (slice.name, slice.service) = (name.clone(), Some(name.clone()));
    vec![Object::Service(Service { name, ..service }), Object::EndpointSlice(slice)]
}

/// The API server's Service, with an external address that nobody can judge yet, and the cluster's DNS.
fn first() -> Vec<Object> {
    let kubernetes = Service { external_ips: vec![ip("203.0.113.1")], ..service("x", API) };
    let dns = Service { ports: vec![port(Protocol::Udp, 53, None)], ..service("x", DNS) };
    let mut objects = named("default", "kubernetes", kubernetes, "192.0.2.12");
    objects.extend(named("kube-system", "kube-dns", dns, "10.1.2.53"));
    objects
}

fn whole() -> Vec<Object> {
    let mut objects = first();
    objects.extend(named("default", "web", service("x", WEB), "10.1.2.80"));
    objects
}

fn applier(state: State) -> Applier<Fake> {
    Applier::new(Fake { state, ..Fake::default() }, settings())
}

/// The kernel as a run with these objects leaves it.
fn left_by(objects: Vec<Object>) -> State {
    let mut earlier = applier(State::default());
    earlier.apply(&desired(&index(objects)), &Scope::Everything);
    earlier.kernel().state.clone()
}

#[test]
fn a_new_node_has_the_api_server_and_dns_before_the_whole_view_and_no_external_address() {
    let mut applier = applier(State::default());
    let report = applier.early(&desired(&index(first())));
    assert!(report.problems.is_empty() && report.writes > 0, "{report:?}");
    let state = &applier.kernel().state;
    let both = [tuple(API, 6, 80), tuple(DNS, 17, 53)];
    assert_eq!(state.services.keys().copied().collect::<Vec<_>>(), both);
    assert!(state.services.values().all(|balanced| balanced.destinations.len() == 1));
    assert_eq!(state.vips.keys().copied().collect::<Vec<_>>(), both.map(|tuple| tuple.address));
    assert!(state.packets.program.is_some() && state.packets.tuples.len() == 2);
    // The whole view finds it as it is wanted, and adds the rest.
    let report = applier.apply(&desired(&index(whole())), &Scope::Everything);
    assert!(report.problems.is_empty(), "{report:?}");
    assert_eq!(applier.kernel().made, [both[0], both[1], tuple("203.0.113.1", 6, 80), tuple(WEB, 6, 80)]);
    assert_eq!(applier.kernel().refused, None);
    assert_eq!(applier.kernel().state, left_by(whole()));
}

#[test]
fn what_an_earlier_run_left_stays_as_it_is_until_the_whole_view_is_there() {
    let left = left_by(whole());
    let mut objects = first();
    // Its endpoint is another one by now, and DNS has none that is known yet.
    objects[1] = named("default", "kubernetes", Service::default(), "192.0.2.13").remove(1);
    objects.pop();
    let mut applier = applier(left.clone());
    let report = applier.early(&desired(&index(objects)));
    assert_eq!((report.writes, report.problems.len()), (0, 0), "{report:?}");
    assert_eq!(applier.kernel().state, left);
    assert_eq!(applier.kernel().observed, 0, "and all that is there is not read for that");
}

#[test]
fn one_that_is_missing_is_added_and_the_others_of_an_earlier_run_stay() {
    let mut left = left_by(whole());
    let api = tuple(API, 6, 80);
    left.services.remove(&api);
    left.vips.remove(&api.address);
    left.packets.tuples.remove(&api);
    let mut applier = applier(left.clone());
    let report = applier.early(&desired(&index(first())));
    assert!(report.problems.is_empty() && report.writes > 0, "{report:?}");
    assert_eq!(applier.kernel().state, left_by(whole()));
}

#[test]
fn nothing_is_added_on_rules_that_are_not_those_wanted() {
    let mut left = left_by(whole());
    left.services.clear();
    if let Some(program) = &mut left.packets.program {
        program.chains.pop_last();
    }
    let mut applier = applier(left.clone());
    applier.early(&desired(&index(first())));
    assert_eq!(applier.kernel().state, left);
}

#[test]
fn what_is_somebody_elses_or_wrong_there_is_not_touched() {
    // A virtual service of kube-router's with another scheduler and a source that its clients are held by.
    let mut left = State::default();
    let api = tuple(API, 6, 80);
    let others = left_by(first()).services[&api].clone();
    left.services.insert(api, others);
    let balanced = std::sync::Arc::make_mut(left.services.get_mut(&api).unwrap());
    balanced.scheduling.as_mut().unwrap().scheduler = "sh";
    let mut applier = applier(left);
    applier.early(&desired(&index(first())));
    let found = &applier.kernel().state.services[&api];
    assert_eq!((found.scheduling.map(|one| one.scheduler), found.destinations.len()), (Some("sh"), 1));

    // One without backends gets them, and keeps what it is.
    let mut left = applier.kernel().state.clone();
    std::sync::Arc::make_mut(left.services.get_mut(&api).unwrap()).destinations = Few::default();
    let mut applier = self::applier(left);
    applier.early(&desired(&index(first())));
    let found = &applier.kernel().state.services[&api];
    assert_eq!((found.scheduling.map(|one| one.scheduler), found.destinations.len()), (Some("sh"), 1));
}

#[test]
fn excluded_addresses_are_left_to_others() {
    let settings = Settings { excluded: vec!["10.96.0.0/30".parse().unwrap()], ..settings() };
    let mut applier = Applier::new(Fake::default(), settings);
    applier.early(&desired(&index(first())));
    let found: Vec<Tuple> = applier.kernel().state.services.keys().copied().collect();
    assert_eq!(found, [tuple(DNS, 17, 53)]);
}

#[test]
fn without_the_own_node_or_on_a_kernel_without_ipvs_nothing_is_added() {
    let mut only_services = desired(&index(first()));
    only_services.remove(&Key::Node);
    let mut applier = applier(State::default());
    assert_eq!(applier.early(&only_services).writes, 0);
    let mut without = Applier::new(Fake { without_ipvs: true, ..Fake::default() }, settings());
    let report = without.early(&desired(&index(first())));
    assert_eq!((report.writes, report.problems.len()), (0, 1), "{report:?}");
}
