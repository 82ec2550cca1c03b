//! A change touches every piece that it changes, and a small change few.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fixture::{World, attachment, elsewhere, ip, labels, name, pod, policy, with_port};
use crate::cluster::objects::Namespace;
use crate::cluster::{Event, Object, ObjectKey};
use crate::policy::admits::{First, Judge};
use crate::policy::{PolicyKey, PolicyValue};

#[test]
fn a_label_change_touches_the_pod_and_the_groups_it_enters_or_leaves() {
    let mut world = World::new();
    for number in 2..50 {
        world.pod(pod(&format!("default/web-{number}"), "app=web", &format!("10.244.1.{number}")));
        world.policy(
            &format!("default/p{number}"),
            &format!("podSelector: {{}}\ningress: [{{from: [{{podSelector: {{matchLabels: {{number: n{number}}}}}}}]}}]"),
        );
    }
    let touched = world.pod(pod("default/web-7", "app=web,number=n9", "10.244.1.7"));
    let kinds: Vec<_> = touched.iter().map(|key| matches!(key, PolicyKey::Group(_))).collect();
    assert_eq!(kinds, [false, true, false, false], "{touched:?}");
    let of_crowd = touched.iter().filter(|key| matches!(key, PolicyKey::Member(..) | PolicyKey::Class(..)));
    assert_eq!(of_crowd.count(), 2, "48 policies are a crowd: {touched:?}");
}

#[test]
fn what_does_not_matter_touches_nothing() {
    let mut world = World::new();
    world.pod(pod("default/web", "app=web", "10.244.1.2"));
    world.policy("default/p", "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {a: b}}}]}]");
    let stranger = elsewhere(pod("other/x", "q=r", "10.244.2.9"));
    assert_eq!(world.pod(stranger.clone()), BTreeSet::new());
    assert_eq!(world.pod(stranger), BTreeSet::new(), "the same again");
    let other = Object::Namespace(Namespace { name: "other".into(), labels: labels("new=label") });
    assert_eq!(world.put(other), BTreeSet::new());
}

/// One event of a small world, where things collide often.
fn event() -> impl Strategy<Value = Event> {
    let pod_name = prop_oneof![Just("default/a"), Just("default/b"), Just("other/a"), Just("other/c")];
    let some_labels = prop_oneof![Just(""), Just("app=x"), Just("app=y"), Just("app=x,tier=1")];
    let address =
        prop_oneof![Just("10.244.1.2"), Just("10.244.1.3"), Just("10.244.1.2 fd00:244:1::2"), Just("")];
    let upsert = (pod_name.clone(), some_labels.clone(), address.clone(), any::<[bool; 4]>(), 0..3u16)
        .prop_map(|(of, labels, address, [far, host, done, uid], port)| {
            let mut pod = with_port(pod(of, labels, address), "http", 80 + port);
            pod = if far { elsewhere(pod) } else { pod };
            pod.host_network = host && done;
            pod.finished = done && !host;
            pod.uid = if uid { "u1".into() } else { "u2".into() };
            Event::Upsert(Object::Pod(pod))
        });
    let attach = (pod_name.clone(), 0..3u8, address, proptest::option::of(Just("u1".to_owned()))).prop_map(
        |(of, container, address, uid)| {
            let mut attachment = attachment(of, &format!("c{container}"), address);
            attachment.uid = uid;
            Event::Attach(attachment)
        },
    );
    let namespace = (prop_oneof![Just("default"), Just("other")], some_labels).prop_map(|(of, with)| {
        Event::Upsert(Object::Namespace(Namespace { name: of.into(), labels: labels(with) }))
    });
    prop_oneof![
        5 => upsert,
        3 => attach,
        2 => (0..3u8).prop_map(|container| Event::Detach(format!("c{container}"), "eth0".into())),
        2 => pod_name.prop_map(|of| Event::Delete(ObjectKey::Pod(name(of)))),
        2 => namespace,
        1 => Just(Event::Delete(ObjectKey::Namespace("other".into()))),
        5 => policies(),
    ]
}

