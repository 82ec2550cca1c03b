//! Whatever happens, in whichever order: what is kept key by key is what a look at everything gives, and a speaker that was
//! told step by step has been told what it would be told at once.

use super::vips::{in_force, programmed, put, service, slice};
use super::*;
use crate::cluster::objects::Pod;
use crate::cluster::{ForceNews, Passwords};

const ADDRESSES: [&str; 3] = ["10.96.0.10", "203.0.113.7", "203.0.113.8"];

fn name(text: &str) -> ObjectName {
    ObjectName::new("ns", text)
}

/// This node: cordoned, left alone by load balancers, with a peer whose password is in a Secret.
fn own(cordoned: bool, excluded: bool, peer: bool) -> Event {
    let label = "node.kubernetes.io/exclude-from-external-load-balancers".to_owned();
    let peers = "[{remoteip: 192.0.2.9, remoteasn: 65001, passwordkey: tor}]".to_owned();
    Event::Upsert(Object::Node(Node {
        name: "a".into(),
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
        internal_addresses: vec!["192.0.2.1".parse().unwrap()],
        labels: excluded.then(|| (label, String::new())).into_iter().collect(),
        annotations: peer.then(|| ("kube-router.io/peers".to_owned(), peers)).into_iter().collect(),
        unschedulable: cordoned,
        ..Node::default()
    }))
}

fn any_event() -> impl Strategy<Value = Event> {
    let of_service = |number: bool| if number { "web" } else { "db" };
    let object = |object: ObjectKey| Just(Event::Delete(object));
    let news = prop_oneof![
        proptest::collection::btree_map(0..3_usize, any::<bool>(), 0..3)
            .prop_map(|some| ForceNews::Some(some.into_iter().map(|(at, on)| (address(at), on)).collect())),
        proptest::collection::btree_set(0..3_usize, 0..3)
            .prop_map(|all| ForceNews::All(all.into_iter().map(address).collect())),
        Just(ForceNews::Unknown),
    ];
    prop_oneof![
        any::<[bool; 3]>().prop_map(|[cordoned, excluded, peer]| own(cordoned, excluded, peer)),
        (2..4_u8).prop_map(|last| node("b", &["10.244.2.0/24"], &[&format!("192.0.2.{last}")])),
        object(ObjectKey::Node("b".into())),
        any::<[bool; 3]>().prop_map(move |[which, local, wrong]| {
            let mut one = service(of_service(which));
            one.external_local = local;
            if wrong {
                one.annotations.insert("kube-router.io/service.bgp.communities".into(), "what".into());
            }
            put(one)
        }),
        any::<bool>().prop_map(move |which| Event::Delete(ObjectKey::Service(name(of_service(which))))),
        any::<[bool; 3]>().prop_map(move |[which, here, ready]| slice(
            of_service(which),
            if here { "a" } else { "b" },
            ready
        )),
        news.prop_map(in_force),
        any::<bool>().prop_map(|there| {
            let by_key = there.then(|| ("tor".to_owned(), b"s3cret".to_vec())).into_iter().collect();
            Event::Passwords(Passwords { by_key, ..Passwords::default() })
        }),
        any::<bool>().prop_map(|drain_leaves| {
            let node = Some("a".to_owned());
            Event::Upsert(Object::Pod(Pod { name: name("pod"), node, drain_leaves, ..Pod::default() }))
        }),
        object(ObjectKey::Pod(name("pod"))),
    ]
}

fn address(at: usize) -> IpAddr {
    ADDRESSES[at].parse().unwrap()
}

proptest! {
    #[test]
    fn what_a_change_touches_is_enough_whatever_happens(events in proptest::collection::vec(any_event(), 1..30)) {
        let plane = programmed();
        let mut index = Index::new("a");
        let mut kept = desired(&plane, &index);
        let (mut kept_model, mut state) = (model(&kept), State::default());
        Plan::between(&state, &kept_model, &kept_model.all()).applied_to(&mut state);
        for event in events {
            let Some(change) = index.apply(event) else { continue };
            let mut dirty = Dirty::default();
            for key in plane.touched(&index, &change) {
                let value = plane.desired(&index, &key);
                kept_model.put(&key, value.as_ref(), &mut dirty);
                match value {
                    Some(value) => kept.insert(key, value),
                    None => kept.remove(&key),
                };
            }
            let all = desired(&plane, &index);
            prop_assert_eq!(&kept, &all, "{:?}", change);
            Plan::between(&state, &kept_model, &dirty).applied_to(&mut state);
            prop_assert_eq!(&state, &told(&model(&all)));
            for prefix in state.prefixes.keys().filter(|prefix| prefix.is_host()) {
                prop_assert!(index.is_in_force(&prefix.address()), "{} is announced and not in the kernel", prefix);
            }
        }
    }
}
