//! From nodes to peers and announcements, the law of plans, and two nodes that really speak BGP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bgp::{Announcement, Audience, PeerConfig};
use kernel::testing::TestNs;
use prefix::{Family, Prefix};
use proptest::prelude::*;

mod drain;
mod identity;
mod laws;
mod opens;
mod peers;
mod vips;

use super::*;
use crate::cluster::objects::{LearntRoute, Node, ObjectName};
use crate::cluster::{Event, Index, Object, ObjectKey};
use crate::config::{AdvertiseConfig, BgpConfig, RouterId};
use crate::runner::{Plane, Scope, Settings};
use crate::services::desired::Services;
use crate::services::dsr::Dsr;

fn bgp() -> BgpConfig {
    BgpConfig {
        asn: 64512,
        port: 179,
        hold_time: Duration::from_secs(3),
        router_id: RouterId::NodeAddress,
        ibgp: true,
        full_mesh: true,
        peers: Vec::new(),
        multihop_ttl: 0,
        bfd: None,
        graceful_restart: Some(Duration::from_secs(90)),
        password_folder: "/nonexistent".into(),
        passwords_file: None,
        drain_time: Duration::from_secs(1),
        override_next_hop: false,
        advertise: AdvertiseConfig { pod_cidrs: true, ..AdvertiseConfig::default() },
    }
}

fn plane() -> Advertise {
    Advertise {
        families: Family::BOTH.to_vec(),
        bgp: bgp(),
        services: Services::default(),
        direct: Dsr::default(),
        programmed_by: None,
    }
}

fn node(name: &str, ranges: &[&str], addresses: &[&str]) -> Event {
    Event::Upsert(Object::Node(Node {
        name: name.into(),
        pod_cidrs: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        internal_addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ..Node::default()
    }))
}

fn index(own: &str, events: impl IntoIterator<Item = Event>) -> Index {
    let mut index = Index::new(own);
    for event in events {
        index.apply(event);
    }
    index
}

fn desired(plane: &Advertise, index: &Index) -> BTreeMap<Key, Value> {
    plane.keys(index).into_iter().filter_map(|key| Some((key.clone(), plane.desired(index, &key)?))).collect()
}

