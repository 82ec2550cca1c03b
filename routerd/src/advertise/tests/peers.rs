//! Whom a node peers with: the mesh, ASes, reflectors, external peers.

use super::*;
use crate::cluster::Passwords;
use crate::config::PeerConfig as FlagPeer;

/// A node with one IPv4 address and these annotations, without `kube-router.io/` in front.
fn annotated(name: &str, last: u8, annotations: &[(&str, &str)]) -> Event {
    let pairs = annotations.iter().map(|(key, value)| (format!("kube-router.io/{key}"), (*value).to_owned()));
    Event::Upsert(Object::Node(Node {
        name: name.into(),
        internal_addresses: vec![IpAddr::from([192, 0, 2, last])],
        annotations: pairs.collect(),
        ..Node::default()
    }))
}

fn peers_of(plane: &Advertise, own: &str, nodes: &[Event]) -> BTreeMap<String, Peer> {
    let desired = desired(plane, &index(own, nodes.iter().cloned()));
    let peer = |(key, value)| match (key, value) {
        (Key::Node(name), Value::Peer(peer)) => Some((name, *peer)),
        (Key::Peer(address), Value::Peer(peer)) => Some((address.to_string(), *peer)),
        _ => None,
    };
    desired.into_iter().filter_map(peer).collect()
}

fn names(peers: &BTreeMap<String, Peer>) -> Vec<&str> {
    peers.keys().map(String::as_str).collect()
}

#[test]
fn without_a_full_mesh_nodes_of_one_as_peer() {
    let plane = Advertise { bgp: BgpConfig { full_mesh: false, ..bgp() }, ..plane() };
    let nodes = [
        annotated("a", 1, &[("node.asn", "64600")]),
        annotated("b", 2, &[("node.asn", "64600")]),
        annotated("c", 3, &[("node.asn", "64601")]),
        annotated("d", 4, &[]),
    ];
    let peers = peers_of(&plane, "a", &nodes);
    assert_eq!(names(&peers), ["b"]);
    assert_eq!(peers["b"].config.asn, 64600);
    let wrong = plane.desired(&index("d", nodes), &Key::Speaker);
    assert!(matches!(wrong, Some(Value::Wrong(reason)) if reason.contains("kube-router.io/node.asn")));
}

#[test]
fn clients_peer_with_reflectors_only_and_both_ends_find_the_same() {
    let nodes = [
        annotated("plain", 1, &[]),
        annotated("server1", 2, &[("rr.server", "1")]),
        annotated("server2", 3, &[("rr.server", "2")]),
        annotated("client1", 4, &[("rr.client", "1")]),
        annotated("client2", 5, &[("rr.client", "0.0.0.2")]),
        // Of a cluster without a reflector: kube-router never compared the numbers.
        annotated("stray", 6, &[("rr.client", "9")]),
    ];
    let of = |name: &str| peers_of(&plane(), name, &nodes);
    assert_eq!(names(&of("client1")), ["server1"]);
    assert_eq!(names(&of("client2")), ["server2"]);
    assert_eq!(names(&of("stray")), ["server1", "server2"]);
    assert_eq!(names(&of("plain")), ["server1", "server2"]);
    let server = of("server1");
    assert_eq!(names(&server), ["client1", "plain", "server2", "stray"]);
    let id = Some(std::net::Ipv4Addr::new(0, 0, 0, 1));
    assert_eq!(server["client1"].config.reflector_client, id);
    assert_eq!(server["plain"].config.reflector_client, None);
    assert!(server["plain"].config.export.learnt && !of("plain")["server1"].config.export.learnt);
}

#[test]
fn a_node_that_becomes_a_reflector_changes_the_sessions_of_all() {
    let mut index = index(
        "a",
        [annotated("a", 1, &[]), annotated("b", 2, &[]), annotated("c", 3, &[("rr.client", "7")])],
    );
    let change = index.apply(annotated("b", 2, &[("rr.server", "7")])).unwrap();
    let touched = plane().touched(&index, &change);
    assert!(touched.contains(&Key::Node("c".into())), "{touched:?}");
    // An annotation that says nothing of BGP does not.
    let change = index.apply(annotated("b", 2, &[("rr.server", "7"), ("other", "x")])).unwrap();
    assert_eq!(plane().touched(&index, &change), BTreeSet::from([Key::Node("b".into())]));
}

const PEERS: (&str, &str) = (
    "peers",
    "[{remoteip: 192.0.2.9, remoteasn: 65001, bfd: {enabled: true}}, {remoteip: '2001:db8::9', remoteasn: 65001}]",
);

