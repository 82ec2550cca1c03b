//! What goes on between changes: draining, and looking at what others do to IPVS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::apply::Applier;
use super::super::desired::{Key, Value};
use super::super::state::Tuple;
use super::super::{Few, Settings};
use super::fake::Fake;
use super::fixture::*;
use crate::cluster::Object;
use crate::cluster::objects::{Endpoint, ObjectName, Protocol, Service};
use crate::runner::{Apply, Report, Scope};

const WEB: &str = "10.96.0.1";

/// A TCP Service `web` and a UDP Service `dns` with these endpoints.
fn objects(endpoints: &[Endpoint]) -> Vec<Object> {
    let dns = Service { ports: vec![port(Protocol::Udp, 53, None)], ..service("dns", "10.96.0.10") };
    vec![
        Object::Service(service("web", WEB)),
        Object::EndpointSlice(slice("web", "a", endpoints.to_vec())),
        Object::Service(dns),
        Object::EndpointSlice(slice("dns", "a", endpoints.to_vec())),
    ]
}

fn desired(objects: Vec<Object>) -> BTreeMap<Key, Value> {
    desired_with(Settings::default(), &index(objects))
}

fn web() -> Tuple {
    tuple(WEB, 6, 80)
}

fn weights(applier: &Applier<Fake>, tuple: Tuple) -> Vec<(String, u32)> {
    let destinations = applier.kernel().state.services[&tuple].destinations.iter();
    destinations.map(|(socket, weight)| (socket.ip().to_string(), weight.unwrap())).collect()
}

fn clean(report: &Report) {
    assert_eq!(report.problems, Vec::new());
}

/// An applier with two backends each, of which the second then is no longer wanted and has a connection.
fn draining(grace: Duration) -> Applier<Fake> {
    let backends = [ready("10.1.2.1"), ready("10.1.2.2")];
    let mut applier = Applier::new(Fake::default(), Settings { grace: Some(grace), ..Settings::default() });
    clean(&applier.apply(&desired(objects(&backends)), &Scope::Everything));
    applier.kernel_mut().connections.insert((web(), "10.1.2.2:8080".parse().unwrap()), 1);
    let keys = ["web", "dns"].map(|text| Key::Service(name(text)));
    clean(&applier.apply(&desired(objects(&backends[..1])), &Scope::Keys(keys.into())));
    applier
}

#[test]
fn a_backend_that_is_gone_keeps_its_connections_until_the_last_one_ends() {
    let mut applier = draining(Duration::from_hours(1));
    assert_eq!(weights(&applier, web()), [("10.1.2.1".to_owned(), 1), ("10.1.2.2".to_owned(), 0)]);
    assert!(applier.tend(&BTreeMap::new()).is_none());
    let again = applier.apply(&desired(objects(&[ready("10.1.2.1")])), &Scope::Everything);
    assert_eq!(again.writes, 0, "it drains on");

    applier.kernel_mut().connections.clear();
    let report = applier.tend(&BTreeMap::new()).unwrap();
    assert_eq!((report.writes, report.repaired, report.problems), (1, false, Vec::new()));
    assert_eq!(weights(&applier, web()), [("10.1.2.1".to_owned(), 1)]);
    assert!(applier.tend(&BTreeMap::new()).is_none());
}

#[test]
fn a_udp_backend_does_not_drain() {
    let applier = draining(Duration::from_hours(1));
    let dns = Tuple { address: ip("10.96.0.10"), protocol: 17, port: 53 };
    assert_eq!(weights(&applier, dns), [("10.1.2.1".to_owned(), 1)]);
}

#[test]
fn its_time_over_a_backend_goes_with_its_connections() {
    let mut applier = draining(Duration::ZERO);
    assert_eq!(applier.tend(&BTreeMap::new()).unwrap().writes, 1);
    assert_eq!(weights(&applier, web()), [("10.1.2.1".to_owned(), 1)]);
}

