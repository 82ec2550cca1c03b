//! Which endpoints get traffic.

use prefix::Family;

use super::super::desired::At;
use super::super::state::Refusal;
use super::fixture::*;
use crate::cluster::objects::{Endpoint, EndpointSlice, Service};
use crate::cluster::{Event, Index, Object};

/// Address, weight and whether it is local, of the backends of `web` at its cluster IP.
fn backends(service: Service, endpoints: Vec<Endpoint>) -> (Vec<(String, u32, bool)>, Refusal) {
    let slice = slice("web", "a", endpoints);
    let wish = wish(&index(vec![Object::Service(service), Object::EndpointSlice(slice)]));
    let found = &at(&wish, At::Virtual(ip("10.96.0.1")), 80).backends;
    let list = found.by_socket.iter().map(|(socket, b)| (socket.to_string(), b.weight, b.local)).collect();
    (list, found.refusal)
}

fn web() -> Service {
    service("web", "10.96.0.1")
}

fn expect(list: &[(&str, u32, bool)]) -> Vec<(String, u32, bool)> {
    list.iter().map(|(socket, weight, local)| ((*socket).to_owned(), *weight, *local)).collect()
}

#[test]
fn ready_endpoints_are_balanced_and_one_about_to_end_keeps_only_its_connections() {
    let (found, _) = backends(web(), vec![ready("10.1.2.1"), here(ready("10.1.1.1")), ending("10.1.2.9")]);
    assert_eq!(
        found,
        expect(&[("10.1.1.1:8080", 1, true), ("10.1.2.1:8080", 1, false), ("10.1.2.9:8080", 0, false)])
    );
}

#[test]
fn without_a_ready_endpoint_those_that_end_but_serve_take_over() {
    let silent = Endpoint { serving: false, ..ending("10.1.2.8") };
    let starting = Endpoint { ready: false, serving: false, ..ready("10.1.2.7") };
    let (found, _) = backends(web(), vec![ending("10.1.2.9"), silent, starting]);
    assert_eq!(found, expect(&[("10.1.2.9:8080", 1, false)]));
}

#[test]
fn with_local_policy_only_this_nodes_endpoints_count_and_their_fallback_is_judged_among_them() {
    let mut local = web();
    local.internal_local = true;
    let (found, _) = backends(local.clone(), vec![ready("10.1.2.1"), here(ending("10.1.1.1"))]);
    assert_eq!(found, expect(&[("10.1.1.1:8080", 1, true)]));
    let (found, refusal) = backends(local, vec![ready("10.1.2.1")]);
    assert_eq!((found.len(), refusal), (0, Refusal::Drop), "only this node has none: silence");
}

#[test]
fn a_service_without_any_endpoint_is_refused_aloud() {
    assert_eq!(backends(web(), Vec::new()), (Vec::new(), Refusal::Reject));
    let mut local = web();
    local.internal_local = true;
    assert_eq!(backends(local, Vec::new()).1, Refusal::Reject);
}

#[test]
fn an_endpoint_without_node_is_local_if_its_address_is() {
    let unknown = Endpoint { node: None, ..ready("10.1.1.5") };
    assert_eq!(backends(web(), vec![unknown]).0, expect(&[("10.1.1.5:8080", 1, true)]));
}

#[test]
fn addresses_that_lead_into_the_node_are_no_endpoints() {
    let endpoints = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0"].map(ready).to_vec();
    assert!(backends(web(), endpoints).0.is_empty());
}

