//! What speakers tell each other when all goes well.

use std::net::SocketAddr;

use super::kit::{ASN, Host, RawPeer, config, eventually, ip, net, passive, v6};
use crate::clock::ManualClock;
use crate::config::{Announcement, Communities, PeerConfig, SpeakerConfig};
use crate::fsm::State;
use crate::net::memory::Memory;
use crate::net::{Listener as _, Network as _};
use crate::packet::open::{encode_keepalive, encode_route_refresh};
use crate::packet::{Attributes, Context, Message, Refresh, encode_update};
use crate::policy::ExportRules;
use prefix::Family;

#[tokio::test]
async fn two_speakers_exchange_routes_of_both_families_and_withdrawals() {
    let network = Memory::new(ip(0));
    let (mut a, mut b) = (Host::start(&network, config(1)), Host::start(&network, config(2)));
    a.announce("10.1.0.0/24", ip(1)).await;
    a.announce("fd00:1::/64", v6(1)).await;
    b.announce("10.2.0.0/24", ip(2)).await;
    a.peer(2).await;
    b.peer(1).await;
    b.has(&[("10.1.0.0/24", &[ip(1)]), ("fd00:1::/64", &[v6(1)])]).await;
    a.has(&[("10.2.0.0/24", &[ip(2)])]).await;
    a.announce("10.1.1.0/24", ip(1)).await;
    a.handle.withdraw(net("10.1.0.0/24")).await.unwrap();
    a.handle.withdraw(net("fd00:1::/64")).await.unwrap();
    b.has(&[("10.1.1.0/24", &[ip(1)])]).await;
    let status = a.status_of(2).await;
    assert_eq!((status.received.all(), status.sent.v4, status.sent.v6), (1, 1, 0));
}

#[tokio::test]
async fn when_both_connect_at_once_one_session_stays() {
    for _ in 0..20 {
        let network = Memory::new(ip(0));
        let (a, b) = (Host::start(&network, config(1)), Host::start(&network, config(2)));
        for host in [&a, &b] {
            eventually("a listener", || async {
                host.handle.status().await.unwrap().listeners[0].listening.then_some(())
            })
            .await;
        }
        let (first, second) = tokio::join!(
            a.handle.set_peer(PeerConfig::new(ip(2), ASN)),
            b.handle.set_peer(PeerConfig::new(ip(1), ASN))
        );
        first.and(second).unwrap();
        a.established(2).await;
        b.established(1).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        // Whatever the race did, both ends agree that the session lives.
        a.announce("10.1.0.0/24", ip(1)).await;
        let mut b = b;
        b.has(&[("10.1.0.0/24", &[ip(1)])]).await;
        assert_eq!(a.status_of(2).await.established, b.status_of(1).await.established);
    }
}

/// FRR and BIRD take a connection that they accept while a session is up for a restart, and end the session for it (RFC 4724 §5).
#[tokio::test]
async fn a_session_comes_up_only_when_the_peer_has_seen_that_we_have_connected_too() {
    let network = Memory::new(ip(0));
    let clock = ManualClock::default();
    let host = Host::start_at(&network, config(1), &clock);
    let port = SocketAddr::new(ip(2), 179);
    let mut queue = network.host(ip(2)).listen(port).await.unwrap();
    host.peer(2).await;
    eventually("our connection", || async {
        (host.status_of(2).await.state == State::OpenSent).then_some(())
    })
    .await;
    let open = RawPeer::open(2, 90, Some(60));
    let mut first = RawPeer::connect(&network, 2, 1).await;
    first.send(&open.encode()).await;
    assert!(matches!(first.next().await, Some(Message::Open(_))));
    first.send(&encode_keepalive()).await;
    first.silent().await;
    // Only now does it look who has connected.
    let mut second = RawPeer::over(queue.accept().await.unwrap().0);
    assert!(matches!(second.next().await, Some(Message::Open(_))));
    assert_ne!(host.status_of(2).await.state, State::Established);
    second.send(&open.encode()).await;
    assert!(
        matches!(second.next().await, Some(Message::Notification(one)) if (one.code, one.subcode) == (6, 7))
    );
    assert_eq!(first.next().await, Some(Message::Keepalive));
    host.established(2).await;
    let status = host.status_of(2).await;
    assert_eq!((status.established, status.lost), (1, 0));
}

