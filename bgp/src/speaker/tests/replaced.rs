//! A peer that is told to be another one: what either end has of the other's routes meanwhile.

use std::collections::BTreeSet;

use super::kit::{ASN, Host, RawPeer, config, eventually, ip, net, passive, routes};
use crate::config::{GracefulRestart, PeerConfig};
use crate::fsm::State;
use crate::net::memory::Memory;
use crate::packet::{Message, end_of_rib};
use crate::policy::ImportRules;
use prefix::Family;

const RANGE: &str = "10.2.0.0/24";

/// The families of a session that is to carry IPv4 alone.
fn only_v4(last: u8) -> PeerConfig {
    PeerConfig { families: [Family::V4].into(), ..PeerConfig::new(ip(last), ASN) }
}

/// Two speakers with a session for IPv4, a route each, and all of it told.
async fn two(network: &Memory) -> [Host; 2] {
    let mut hosts = [1, 2].map(|last| Host::start(network, config(last)));
    for (host, own) in hosts.iter().zip(1..) {
        host.announce(&format!("10.{own}.0.0/24"), ip(own)).await;
        host.handle.set_peer(only_v4(3 - own)).await.unwrap();
        host.handle.view_complete().await.unwrap();
    }
    hosts[0].has(&[(RANGE, &[ip(2)])]).await;
    hosts[1].has(&[("10.1.0.0/24", &[ip(1)])]).await;
    hosts
}

/// Waits until the session is up and all is told again.
async fn settled(host: &Host, other: u8, family: Family) {
    eventually("all routes of the new session", || async {
        let peer = host.status_of(other).await;
        (peer.complete.contains(&family) && !peer.stale).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_that_gets_another_family_at_both_ends_costs_neither_a_route() {
    let network = Memory::new(ip(0));
    let [mut a, mut b] = two(&network).await;
    a.handle.set_peer(PeerConfig::new(ip(2), ASN)).await.unwrap();
    a.came_up(2, 2).await;
    b.came_up(1, 2).await;
    // The other end hears of the change later, and makes a new session once more.
    b.handle.set_peer(PeerConfig::new(ip(1), ASN)).await.unwrap();
    settled(&a, 2, Family::V6).await;
    settled(&b, 1, Family::V6).await;
    for (host, range) in [(&mut a, RANGE), (&mut b, "10.1.0.0/24")] {
        assert_eq!(*host.lost(), BTreeSet::new());
        assert!(host.routes().contains_key(&net(range)));
    }
}

#[tokio::test]
async fn without_graceful_restart_the_other_end_is_told_that_the_configuration_changed() {
    let network = Memory::new(ip(0));
    let [a, mut b] = two(&network).await;
    a.handle.set_peer(PeerConfig { graceful_restart: None, ..only_v4(2) }).await.unwrap();
    eventually("the loss of the route", || std::future::ready((!b.lost().is_empty()).then_some(()))).await;
    let error = b.status_of(1).await.last_error.unwrap_or_default();
    assert!(error.contains("other configuration change (6/6)"), "{error}");
}

/// A speaker that has learnt a route from a raw peer that promises to come back.
async fn learnt(network: &Memory) -> (Host, RawPeer) {
    let mut host = Host::start(network, config(1));
    host.handle.set_peer(passive(2)).await.unwrap();
    let mut peer = again(network, &host, 1).await;
    peer.send(&routes(&[RANGE], ip(2))).await;
    host.has(&[(RANGE, &[ip(2)])]).await;
    (host, peer)
}

/// The raw peer comes, for the `times`th time.
async fn again(network: &Memory, host: &Host, times: u64) -> RawPeer {
    let peer = RawPeer::establish(network, 2, 1, &RawPeer::open(2, 90, Some(60))).await;
    host.came_up(2, times).await;
    peer
}

/// The end of its session is known.
async fn away(host: &Host) {
    eventually("the end", || async { (host.status_of(2).await.state == State::Active).then_some(()) }).await;
}

/// Another configuration of the raw peer, of which nothing but a new session can come.
fn other() -> PeerConfig {
    PeerConfig { hold_time: Some(30), ..passive(2) }
}

#[tokio::test]
async fn what_we_end_and_the_peer_then_ends_too_is_kept_over_both_but_not_over_a_third() {
    let network = Memory::new(ip(0));
    let (mut host, mut peer) = learnt(&network).await;
    host.handle.set_peer(other()).await.unwrap();
    assert_eq!(
        loop {
            match peer.next().await {
                Some(Message::Keepalive) => {}
                other => break other,
            }
        },
        None,
        "the session ends without a word"
    );
    for times in 2..4 {
        let peer = again(&network, &host, times).await;
        assert_eq!(*host.lost(), BTreeSet::new(), "{times}");
        // It has repeated nothing.
        drop(peer);
        away(&host).await;
    }
    host.has(&[]).await;
}

#[tokio::test]
async fn what_the_peer_ends_and_we_then_end_too_is_kept_until_it_has_told_all() {
    let network = Memory::new(ip(0));
    let (mut host, peer) = learnt(&network).await;
    drop(peer);
    away(&host).await;
    let _peer = again(&network, &host, 2).await;
    host.handle.set_peer(other()).await.unwrap();
    let mut peer = again(&network, &host, 3).await;
    assert_eq!(*host.lost(), BTreeSet::new());
    peer.send(&end_of_rib(Family::V4)).await;
    host.has(&[]).await;
}

#[tokio::test]
async fn a_peer_that_is_told_to_be_another_one_while_it_is_away_keeps_its_routes() {
    let network = Memory::new(ip(0));
    let (mut host, peer) = learnt(&network).await;
    drop(peer);
    away(&host).await;
    host.handle.set_peer(other()).await.unwrap();
    let mut peer = again(&network, &host, 2).await;
    peer.send(&routes(&[RANGE], ip(2))).await;
    peer.send(&end_of_rib(Family::V4)).await;
    settled(&host, 2, Family::V4).await;
    assert_eq!(*host.lost(), BTreeSet::new());
    host.has(&[(RANGE, &[ip(2)])]).await;
}

#[tokio::test]
async fn what_is_kept_is_judged_by_the_new_rules_and_goes_where_the_peer_is_another_or_its_family_is_not_wanted()
 {
    let refuse = ImportRules { refuse: [net(RANGE)].into(), ..ImportRules::default() };
    for new in [
        PeerConfig { import: refuse, ..other() },
        PeerConfig { asn: 65001, ..other() },
        PeerConfig { graceful_restart: None::<GracefulRestart>, ..other() },
        PeerConfig { families: [Family::V6].into(), ..other() },
    ] {
        for is_away in [false, true] {
            let network = Memory::new(ip(0));
            let (mut host, peer) = learnt(&network).await;
            let peer = Some(peer).filter(|_| !is_away);
            if is_away {
                away(&host).await;
                host.has(&[(RANGE, &[ip(2)])]).await;
            }
            host.handle.set_peer(new.clone()).await.unwrap();
            host.has(&[]).await;
            drop(peer);
        }
    }
}
