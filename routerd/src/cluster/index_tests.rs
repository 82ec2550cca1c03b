//! The index: what an event changes, and what it does not.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::objects::{Attachment, EndpointSlice, LearntRoute, Namespace, ObjectName, Pod};
use super::{Change, Event, Index, Kind, Object, ObjectKey};
use prefix::Family;

fn pod(name: &str, uid: &str, addresses: &[&str]) -> Pod {
    Pod {
        name: ObjectName::new("default", name),
        uid: uid.into(),
        labels: BTreeMap::new(),
        node: None,
        host_network: false,
        finished: false,
        drain_leaves: false,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: Vec::new(),
    }
}

fn attachment(container: &str, pod: &str, uid: Option<&str>, address: &str) -> Attachment {
    Attachment {
        container: container.into(),
        interface: "eth0".into(),
        pod: ObjectName::new("default", pod),
        uid: uid.map(str::to_owned),
        netns: String::new(),
        host_device: String::new(),
        addresses: vec![address.parse().unwrap()],
    }
}

fn slice(name: &str, service: Option<&str>) -> Object {
    Object::EndpointSlice(EndpointSlice {
        name: ObjectName::new("default", name),
        service: service.map(|service| ObjectName::new("default", service)),
        family: Family::V4,
        ports: Vec::new(),
        endpoints: Vec::new(),
    })
}

fn namespace(name: &str, label: &str) -> Object {
    Object::Namespace(Namespace {
        name: name.into(),
        labels: BTreeMap::from([("l".to_owned(), label.to_owned())]),
    })
}

#[test]
fn an_event_that_changes_nothing_has_no_change() {
    let mut index = Index::new("n");
    assert!(index.apply(Event::Upsert(namespace("a", "1"))).is_some());
    assert!(index.apply(Event::Upsert(namespace("a", "1"))).is_none());
    assert!(index.apply(Event::Delete(ObjectKey::Namespace("b".into()))).is_none());
    match index.apply(Event::Upsert(namespace("a", "2"))) {
        Some(Change::Namespace(delta)) => {
            assert_eq!(delta.old.unwrap().labels["l"], "1");
            assert_eq!(delta.new.unwrap().labels["l"], "2");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn slices_are_found_by_their_service_also_after_they_moved_to_another() {
    let mut index = Index::new("n");
    let (web, db) = (ObjectName::new("default", "web"), ObjectName::new("default", "db"));
    index.apply(Event::Upsert(slice("s1", Some("web"))));
    index.apply(Event::Upsert(slice("s2", Some("web"))));
    assert_eq!(index.slices_of(&web).count(), 2);
    index.apply(Event::Upsert(slice("s1", Some("db"))));
    assert_eq!((index.slices_of(&web).count(), index.slices_of(&db).count()), (1, 1));
    index.apply(Event::Delete(ObjectKey::EndpointSlice(ObjectName::new("default", "s2"))));
    assert_eq!(index.slices_of(&web).count(), 0);
    index.apply(Event::Upsert(slice("s1", None)));
    assert_eq!(index.slices_of(&db).count(), 0);
}

#[test]
fn a_local_pod_has_the_addresses_the_plugin_gave_it_and_not_those_of_its_namesake() {
    let mut index = Index::new("n");
    let addresses = |index: &Index, pod: &Pod| -> Vec<String> {
        index.pod_addresses(pod).iter().map(IpAddr::to_string).collect()
    };
    let one = pod("a", "u1", &["10.0.0.9"]);
    assert_eq!(addresses(&index, &one), ["10.0.0.9"]);
    index.apply(Event::Attach(attachment("c1", "a", Some("u1"), "10.0.0.1")));
    assert_eq!(addresses(&index, &one), ["10.0.0.1"]);
    index.apply(Event::Attach(attachment("c2", "a", Some("u2"), "10.0.0.2")));
    assert_eq!(addresses(&index, &one), ["10.0.0.1"]);
    index.apply(Event::Detach("c1".into(), "eth0".into()));
    assert_eq!(addresses(&index, &one), ["10.0.0.9"]);
    assert!(addresses(&index, &Pod { finished: true, ..one.clone() }).is_empty());
    assert!(addresses(&index, &Pod { host_network: true, ..one }).is_empty());
}

#[test]
fn a_route_without_next_hops_is_gone() {
    let mut index = Index::new("n");
    let route = |hops: &[&str]| LearntRoute {
        prefix: "10.244.2.0/24".parse().unwrap(),
        next_hops: hops.iter().map(|text| text.parse().unwrap()).collect(),
    };
    assert!(index.apply(Event::Route(route(&[]))).is_none());
    index.apply(Event::Route(route(&["192.0.2.2"])));
    assert_eq!(index.routes().len(), 1);
    assert!(
        matches!(index.apply(Event::Route(route(&[]))), Some(Change::Route(delta)) if delta.new.is_none())
    );
    assert!(index.routes().is_empty());
}

#[test]
fn a_complete_list_changes_only_its_kind() {
    let mut index = Index::new("n");
    index.apply(Event::Upsert(namespace("a", "1")));
    index.apply(Event::Upsert(namespace("b", "1")));
    index.apply(Event::Upsert(slice("s", Some("web"))));
    let changes = index.replace(Kind::Namespace, vec![namespace("b", "1"), namespace("c", "1")]);
    assert_eq!(changes.len(), 2);
    assert_eq!(index.namespaces().keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(index.count(Kind::EndpointSlice), 1);
}

proptest! {
    /// Whatever happens in whatever order, the way from Services to slices is that of the slices that are there.
    #[test]
    fn the_way_from_services_to_slices_never_goes_wrong(events in vec((0_u8..5, 0_u8..4), 0..60)) {
        let mut index = Index::new("n");
        for (name, service) in events {
            let name = format!("s{name}");
            index.apply(match service {
                0 => Event::Delete(ObjectKey::EndpointSlice(ObjectName::new("default", name))),
                1 => Event::Upsert(slice(&name, None)),
                other => Event::Upsert(slice(&name, Some(&format!("web{other}")))),
            });
            for service in ["web2", "web3"].map(|service| ObjectName::new("default", service)) {
                let found: Vec<_> = index.slices_of(&service).map(|slice| slice.name.clone()).collect();
                let expected: Vec<_> = index.slices().values().filter(|slice| slice.service.as_ref() == Some(&service)).map(|slice| slice.name.clone()).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