#[tokio::test]
async fn in_a_mesh_of_three_a_route_comes_from_its_source_alone() {
    let network = Memory::new(ip(0));
    // Even a speaker that passes everything on must not do so inside the AS.
    let mut hosts: Vec<Host> = (1..=3).map(|last| Host::start(&network, config(last))).collect();
    for (at, host) in hosts.iter().enumerate() {
        let own = u8::try_from(at + 1).unwrap();
        host.announce(&format!("10.{own}.0.0/24"), ip(own)).await;
        for other in (1..=3).filter(|other| *other != own) {
            host.transit_peer(other, ASN).await;
        }
    }
    for (at, host) in hosts.iter_mut().enumerate() {
        let own = u8::try_from(at + 1).unwrap();
        let texts: Vec<(String, [_; 1])> = (1..=3)
            .filter(|other| *other != own)
            .map(|other| (format!("10.{other}.0.0/24"), [ip(other)]))
            .collect();
        let expected: Vec<(&str, &[_])> =
            texts.iter().map(|(text, hops)| (text.as_str(), &hops[..])).collect();
        host.has(&expected).await;
        for entry in host.handle.rib().await.unwrap() {
            assert_eq!(entry.paths.len(), 1, "{entry:?}");
        }
    }
}

#[tokio::test]
async fn a_prefix_of_two_nodes_has_two_next_hops() {
    let network = Memory::new(ip(0));
    let mut hosts: Vec<Host> = (1..=3).map(|last| Host::start(&network, config(last))).collect();
    for host in &hosts[..2] {
        host.peer(3).await;
    }
    hosts[2].peer(1).await;
    hosts[2].peer(2).await;
    hosts[0].announce("10.9.0.0/24", ip(1)).await;
    hosts[1].announce("10.9.0.0/24", ip(2)).await;
    hosts[2].has(&[("10.9.0.0/24", &[ip(1), ip(2)])]).await;
    hosts[2].announce("10.9.0.0/24", ip(3)).await;
    hosts[2].has(&[]).await;
    hosts[2].handle.withdraw(net("10.9.0.0/24")).await.unwrap();
    hosts[0].handle.withdraw(net("10.9.0.0/24")).await.unwrap();
    hosts[2].has(&[("10.9.0.0/24", &[ip(2)])]).await;
}

#[tokio::test]
async fn a_router_of_another_as_passes_routes_on_with_its_as_in_front() {
    let network = Memory::new(ip(0));
    let (a, mut c) = (Host::start(&network, config(1)), Host::start(&network, config(3)));
    let router = SpeakerConfig { asn: 65001, ..config(2) };
    let router = Host::start(&network, router);
    for (host, peer) in [(&a, 2), (&c, 2)] {
        host.handle.set_peer(PeerConfig::new(ip(peer), 65001)).await.unwrap();
    }
    router.transit_peer(1, ASN).await;
    // The third speaker is of an AS of its own, or else it would see a loop.
    drop(c);
    c = Host::start(&network, SpeakerConfig { asn: 65003, listen: Vec::new(), ..config(3) });
    c.handle.set_peer(PeerConfig::new(ip(2), 65001)).await.unwrap();
    let third = PeerConfig { passive: true, export: ExportRules::transit(), ..PeerConfig::new(ip(3), 65003) };
    router.handle.set_peer(third).await.unwrap();
    let communities = Communities { standard: vec![0xfc00_0001], ..Communities::default() };
    let announcement = Announcement { communities, med: Some(7), ..Announcement::via(ip(1)) };
    a.handle.announce(net("10.1.0.0/24"), announcement).await.unwrap();
    c.has(&[("10.1.0.0/24", &[ip(2)])]).await;
    let entry = c.handle.rib().await.unwrap().remove(0);
    assert_eq!(entry.paths[0].as_path, [65001, ASN]);
    assert_eq!((entry.paths[0].med, entry.paths[0].local_pref), (None, None));
    assert_eq!(entry.paths[0].attributes.communities, [0xfc00_0001]);
}