#[test]
fn endpoints_that_cannot_be_are_told_of_and_the_others_are_used() {
    let endpoints =
        ["127.0.0.1", "10.96.0.1", "fd00:1:2::1", "10.1.2.1", "169.254.1.1", "0.0.0.0"].map(ready);
    let index = index(vec![
        Object::Service(web()),
        Object::EndpointSlice(EndpointSlice { family: Family::V4, ..slice("web", "a", endpoints.to_vec()) }),
    ]);
    let wish = wish(&index);
    let found = &at(&wish, At::Virtual(ip("10.96.0.1")), 80).backends.by_socket;
    assert_eq!(found.keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.2.1:8080"]);
    let told = &wish.problems;
    assert!(
        told[0].contains("EndpointSlice default/web-a: endpoints[0]") && told[0].contains("loopback"),
        "{told:?}"
    );
    assert!(told[1].contains("10.96.0.1: it is the Service's own address"), "{told:?}");
    assert!(told[2].contains("fd00:1:2::1") && told[2].contains("family"), "{told:?}");
    assert_eq!(told[3..], ["2 more endpoints are not used"]);
}

/// An index whose node is in zone `a`, and the backends that the endpoints give it, by cluster policy and by local one.
fn near(endpoints: &[Endpoint]) -> [Vec<String>; 2] {
    let mut own = node();
    own.labels.insert("topology.kubernetes.io/zone".into(), "a".into());
    let index = |service: Service| -> Index {
        let mut index = index(vec![Object::Node(own.clone()), Object::Service(service)]);
        index.apply(Event::Upsert(Object::EndpointSlice(slice("web", "a", endpoints.to_vec()))));
        index
    };
    [web(), Service { internal_local: true, ..web() }].map(|service| {
        let wish = wish(&index(service));
        let found = &at(&wish, At::Virtual(ip("10.96.0.1")), 80).backends.by_socket;
        found.iter().map(|(socket, backend)| format!("{} {}", socket.ip(), backend.weight)).collect()
    })
}

#[test]
fn endpoints_of_the_own_zone_are_used_if_all_have_hints_and_one_is_for_it() {
    let [found, _] = near(&[
        hinted("10.1.2.1", &["a"], &[]),
        hinted("10.1.2.2", &["b"], &[]),
        hinted("10.1.2.3", &["a", "b"], &[]),
    ]);
    assert_eq!(found, ["10.1.2.1 1", "10.1.2.3 1"]);
    let [found, _] = near(&[hinted("10.1.2.1", &["a"], &[]), ready("10.1.2.2")]);
    assert_eq!(found.len(), 2, "one has none: a part may be left from another time");
    let [found, _] = near(&[hinted("10.1.2.1", &["b"], &[]), hinted("10.1.2.2", &["c"], &[])]);
    assert_eq!(found.len(), 2, "nobody is for this zone");
}

#[test]
fn endpoints_for_the_own_node_come_before_those_of_its_zone() {
    let both = |address, node| hinted(address, &["a"], &[node]);
    let [found, _] = near(&[both("10.1.2.1", "n2"), both("10.1.1.1", "n1")]);
    assert_eq!(found, ["10.1.1.1 1"]);
    let [found, _] = near(&[both("10.1.2.1", "n2"), hinted("10.1.2.2", &["b"], &["n3"])]);
    assert_eq!(found, ["10.1.2.1 1"], "nobody is for this node, but one for its zone");
}

#[test]
fn hints_count_among_ready_endpoints_and_not_with_a_local_policy() {
    let [found, local] = near(&[
        hinted("10.1.2.1", &["b"], &[]),
        here(hinted("10.1.1.1", &["b"], &[])),
        hinted("10.1.2.2", &["a"], &[]),
        Endpoint { ready: false, terminating: true, ..ready("10.1.2.3") },
    ]);
    assert_eq!(found, ["10.1.2.2 1", "10.1.2.3 0"], "one about to end keeps its connections");
    assert_eq!(local, ["10.1.1.1 1"]);
    let [found, _] = near(&[
        hinted("10.1.2.1", &["b"], &[]),
        ending("10.1.2.2"),
        Endpoint { ready: false, terminating: true, ..hinted("10.1.2.3", &["a"], &[]) },
    ]);
    assert_eq!(found, ["10.1.2.1 1", "10.1.2.2 0", "10.1.2.3 0"], "the only ready one is of another zone");
}

#[test]
fn the_same_endpoint_in_two_slices_counts_once_with_its_better_state() {
    let index = index(vec![
        Object::Service(web()),
        Object::EndpointSlice(slice("web", "a", vec![ending("10.1.2.1"), ready("10.1.2.2")])),
        Object::EndpointSlice(slice("web", "b", vec![ready("10.1.2.1")])),
    ]);
    let wish = wish(&index);
    let found = &at(&wish, At::Virtual(ip("10.96.0.1")), 80).backends.by_socket;
    assert_eq!(found.values().map(|backend| backend.weight).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_port_is_served_by_the_slice_port_of_its_name_and_protocol() {
    let mut other = slice("web", "a", vec![ready("10.1.2.1")]);
    other.ports[0].name = "q".into();
    other.ports[1].number = Some(9090);
    let wish = wish(&index(vec![Object::Service(web()), Object::EndpointSlice(other)]));
    assert!(at(&wish, At::Virtual(ip("10.96.0.1")), 80).backends.by_socket.is_empty());
}