#[test]
fn external_peers_are_those_of_the_annotation_and_each_fails_alone() {
    let own = annotated(
        "a",
        1,
        &[
            PEERS,
            ("node.bgp.communities", "64512:7"),
            ("path-prepend.as", "64512"),
            ("path-prepend.repeat-n", "2"),
        ],
    );
    let desired = desired(&plane(), &index("a", [own]));
    let Value::Peer(peer) = &desired[&Key::Peer("192.0.2.9".parse().unwrap())] else { panic!("{desired:?}") };
    assert_eq!(peer.config.local_address, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(peer.config.export.communities.standard, [64512 << 16 | 7]);
    assert_eq!(peer.config.export.prepend.map(|prepend| prepend.times), Some(2));
    assert!(peer.config.export.outside && !peer.config.export.learnt && peer.bfd.is_some());
    assert!(!desired.contains_key(&Key::Peer("2001:db8::9".parse().unwrap())));
    let wrong = &desired[&Key::Node("a".into())];
    assert!(
        matches!(wrong, Value::Wrong(reason) if reason.contains("peer 2001:db8::9: this node has no IPv6 address")),
        "{wrong:?}"
    );
}

#[test]
fn peers_of_flags_are_those_of_every_node_and_annotations_name_none_then() {
    let flag = FlagPeer { address: IpAddr::from([192, 0, 2, 77]), asn: 65001, port: 1179, password: None };
    let bgp = BgpConfig {
        peers: vec![flag],
        multihop_ttl: 4,
        graceful_restart: None,
        override_next_hop: true,
        ..bgp()
    };
    let plane = Advertise { bgp, ..plane() };
    let peers = peers_of(&plane, "a", &[annotated("a", 1, &[PEERS])]);
    assert_eq!(names(&peers), ["192.0.2.77"]);
    let config = &peers["192.0.2.77"].config;
    assert_eq!((config.port, config.ttl, config.graceful_restart), (1179, bgp::Ttl::Multihop(4), None));
    assert!(config.export.next_hop_self);
}

#[test]
fn the_most_prefixes_of_a_peer_and_its_distance_are_its_own_settings() {
    let list = "[{remoteip: 192.0.2.9, remoteasn: 65001, maxprefixes: 1000, ttlsecurity: 1, bfd: {enabled: true}}, {remoteip: 192.0.2.8, remoteasn: 65001, ttlsecurity: 3, bfd: {enabled: true}}, {remoteip: 192.0.2.7, remoteasn: 65001}, {remoteip: 192.0.2.6, remoteasn: 65001, maxprefixes: 0}, {remoteip: 192.0.2.5, remoteasn: 65001, ttlsecurity: 0}]";
    let plane = Advertise { bgp: BgpConfig { multihop_ttl: 4, ..bgp() }, ..plane() };
    let own = annotated("a", 1, &[("peers", list)]);
    let peers = peers_of(&plane, "a", std::slice::from_ref(&own));
    let of = |last: u8| {
        let peer = &peers[&format!("192.0.2.{last}")];
        (
            peer.config.ttl,
            peer.config.prefix_limit.map(|limit| limit.most),
            peer.bfd.is_some_and(|bfd| bfd.multihop),
        )
    };
    assert_eq!(of(9), (bgp::Ttl::Security(1), Some(1000), false));
    assert_eq!(of(8), (bgp::Ttl::Security(3), None, true));
    assert_eq!(of(7), (bgp::Ttl::Multihop(4), None, false));
    assert_eq!(names(&peers), ["192.0.2.7", "192.0.2.8", "192.0.2.9"]);
    let wrong = desired(&plane, &index("a", [own]))[&Key::Node("a".into())].problem().unwrap().to_owned();
    assert!(wrong.contains("item 4: maxprefixes") && wrong.contains("item 5: ttlsecurity"), "{wrong}");
}

#[test]
fn a_node_that_is_drained_asks_its_routers_to_go_elsewhere() {
    let mut event = annotated("a", 1, &[PEERS]);
    let shut = |event: &Event| {
        let peers = peers_of(&plane(), "a", std::slice::from_ref(event));
        peers["192.0.2.9"].config.export.communities.standard.contains(&0xffff_0000)
    };
    assert!(!shut(&event));
    let Event::Upsert(Object::Node(node)) = &mut event else { panic!("a node") };
    node.unschedulable = true;
    assert!(shut(&event));
}

const BY_KEY: (&str, &str) = (
    "peers",
    "[{remoteip: 192.0.2.9, remoteasn: 65001, passwordkey: tor}, {remoteip: 192.0.2.8, remoteasn: 65001}, {remoteip: 192.0.2.7, remoteasn: 65001, passwordkey: tor, tcpao: {sendid: 7}}]",
);

fn passwords(pairs: &[(&str, &str)]) -> Event {
    let by_key = pairs.iter().map(|(key, secret)| ((*key).to_owned(), secret.as_bytes().to_vec())).collect();
    Event::Passwords(Passwords { by_key, ..Passwords::default() })
}

#[test]
fn a_password_of_a_mounted_secret_is_its_peers_only_and_without_it_there_is_no_session() {
    let plane = plane();
    let mut index = index("a", [annotated("a", 1, &[BY_KEY])]);
    let mut kept = desired(&plane, &index);
    let of =
        |kept: &BTreeMap<Key, Value>, last: u8| match kept.get(&Key::Peer(IpAddr::from([192, 0, 2, last]))) {
            Some(Value::Peer(peer)) => Some(peer.config.clone()),
            _ => None,
        };
    let other = of(&kept, 8).unwrap();
    assert!(of(&kept, 9).is_none());
    let wrong = &kept[&Key::Node("a".into())];
    assert!(matches!(wrong, Value::Wrong(reason) if reason.contains("no password \"tor\"")), "{wrong:?}");
    for secret in ["one", "two"] {
        let change = index.apply(passwords(&[("tor", secret), ("unused", "x")])).unwrap();
        for key in plane.touched(&index, &change) {
            match plane.desired(&index, &key) {
                Some(value) => kept.insert(key, value),
                None => kept.remove(&key),
            };
        }
        assert_eq!(kept, desired(&plane, &index));
        let md5 = bgp::Password::new(secret).unwrap();
        let key = bgp::ao::Key { send_id: 7, receive_id: 7, algorithm: bgp::ao::Algorithm::HmacSha1 };
        assert_eq!(of(&kept, 9).unwrap().password, Some(md5.clone()));
        assert_eq!(of(&kept, 7).unwrap().password, Some(md5.signing(bgp::Signature::Ao(key))));
        assert_eq!(of(&kept, 8), Some(other.clone()));
        assert!(!kept.contains_key(&Key::Node("a".into())));
    }
    assert_eq!(index.apply(passwords(&[("tor", "two"), ("unused", "x")])), None);
}

#[test]
fn the_file_of_passwords_is_the_one_that_holds_now() {
    let flag = |last| FlagPeer {
        address: IpAddr::from([192, 0, 2, last]),
        asn: 65001,
        port: 179,
        password: Some(b"old".to_vec()),
    };
    let plane = Advertise { bgp: BgpConfig { peers: vec![flag(7), flag(8)], ..bgp() }, ..plane() };
    let password = |events: &[Event], name: &str| peers_of(&plane, "a", events)[name].config.password.clone();
    let own = annotated("a", 1, &[]);
    let of = |secret: &str| Some(bgp::Password::new(secret).unwrap());
    assert_eq!(password(std::slice::from_ref(&own), "192.0.2.8"), of("old"));
    let of_flags = Some(vec![None, Some(b"new".to_vec())]);
    let events = [own, Event::Passwords(Passwords { of_flags, ..Passwords::default() })];
    assert_eq!((password(&events, "192.0.2.7"), password(&events, "192.0.2.8")), (None, of("new")));
}

#[test]
fn what_is_wrong_is_looked_at_once_in_a_look_at_everything_and_what_is_gone_too() {
    let wrong = |name: &str| (Key::Node(name.to_owned()), Value::Wrong("no AS".to_owned()));
    let model = model(&[wrong("a"), wrong("gone")].into());
    let desired = BTreeMap::from([wrong("a"), wrong("new")]);
    let names = ["a", "gone", "new"].map(|name| Key::Node(name.to_owned()));
    assert_eq!(model.concerned(&desired, &Scope::Everything), names.into());
    let gone = Key::Node("gone".to_owned());
    assert_eq!(model.concerned(&desired, &Scope::Keys([gone.clone()].into())), [gone].into());
}

#[test]
fn each_thing_that_is_wrong_with_a_node_is_a_problem_of_its_own() {
    let ns = TestNs::new("advertise");
    ns.run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]);
    ns.run_in(|| {
        let (runtime, mut one) = started();
        let annotations = [("rr.server", "x"), ("path-prepend.as", "64600")];
        one.plane.subscriber.start(&index("a", [annotated("a", 1, &annotations)]));
        runtime.block_on(async {
            let told =
                one.plane.status.wait_for(|status| status.problems.iter().any(|one| one.item == "Node a"));
            let told = tokio::time::timeout(Duration::from_mins(1), told).await.expect("problems").unwrap();
            let problems: Vec<_> = told.problems.iter().filter(|one| one.item == "Node a").collect();
            assert_eq!(problems.len(), 2, "{problems:?}");
            assert!(problems[0].message.contains("rr.server"), "{problems:?}");
            drop(told);
            one.link.stop().await;
        });
    });
}