#[test]
fn a_backend_that_comes_back_while_it_drains_stays() {
    let mut applier = draining(Duration::ZERO);
    let back = desired(objects(&[ready("10.1.2.1"), ready("10.1.2.2")]));
    clean(&applier.apply(&back, &Scope::Keys([Key::Service(name("web"))].into())));
    applier.kernel_mut().connections.clear();
    assert!(applier.tend(&BTreeMap::new()).is_none());
    assert_eq!(weights(&applier, web()), [("10.1.2.1".to_owned(), 1), ("10.1.2.2".to_owned(), 1)]);
}

#[test]
fn what_drains_after_a_restart_is_known_again() {
    let left = Fake { state: draining(Duration::ZERO).kernel().state.clone(), ..Fake::default() };
    let grace = Some(Duration::from_hours(1));
    let mut applier = Applier::new(left, Settings { grace, ..Settings::default() });
    let report = applier.apply(&desired(objects(&[ready("10.1.2.1")])), &Scope::Everything);
    assert_eq!((report.writes, report.problems), (0, Vec::new()));
    assert_eq!(applier.tend(&BTreeMap::new()).unwrap().writes, 1, "nobody uses it");
}

#[test]
fn what_somebody_takes_out_of_ipvs_comes_back_without_reading_everything() {
    let mut applier = draining(Duration::from_hours(1));
    let whole = applier.kernel().state.clone();
    let breakages: [fn(&mut Fake); 3] = [
        |kernel| _ = kernel.state.services.remove(&web()),
        |kernel| kernel.balanced(web()).destinations = Few::default(),
        |kernel| kernel.balanced(web()).scheduling.as_mut().unwrap().scheduler = "wlc",
    ];
    for breakage in breakages {
        breakage(applier.kernel_mut());
        let report = applier.tend(&BTreeMap::new()).unwrap();
        assert!(report.repaired && report.problems.is_empty(), "{report:?}");
        assert!(applier.tend(&BTreeMap::new()).is_none());
        assert_eq!(applier.kernel().observed, 1);
    }
    let mut without_drained = whole;
    let web = Arc::make_mut(without_drained.services.get_mut(&web()).unwrap());
    web.destinations.remove(&"10.1.2.2:8080".parse().unwrap());
    assert_eq!(applier.kernel().state, without_drained, "what only drained is not made again");
}

#[test]
fn an_ipv6_service_that_somebody_takes_away_comes_back_though_it_is_not_seen_at_a_glance() {
    let six = vec![
        Object::Service(service("six", "fd00:96::1")),
        Object::EndpointSlice(slice("six", "a", vec![ready("fd00:1:2::1")])),
    ];
    let mut applier = Applier::new(Fake::default(), Settings::default());
    clean(&applier.apply(&desired(six), &Scope::Everything));
    let whole = applier.kernel().state.clone();
    applier.kernel_mut().state.services.clear();
    assert!(applier.tend(&BTreeMap::new()).unwrap().repaired);
    assert_eq!(applier.kernel().state, whole);
}

#[test]
fn the_api_server_and_the_clusters_dns_come_first() {
    let named = |namespace: &str, text: &str, address: &str, number: u16| Service {
        name: ObjectName::new(namespace, text),
        ports: vec![port(Protocol::Udp, number, None)],
        ..service(text, address)
    };
    let services = [
        named("aaa", "first", "10.96.0.2", 80),
        named("default", "kubernetes", "10.96.0.3", 443),
        named("kube-system", "kube-dns", "10.96.0.4", 53),
        named("kube-system", "metrics", "10.96.0.1", 443),
    ];
    let mut applier = Applier::new(Fake::default(), Settings::default());
    clean(&applier.apply(&desired(services.map(Object::Service).into()), &Scope::Everything));
    let made: Vec<String> = applier.kernel().made.iter().map(|tuple| tuple.address.to_string()).collect();
    assert_eq!(made, ["10.96.0.3", "10.96.0.4", "10.96.0.1", "10.96.0.2"]);
}
