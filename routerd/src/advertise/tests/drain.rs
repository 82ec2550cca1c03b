//! A node on its way out of service, as it is seen from its object and its pods.

use super::*;
use crate::cluster::objects::Pod;

fn pod(name: &str, drain_leaves: bool) -> Event {
    let name = ObjectName::new("ns", name);
    // In the host's network or not: a drain takes both.
    let host_network = !drain_leaves;
    Event::Upsert(Object::Pod(Pod {
        name,
        node: Some("a".into()),
        host_network,
        drain_leaves,
        ..Pod::default()
    }))
}

fn own(change: fn(&mut Node)) -> Event {
    let mut own =
        Node { name: "a".into(), internal_addresses: vec!["192.0.2.1".parse().unwrap()], ..Node::default() };
    change(&mut own);
    Event::Upsert(Object::Node(own))
}

fn leaving(desired: &BTreeMap<Key, Value>) -> Leaving {
    match &desired[&Key::Speaker] {
        Value::Speaker(identity) => identity.leaving,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cordoned_node_goes_and_is_gone_with_its_last_pod_that_a_drain_takes() {
    let plane = plane();
    let mut index = Index::new("a");
    let mut kept = BTreeMap::new();
    let gone = |name: &str| Event::Delete(ObjectKey::Pod(ObjectName::new("ns", name)));
    for (event, expected) in [
        (own(|_| {}), Leaving::No),
        (pod("web", false), Leaving::No),
        (pod("logs", true), Leaving::No),
        (own(|node| node.unschedulable = true), Leaving::Going),
        (gone("web"), Leaving::Gone),
        (pod("late", false), Leaving::Going),
        (own(|node| node.shutting_down = true), Leaving::Gone),
        (own(|node| node.leaving = true), Leaving::Going),
        (gone("late"), Leaving::Gone),
        (own(|_| {}), Leaving::No),
    ] {
        let change = index.apply(event).unwrap();
        for key in plane.touched(&index, &change) {
            if let Some(value) = plane.desired(&index, &key) {
                kept.insert(key, value);
            }
        }
        assert_eq!(leaving(&kept), expected, "{change:?}");
    }
}

#[test]
fn what_is_withheld_are_the_addresses_of_services_and_all_of_it_comes_back() {
    let announce = |text: &str| {
        let prefix: Prefix = text.parse().unwrap();
        Value::Announce([(prefix, Some(Announcement::via("192.0.2.1".parse().unwrap())))].into())
    };
    let service = Key::Service(ObjectName::new("ns", "web"));
    let pods = Key::Prefix("10.1.0.0/24".parse().unwrap());
    let range = Key::Range("10.96.0.0/12".parse().unwrap());
    let mut model = model(&BTreeMap::from([
        (service, announce("10.96.0.1/32")),
        (range, announce("10.96.0.0/12")),
        (pods, announce("10.1.0.0/24")),
    ]));
    let mut state = told(&model);
    assert_eq!(state.prefixes.len(), 3);
    for (withheld, left) in [(true, 1), (true, 1), (false, 3)] {
        let mut dirty = Dirty::default();
        model.withhold(withheld, &mut dirty);
        Plan::between(&state, &model, &dirty).applied_to(&mut state);
        assert_eq!((state.prefixes.len(), state.ours.len()), (left, 3));
        assert_eq!(state, told(&model));
    }
}