#[test]
fn every_other_node_is_a_peer_for_the_families_both_have() {
    let index = index(
        "node1",
        [
            node("node1", &["10.244.1.0/24", "fd00:1::/64"], &["192.0.2.1", "2001:db8::1"]),
            node("dual", &[], &["2001:db8::2", "192.0.2.2"]),
            node("v6only", &[], &["2001:db8::3"]),
            node("bare", &[], &[]),
            node("copy", &[], &["192.0.2.1"]),
        ],
    );
    let desired = desired(&plane(), &index);
    let Value::Speaker(identity) = &desired[&Key::Speaker] else { panic!("no speaker") };
    assert_eq!(identity.router_id.to_string(), "192.0.2.1");
    assert_eq!(identity.listen, ["192.0.2.1:179".parse().unwrap(), "[2001:db8::1]:179".parse().unwrap()]);
    let peer = |name: &str| match &desired[&Key::Node(name.into())] {
        Value::Peer(peer) => {
            let peer = &peer.config;
            Ok((peer.address.to_string(), peer.families.len(), peer.local_address.unwrap().to_string()))
        }
        other => Err(format!("{other:?}")),
    };
    assert_eq!(peer("dual"), Ok(("192.0.2.2".into(), 2, "192.0.2.1".into())));
    assert_eq!(peer("v6only"), Ok(("2001:db8::3".into(), 1, "2001:db8::1".into())));
    assert!(peer("bare").unwrap_err().contains("no address"));
    assert!(peer("copy").unwrap_err().contains("own address"));
    assert!(!desired.contains_key(&Key::Node("node1".into())));
    let announced = |text: &str| {
        let prefix = text.parse().unwrap();
        match &desired[&Key::Prefix(prefix)] {
            Value::Announce(all) => {
                let told = all[&prefix].as_ref().unwrap();
                (told.next_hop.to_string(), told.audience)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(announced("10.244.1.0/24"), ("192.0.2.1".to_owned(), Audience::Everybody));
    assert_eq!(announced("fd00:1::/64"), ("2001:db8::1".to_owned(), Audience::Everybody));
}

#[test]
fn both_nodes_choose_the_same_session_whatever_the_order_of_their_addresses() {
    let nodes =
        || [node("a", &[], &["192.0.2.1", "2001:db8::1"]), node("b", &[], &["2001:db8::2", "192.0.2.2"])];
    let seen = |own: &str, other: &str| {
        let desired = desired(&plane(), &index(own, nodes()));
        let Value::Peer(peer) = desired[&Key::Node(other.into())].clone() else { panic!("no peer") };
        (peer.config.local_address.unwrap(), peer.config.address)
    };
    let (local, remote) = seen("a", "b");
    assert_eq!(seen("b", "a"), (remote, local));
}

#[test]
fn without_ibgp_there_are_no_peers_but_the_speaker_is_there() {
    let plane = Advertise { bgp: BgpConfig { ibgp: false, ..bgp() }, ..plane() };
    let nodes = [node("a", &["10.1.0.0/24"], &["192.0.2.1"]), node("b", &[], &["192.0.2.2"])];
    assert_eq!(model(&desired(&plane, &index("a", nodes))).counts(), (0, 1));
}

#[test]
fn a_wrong_own_object_says_what_to_do() {
    let reason = |index: &Index| match plane().desired(index, &Key::Speaker) {
        Some(Value::Wrong(reason) | Value::Unknown(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(&index("a", [])).contains("--hostname-override"));
    assert!(reason(&index("a", [node("a", &[], &["2001:db8::1"])])).contains("--router-id"));
    let desired = desired(&plane(), &index("a", [node("a", &["fd00::/64"], &["192.0.2.1"])]));
    let key = Key::Prefix("fd00::/64".parse().unwrap());
    assert!(matches!(&desired[&key], Value::Wrong(reason) if reason.contains("IPv6")));
}

#[test]
fn of_two_nodes_with_one_address_one_is_reported() {
    let nodes =
        [node("a", &[], &["192.0.2.1"]), node("b", &[], &["192.0.2.2"]), node("c", &[], &["192.0.2.2"])];
    let model = model(&desired(&plane(), &index("a", nodes)));
    assert_eq!(model.counts().0, 1);
    let doubled: Vec<_> = model.doubled().collect();
    assert_eq!(doubled, [(&Key::Node("c".into()), "192.0.2.2".parse::<IpAddr>().unwrap())]);
}

#[test]
fn what_a_change_touches_is_enough() {
    // Values computed key by key after each change must be what a full look gives.
    let steps = [
        node("a", &["10.1.0.0/24"], &["192.0.2.1"]),
        node("b", &["10.2.0.0/24"], &["192.0.2.2"]),
        node("b", &["10.2.0.0/24"], &["192.0.2.3", "2001:db8::3"]),
        node("a", &["10.1.0.0/24", "fd00::/64"], &["192.0.2.1", "2001:db8::1"]),
        node("a", &["fd00::/64"], &["2001:db8::1"]),
        Event::Delete(ObjectKey::Node("b".into())),
        Event::Delete(ObjectKey::Node("a".into())),
    ];
    let plane = plane();
    let mut index = Index::new("a");
    let mut kept = desired(&plane, &index);
    for step in steps {
        let Some(change) = index.apply(step) else { continue };
        for key in plane.touched(&index, &change) {
            match plane.desired(&index, &key) {
                Some(value) => kept.insert(key, value),
                None => kept.remove(&key),
            };
        }
        assert_eq!(kept, desired(&plane, &index), "{change:?}");
    }
}

/// The plane, running for IPv4 in this thread's namespace.
fn started() -> (tokio::runtime::Runtime, Advertising) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let one = start(bgp(), vec![Family::V4], Served::default(), &handle, Settings::default()).unwrap();
    (runtime, one)
}

#[test]
fn a_node_that_had_lost_its_address_to_another_has_it_when_that_is_gone() {
    let ns = TestNs::new("advertise");
    ns.run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]);
    ns.run_in(|| {
        let (runtime, mut one) = started();
        let nodes =
            [node("a", &[], &["192.0.2.1"]), node("b", &[], &["192.0.2.2"]), node("c", &[], &["192.0.2.2"])];
        let mut index = index("a", nodes);
        one.plane.subscriber.start(&index);
        runtime.block_on(async {
            let told = one
                .plane
                .status
                .wait_for(|status| status.problems.iter().any(|problem| problem.item == "Node c"));
            tokio::time::timeout(Duration::from_mins(1), told).await.expect("a problem").unwrap();
            let change = index.apply(Event::Delete(ObjectKey::Node("b".into()))).unwrap();
            one.plane.subscriber.changed(&index, &[change], Vec::new());
            let gone = one.plane.status.wait_for(|status| status.problems.is_empty());
            tokio::time::timeout(Duration::from_mins(1), gone).await.expect("the problem goes").unwrap();
            one.link.stop().await;
        });
    });
}

/// Keys that claim a few peers and prefixes, often the same ones.
fn any_desired() -> impl Strategy<Value = BTreeMap<Key, Value>> {
    let peers = proptest::collection::btree_map(0..4_u8, (0..3_u8, any::<bool>()), 0..4);
    let services = proptest::collection::btree_map(
        0..4_u8,
        proptest::collection::btree_map(0..4_u8, 0..3_u8, 0..4),
        0..4,
    );
    (peers, services).prop_map(|(peers, services)| {
        let peers = peers.into_iter().map(|(name, (last, passive))| {
            let config = PeerConfig { passive, ..PeerConfig::new(IpAddr::from([192, 0, 2, last]), 64512) };
            (Key::Node(name.to_string()), Value::Peer(Box::new(Peer { config, bfd: None })))
        });
        let services = services.into_iter().map(|(name, prefixes)| {
            let all = prefixes.into_iter().map(|(net, hop)| {
                let announcement = (hop > 0).then(|| Announcement::via(IpAddr::from([192, 0, 2, hop])));
                (Prefix::new(IpAddr::from([10, net, 0, 0]), 24).unwrap(), announcement)
            });
            let name = ObjectName::new("ns", name.to_string());
            (Key::Service(name), Value::Announce(all.collect()))
        });
        peers.chain(services).collect()
    })
}

fn model(desired: &BTreeMap<Key, Value>) -> Model {
    let (mut model, mut dirty) = (Model::default(), Dirty::default());
    for (key, value) in desired {
        model.put(key, Some(value), &mut dirty);
    }
    model
}

/// What a speaker is told that is told all at once.
fn told(model: &Model) -> State {
    let mut state = State::default();
    Plan::between(&state, model, &model.all()).applied_to(&mut state);
    state
}

proptest! {
    /// Whatever came before, and in whichever order the keys change: what is told is what would be told at once, and
    /// nothing is told twice.
    #[test]
    fn changes_key_by_key_come_to_what_is_desired(steps in proptest::collection::vec(any_desired(), 1..6)) {
        let (mut kept, mut state) = (Model::default(), State::default());
        for desired in steps {
            let keys = kept.concerned(&desired, &Scope::Everything);
            let mut dirty = Dirty::default();
            for key in &keys {
                kept.put(key, desired.get(key), &mut dirty);
            }
            let wanted = told(&model(&desired));
            let plan = Plan::between(&state, &kept, &dirty);
            prop_assert_eq!(plan.is_empty(), state == wanted);
            plan.applied_to(&mut state);
            prop_assert_eq!(&state, &wanted);
            prop_assert!(Plan::between(&state, &kept, &dirty).is_empty());
        }
    }
}

/// The routes that a node has learnt, as its index would hold them.
struct Learnt<'a>(&'a mut Advertising, BTreeMap<Prefix, Vec<IpAddr>>);

impl Learnt<'_> {
    async fn wait_for(&mut self, expected: &[(&str, &str)]) {
        let expected: BTreeMap<Prefix, Vec<IpAddr>> = expected
            .iter()
            .map(|(prefix, hop)| (prefix.parse().unwrap(), vec![hop.parse().unwrap()]))
            .collect();
        while self.1 != expected {
            let batch = tokio::time::timeout(Duration::from_mins(1), self.0.routes.recv()).await;
            let Ok(Some(batch)) = batch else { panic!("has {:?}, not {expected:?}", self.1) };
            for LearntRoute { prefix, next_hops } in batch {
                if next_hops.is_empty() {
                    self.1.remove(&prefix);
                } else {
                    self.1.insert(prefix, next_hops.to_vec());
                }
            }
        }
    }
}

