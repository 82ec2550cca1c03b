//! The writing half against a kernel in memory.

use std::collections::{BTreeMap, BTreeSet};

use kernel::ipvs;

use super::super::Settings;
use super::super::apply::Applier;
use super::super::desired::{Key, Services, Value};
use super::super::state::{Balanced, Tuple};
use super::fake::Fake;
use super::fixture::*;
use crate::cluster::objects::{Protocol, Service, ServiceKind};
use crate::cluster::{Index, Object};
use crate::runner::{Apply, Plane, Report, Scope};

fn desired(index: &Index) -> BTreeMap<Key, Value> {
    let plane = Services::default();
    plane.keys(index).into_iter().filter_map(|key| Some((key.clone(), plane.desired(index, &key)?))).collect()
}

fn web_and_db() -> Vec<Object> {
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

fn applier(fake: Fake) -> Applier<Fake> {
    Applier::new(fake, Settings::default())
}

fn tuple(address: &str, protocol: u8, port: u16) -> Tuple {
    Tuple { address: ip(address), protocol, port }
}

fn keys(names: &[&str]) -> Scope<Key> {
    Scope::Keys(names.iter().map(|text| Key::Service(name(text))).collect())
}

fn clean(report: &Report) {
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
    let balanced =
        Balanced { service: ipvs::Service::new(foreign.key(), "wlc"), destinations: BTreeMap::new() };
    left.state.services.insert(foreign, balanced);

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

#[test]
fn a_service_the_kernel_refuses_is_named_and_the_others_are_programmed() {
    let mut objects = web_and_db();
    let Object::Service(web) = &mut objects[0] else { panic!() };
    web.annotations.insert("kube-router.io/service.scheduler".into(), "mh".into());
    let mut applier = applier(Fake { missing_scheduler: Some("mh"), ..Fake::default() });
    let wanted = desired(&index(objects.clone()));
    let report = applier.apply(&wanted, &Scope::Everything);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].item == "Service default/web" && report.problems[0].retry);
    assert!(applier.kernel().state.services.contains_key(&tuple("10.96.0.2", 17, 53)));

    let Object::Service(web) = &mut objects[0] else { panic!() };
    web.annotations.clear();
    clean(&applier.apply(&desired(&index(objects)), &keys(&["web"])));
    assert_eq!(applier.kernel().observed, 2, "after an error the kernel is read again");
    assert_eq!(applier.kernel().state.services.len(), 3);
}

#[test]
fn of_two_services_at_one_address_and_port_the_first_by_name_gets_it_and_the_other_says_so() {
    let same = |text: &str| Service { name: name(text), ..service("x", "10.96.0.7") };
    let both = vec![
        Object::Service(same("a")),
        Object::Service(same("b")),
        Object::EndpointSlice(slice("a", "s", vec![ready("10.1.2.1")])),
        Object::EndpointSlice(slice("b", "s", vec![ready("10.1.2.2")])),
    ];
    let mut applier = applier(Fake::default());
    let report = applier.apply(&desired(&index(both.clone())), &Scope::Everything);
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0].item == "Service default/b" && report.problems[0].message.contains("default/a")
    );
    let backend = |applier: &Applier<Fake>| {
        let found = &applier.kernel().state.services[&tuple("10.96.0.7", 6, 80)].destinations;
        found.keys().map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    assert_eq!(backend(&applier), BTreeSet::from(["10.1.2.1:8080".to_owned()]));
    clean(&applier.apply(&desired(&index(both[1..].to_vec())), &keys(&["a", "b"])));
    assert_eq!(backend(&applier), BTreeSet::from(["10.1.2.2:8080".to_owned()]));
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
