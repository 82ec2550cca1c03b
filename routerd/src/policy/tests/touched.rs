//! A change touches every piece that it changes, and a small change few.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::fixture::{World, attachment, elsewhere, labels, name, pod, policy, with_port};
use crate::cluster::objects::Namespace;
use crate::cluster::{Event, Object, ObjectKey};
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
    assert_eq!(kinds, [false, true], "{touched:?}");
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
    fn whatever_happens_each_piece_that_changes_is_touched(events in events()) {
        let mut world = World::new();
        let mut before = world.desired();
        for event in events {
            let told = format!("{event:?}");
            let touched = world.event(event);
            let after = world.desired();
            let missed: Vec<_> = differing(&before, &after).difference(&touched).cloned().collect();
            prop_assert!(missed.is_empty(), "{} changed {:?}, which it does not touch", told, missed);
            before = after;
        }
    }

    #[test]
    fn a_key_that_is_not_listed_has_no_value(events in events()) {
        let mut world = World::new();
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
}