#[test]
fn two_nodes_learn_each_others_pods_and_forget_them() {
    let ns = TestNs::new("advertise");
    for address in ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128", "2001:db8::2/128"] {
        ns.run("ip", &["address", "add", address, "dev", "lo", "nodad"]);
    }
    let a = || node("a", &["10.1.0.0/24", "fd00:1::/64"], &["192.0.2.1", "2001:db8::1"]);
    let b = || node("b", &["10.2.0.0/24", "fd00:2::/64"], &["192.0.2.2", "2001:db8::2"]);
    ns.run_in(|| {
        // Threads of a runtime are in the namespace of the thread that makes it.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let made = || {
            start(bgp(), Family::BOTH.to_vec(), Served::default(), runtime.handle(), Settings::default())
                .unwrap()
        };
        let (mut one, mut two) = (made(), made());
        let mut index_a = index("a", [a(), b()]);
        one.plane.subscriber.start(&index_a);
        two.plane.subscriber.start(&index("b", [a(), b()]));
        runtime.block_on(async {
            let mut seen = Learnt(&mut one, BTreeMap::new());
            seen.wait_for(&[("10.2.0.0/24", "192.0.2.2"), ("fd00:2::/64", "2001:db8::2")]).await;
            Learnt(&mut two, BTreeMap::new())
                .wait_for(&[("10.1.0.0/24", "192.0.2.1"), ("fd00:1::/64", "2001:db8::1")])
                .await;
            // The status shows the session within its period.
            let shown = seen.0.status.wait_for(|value| {
                value["peers"][0]["state"] == "Established" && value["peers"][0]["received"] == 2
            });
            tokio::time::timeout(Duration::from_mins(1), shown).await.expect("the status shows it").unwrap();
            // The node's object is gone: its routes go, though its daemon runs on.
            let change = index_a.apply(Event::Delete(ObjectKey::Node("b".into()))).unwrap();
            seen.0.plane.subscriber.changed(&index_a, &[change], Vec::new());
            seen.wait_for(&[]).await;
            // A daemon that ends leaves its routes with others for the hold time, no longer.
            let change = index_a.apply(b()).unwrap();
            seen.0.plane.subscriber.changed(&index_a, &[change], Vec::new());
            seen.wait_for(&[("10.2.0.0/24", "192.0.2.2"), ("fd00:2::/64", "2001:db8::2")]).await;
            let start = Instant::now();
            two.link.stop().await;
            seen.wait_for(&[]).await;
            assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
        });
        let status = one.plane.status.borrow().clone();
        assert_eq!(status.problems, []);
        assert_eq!(status.counts, BTreeMap::from([("peers", 1), ("prefixes", 2)]));
    });
}

#[test]
fn a_port_that_is_taken_is_a_problem_until_it_is_free() {
    let ns = TestNs::new("advertise");
    ns.run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]);
    ns.run_in(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let taken = std::net::TcpListener::bind("192.0.2.1:179").unwrap();
        let mut one =
            start(bgp(), vec![Family::V4], Served::default(), runtime.handle(), Settings::default()).unwrap();
        one.plane.subscriber.start(&index("a", [node("a", &["10.1.0.0/24"], &["192.0.2.1"])]));
        runtime.block_on(async {
            let told = one.plane.status.wait_for(|status| {
                status.problems.iter().any(|problem| problem.item == "listener 192.0.2.1:179")
            });
            tokio::time::timeout(Duration::from_mins(1), told).await.expect("a problem").unwrap();
            drop(taken);
            let gone = one.plane.status.wait_for(|status| status.problems.is_empty());
            tokio::time::timeout(Duration::from_mins(1), gone).await.expect("the problem goes").unwrap();
            one.link.stop().await;
        });
    });
}