fn policies() -> impl Strategy<Value = Event> {
    let of = prop_oneof![Just("default/p"), Just("default/q"), Just("other/p")];
    let selector =
        prop_oneof![Just("{}"), Just("{matchLabels: {app: x}}"), Just("{matchLabels: {tier: '1'}}")];
    let peer = (selector.clone(), selector.clone(), 0..4u8).prop_map(|(namespaces, pods, kind)| match kind {
        0 => format!("{{podSelector: {pods}}}"),
        1 => format!("{{namespaceSelector: {namespaces}}}"),
        2 => format!("{{namespaceSelector: {namespaces}, podSelector: {pods}}}"),
        _ => "{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}".to_owned(),
    });
    let ports =
        prop_oneof![Just("[]"), Just("[{port: http}]"), Just("[{port: 80, endPort: 90}, {protocol: UDP}]")];
    let spec = (selector, peer, ports, any::<bool>()).prop_map(|(pods, peer, ports, ingress)| {
        let rule = format!("[{{{}: [{peer}], ports: {ports}}}]", if ingress { "from" } else { "to" });
        if ingress {
            format!("podSelector: {pods}\npolicyTypes: [Ingress]\ningress: {rule}")
        } else {
            format!("podSelector: {pods}\npolicyTypes: [Ingress, Egress]\negress: {rule}")
        }
    });
    (of, proptest::option::weighted(0.8, spec)).prop_map(|(of, spec)| match spec {
        Some(spec) => Event::Upsert(policy(of, &spec)),
        None => Event::Delete(ObjectKey::NetworkPolicy(name(of))),
    })
}

/// Sequences of events, also for the tests that write what comes out into a kernel.
pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(event(), 1..25)
}

fn differing(
    before: &BTreeMap<PolicyKey, PolicyValue>,
    after: &BTreeMap<PolicyKey, PolicyValue>,
) -> BTreeSet<PolicyKey> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(key) != after.get(key)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_at_once_each_piece_that_changes_is_touched(
        events in events(),
        at_once in 1..6usize,
        crowds in crowds(),
    ) {
        let mut world = World::crowded(crowds);
        let mut kept = world.desired();
        for batch in events.chunks(at_once) {
            let touched: BTreeSet<PolicyKey> =
                batch.iter().cloned().flat_map(|event| world.event(event)).collect();
            for key in touched {
                match world.value(&key) {
                    Some(value) => kept.insert(key, value),
                    None => kept.remove(&key),
                };
            }
            let all = world.desired();
            let missed = differing(&kept, &all);
            prop_assert!(missed.is_empty(), "{:?} changed {:?}, which they do not touch", batch, missed);
        }
        // And the index has taken in the objects alone, whatever their history.
        prop_assert_eq!(&anew(&world, crowds).desired(), &kept);
    }

    #[test]
    fn a_key_that_is_not_listed_has_no_value(events in events(), crowds in crowds()) {
        let mut world = World::crowded(crowds);
        let mut known = BTreeSet::new();
        for event in events {
            known.extend(world.event(event));
            let listed = world.desired();
            for key in &known {
                let value = world.value(key);
                prop_assert_eq!(value.as_ref(), listed.get(key));
            }
        }
    }

    #[test]
    fn policies_taken_together_admit_what_they_admit_one_by_one(events in events(), crowds in 0..3usize) {
        let (mut alone, mut together) = (World::crowded(usize::MAX), World::crowded(crowds));
        for event in events {
            alone.event(event.clone());
            together.event(event);
        }
        let (alone, together) = (alone.desired(), together.desired());
        let refused = BTreeMap::new();
        let (alone, together) = (Judge::new(&alone, &refused), Judge::new(&together, &refused));
        for first in firsts() {
            prop_assert_eq!(alone.admits(&first), together.admits(&first), "{:?}", first);
        }
    }
}

/// From how many rules on policies are a crowd: at once, soon, never.
fn crowds() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(3), Just(usize::MAX)]
}

/// An index with the same objects, which came in another order.
fn anew(world: &World, crowds: usize) -> World {
    let mut anew = World::crowded(crowds);
    let of = &world.index;
    let put = |world: &mut World, object| _ = world.put(object);
    anew.event(Event::Delete(ObjectKey::Namespace("other".into())));
    of.policies().values().rev().for_each(|one| put(&mut anew, Object::NetworkPolicy(one.as_ref().clone())));
    of.attachments().values().for_each(|one| _ = anew.event(Event::Attach(one.as_ref().clone())));
    of.pods().values().rev().for_each(|one| put(&mut anew, Object::Pod(one.as_ref().clone())));
    of.namespaces().values().for_each(|one| put(&mut anew, Object::Namespace(one.as_ref().clone())));
    anew
}

/// Packets between all addresses of the world, to ports that some rules name.
fn firsts() -> impl Iterator<Item = First> {
    let addresses =
        ["10.244.1.2", "10.244.1.3", "fd00:244:1::2", "10.1.2.3", "10.9.9.9", "2001:db8::9"].map(ip);
    let pairs =
        addresses.into_iter().flat_map(move |source| addresses.map(|destination| (source, destination)));
    pairs.flat_map(|(source, destination)| {
        let to = move |(protocol, port)| First { source, destination, port, protocol };
        [(6, 80), (6, 81), (6, 90), (6, 91), (17, 53), (132, 80)].map(to)
    })
}