#[tokio::test]
async fn the_end_of_the_routes_is_told_after_them_when_the_view_is_complete() {
    let network = Memory::new(ip(0));
    let host = Host::start(&network, config(1));
    host.announce("10.1.0.0/24", ip(1)).await;
    host.handle.set_peer(passive(2)).await.unwrap();
    let mut peer = RawPeer::establish(&network, 2, 1, &RawPeer::open(2, 90, Some(60))).await;
    let Some(Message::Update(update)) = peer.next().await else { panic!("no routes") };
    assert_eq!(update.reach[0].prefixes, [net("10.1.0.0/24")]);
    assert_eq!(update.attributes.local_pref, Some(100));
    host.announce("10.2.0.0/24", ip(1)).await;
    host.handle.view_complete().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match peer.next().await {
            Some(Message::Update(update)) => seen.push(update),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen[0].reach.len(), 1);
    assert!(seen[1].end_of_rib.is_some() && seen[2].end_of_rib.is_some());
    // On request everything is told again, between marks (RFC 7313).
    peer.send(&encode_route_refresh(Family::V4, Refresh::Request)).await;
    assert_eq!(peer.next().await, Some(Message::RouteRefresh(Some((Family::V4, Refresh::Begin)))));
    let Some(Message::Update(update)) = peer.next().await else { panic!("no refresh") };
    assert_eq!(update.reach[0].prefixes.len(), 2);
    assert_eq!(peer.next().await, Some(Message::RouteRefresh(Some((Family::V4, Refresh::End)))));
}

#[tokio::test]
async fn what_a_peer_does_not_repeat_between_its_marks_is_gone_and_the_rest_stays_all_the_time() {
    let network = Memory::new(ip(0));
    let mut host = Host::start(&network, config(1));
    host.handle.set_peer(passive(2)).await.unwrap();
    let mut peer = RawPeer::establish(&network, 2, 1, &RawPeer::open(2, 90, None)).await;
    let update = |prefixes: &[&str]| {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| net(prefix)).collect();
        let context = Context { four_octet_as: true, internal: true, ..Context::default() };
        let attributes = Attributes { local_pref: Some(100), ..Attributes::default() };
        encode_update(&attributes, ip(2), &prefixes, context).unwrap().concat()
    };
    peer.send(&update(&["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"])).await;
    eventually("all three", || async { (host.status_of(2).await.received.v4 == 3).then_some(()) }).await;
    for mark in [Refresh::Begin, Refresh::End] {
        peer.send(&encode_route_refresh(Family::V4, mark)).await;
        if mark == Refresh::Begin {
            peer.send(&update(&["10.1.0.0/24", "10.3.0.0/24"])).await;
            eventually("its updates", || async { (host.status_of(2).await.updates == 2).then_some(()) })
                .await;
            assert_eq!(host.status_of(2).await.received.v4, 3, "used until it is through");
        }
    }
    eventually("two", || async { (host.status_of(2).await.received.v4 == 2).then_some(()) }).await;
    assert!(host.handle.route(net("10.2.0.0/24")).await.unwrap().is_none());
    // An end without a begin says nothing.
    peer.send(&encode_route_refresh(Family::V4, Refresh::End)).await;
    peer.send(&update(&["10.4.0.0/24"])).await;
    eventually("three", || async { (host.status_of(2).await.received.v4 == 3).then_some(()) }).await;
    host.has(&[("10.1.0.0/24", &[ip(2)]), ("10.3.0.0/24", &[ip(2)]), ("10.4.0.0/24", &[ip(2)])]).await;
}

#[tokio::test]
async fn a_consumer_that_reads_late_gets_the_newest_choice_of_each_prefix() {
    let network = Memory::new(ip(0));
    let (a, mut b) = (Host::start(&network, config(1)), Host::start(&network, config(2)));
    a.peer(2).await;
    b.peer(1).await;
    b.established(1).await;
    for round in 0..5_u8 {
        for number in 0..1500_u32 {
            let prefix = format!("10.{}.{}.0/24", number / 256, number % 256);
            a.announce(&prefix, ip(100 + round)).await;
        }
    }
    eventually("all routes", || async { (b.status_of(1).await.received.v4 == 1500).then_some(()) }).await;
    eventually("the newest routes", || async {
        b.handle.rib().await.unwrap().iter().all(|entry| entry.next_hops == [ip(104)]).then_some(())
    })
    .await;
    let start = tokio::time::Instant::now();
    while b.routes().len() < 1500 || b.routes().values().any(|hops| *hops != [ip(104)]) {
        assert!(start.elapsed() < std::time::Duration::from_mins(1));
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
