//! What happens when something fails or ends.

use std::net::SocketAddr;
use std::time::Duration;

use super::kit::{ASN, Host, RawPeer, config, eventually, ip, net, passive, routes, v6};
use crate::clock::ManualClock;
use crate::config::{Announcement, PeerConfig, SpeakerConfig};
use crate::fsm::State;
use crate::net::memory::Memory;
use crate::packet::{Message, end_of_rib};
use crate::{ConfigError, Shutdown, Speaker};

/// Moves the clock on in steps so that everybody has time to act at each.
async fn pass(clock: &ManualClock, seconds: u64) {
    for _ in 0..seconds {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_after_the_hold_time_and_its_routes_go() {
    let network = Memory::new(ip(0));
    let clock = ManualClock::default();
    let mut host = Host::start_at(&network, config(1), &clock);
    host.handle.set_peer(passive(2)).await.unwrap();
    let mut peer = RawPeer::establish(&network, 2, 1, &RawPeer::open(2, 9, None)).await;
    peer.send(&routes(&["10.2.0.0/24"], ip(2))).await;
    host.has(&[("10.2.0.0/24", &[ip(2)])]).await;
    assert_eq!(host.status_of(2).await.hold_time, Some(9), "the smaller hold time counts");
    pass(&clock, 8).await;
    host.has(&[("10.2.0.0/24", &[ip(2)])]).await;
    pass(&clock, 1).await;
    host.has(&[]).await;
    let mut keepalives = 0;
    let end = loop {
        match peer.next().await {
            Some(Message::Keepalive) => keepalives += 1,
            Some(Message::Notification(notification)) => break notification,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end.code, 4);
    assert!(keepalives >= 2, "our own keepalives went on: {keepalives}");
    assert!(host.status_of(2).await.last_error.unwrap().contains("hold time"));
}

#[tokio::test]
async fn a_speaker_that_did_not_run_for_a_while_does_not_blame_its_peer() {
    let network = Memory::new(ip(0));
    let clock = ManualClock::default();
    let mut host = Host::start_at(&network, config(1), &clock);
    host.handle.set_peer(passive(2)).await.unwrap();
    let mut peer = RawPeer::establish(&network, 2, 1, &RawPeer::open(2, 9, None)).await;
    peer.send(&routes(&["10.2.0.0/24"], ip(2))).await;
    host.has(&[("10.2.0.0/24", &[ip(2)])]).await;
    // All of the hold time passes between two looks at the clock; what the peer sent in it comes right after.
    clock.advance(Duration::from_secs(30));
    tokio::time::sleep(Duration::from_millis(20)).await;
    peer.send(&crate::packet::open::encode_keepalive()).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    pass(&clock, 2).await;
    host.has(&[("10.2.0.0/24", &[ip(2)])]).await;
    // But a reprieve is short.
    clock.advance(Duration::from_secs(30));
    tokio::time::sleep(Duration::from_millis(20)).await;
    pass(&clock, 1).await;
    host.has(&[]).await;
}

#[tokio::test]
async fn a_removed_peer_takes_its_routes_along_and_leaves_other_sessions_alone() {
    let network = Memory::new(ip(0));
    let mut host = Host::start(&network, config(1));
    let others: Vec<Host> = (2..=3).map(|last| Host::start(&network, config(last))).collect();
    for (other, last) in others.iter().zip(2..) {
        other.peer(1).await;
        host.peer(last).await;
        other.announce(&format!("10.{last}.0.0/24"), ip(last)).await;
    }
    host.has(&[("10.2.0.0/24", &[ip(2)]), ("10.3.0.0/24", &[ip(3)])]).await;
    host.handle.remove_peer(ip(2)).await.unwrap();
    host.has(&[("10.3.0.0/24", &[ip(3)])]).await;
    eventually("the reason at the other side", || async {
        others[0].status_of(1).await.last_error.filter(|error| error.contains("de-configured"))
    })
    .await;
    // The same configuration again is no change.
    host.peer(3).await;
    let status = host.status_of(3).await;
    assert_eq!((status.state, status.established), (State::Established, 1));
}

#[tokio::test]
async fn a_stranger_is_turned_away_and_counted() {
    let network = Memory::new(ip(0));
    let host = Host::start(&network, config(1));
    let mut stranger = RawPeer::connect(&network, 66, 1).await;
    assert_eq!(stranger.next().await, None);
    let status = host.handle.status().await.unwrap();
    assert_eq!((status.refused_connections, status.last_refused), (1, Some(ip(66))));
}

#[tokio::test]
async fn an_address_that_is_taken_is_reported_and_tried_again() {
    let network = Memory::new(ip(0));
    let address = SocketAddr::new(ip(1), 179);
    network.occupy(address, true);
    let clock = ManualClock::default();
    let host = Host::start_at(&network, config(1), &clock);
    let error = eventually("an error in the status", || async {
        host.handle.status().await.unwrap().listeners[0]
            .error
            .clone()
            .filter(|text| text.contains("cannot listen"))
    })
    .await;
    assert!(error.contains("192.0.2.1:179"), "{error}");
    network.occupy(address, false);
    eventually("a listener", || async {
        clock.advance(Duration::from_secs(1));
        host.handle.status().await.unwrap().listeners[0].listening.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_of_a_peer_whose_key_is_not_in_force_is_closed_until_it_is() {
    let network = Memory::new(ip(0));
    network.refuse_keys(true);
    let clock = ManualClock::default();
    let host = Host::start_at(&network, config(1), &clock);
    let error = || async { host.handle.status().await.unwrap().listeners[0].error.clone() };
    host.handle
        .set_peer(PeerConfig { password: crate::Password::new("s3cret").ok(), ..passive(2) })
        .await
        .unwrap();
    host.handle.set_peer(passive(3)).await.unwrap();
    let told = eventually("an error in the status", error).await;
    assert!(told.contains("192.0.2.2 are closed") && !told.contains("s3cret"), "{told}");
    assert_eq!(RawPeer::connect(&network, 2, 1).await.next().await, None);
    let _other = RawPeer::establish(&network, 3, 1, &RawPeer::open(3, 90, None)).await;
    host.established(3).await;
    network.refuse_keys(false);
    eventually("the key", || async {
        clock.advance(Duration::from_secs(1));
        error().await.is_none().then_some(())
    })
    .await;
    let _peer = RawPeer::establish(&network, 2, 1, &RawPeer::open(2, 90, None)).await;
    host.established(2).await;
}

#[tokio::test]
async fn a_speaker_that_ceases_is_forgotten_at_once_and_one_that_restarts_gracefully_is_not() {
    for (how, kept) in [(Shutdown::Cease("enough".to_owned()), false), (Shutdown::Quiet, true)] {
        let network = Memory::new(ip(0));
        let clock = ManualClock::default();
        let mut host = Host::start_at(&network, config(1), &clock);
        let other = Host::start(&network, config(2));
        host.handle.set_peer(passive(2)).await.unwrap();
        other.peer(1).await;
        other.announce("10.2.0.0/24", ip(2)).await;
        host.has(&[("10.2.0.0/24", &[ip(2)])]).await;
        other.handle.shutdown(how.clone()).await.unwrap();
        eventually("the end of the session", || async {
            (host.status_of(2).await.state == State::Active).then_some(())
        })
        .await;
        assert_eq!(host.status_of(2).await.stale, kept, "{how:?}");
        if kept {
            pass(&clock, 80).await;
            host.has(&[("10.2.0.0/24", &[ip(2)])]).await;
            pass(&clock, 10).await;
        }
        host.has(&[]).await;
    }
}

#[tokio::test]
async fn what_a_returning_peer_no_longer_tells_goes_when_it_says_that_it_has_told_all() {
    let network = Memory::new(ip(0));
    let mut host = Host::start(&network, config(1));
    host.handle.set_peer(passive(2)).await.unwrap();
    let open = RawPeer::open(2, 90, Some(60));
    let mut peer = RawPeer::establish(&network, 2, 1, &open).await;
    peer.send(&routes(&["10.2.0.0/24", "10.3.0.0/24"], ip(2))).await;
    peer.send(&routes(&["fd00::/64"], v6(2))).await;
    host.has(&[("10.2.0.0/24", &[ip(2)]), ("10.3.0.0/24", &[ip(2)]), ("fd00::/64", &[v6(2)])]).await;
    // It is gone without a word; it had promised to keep IPv4 only.
    drop(peer);
    host.has(&[("10.2.0.0/24", &[ip(2)]), ("10.3.0.0/24", &[ip(2)])]).await;
    let mut peer = RawPeer::establish(&network, 2, 1, &open).await;
    peer.send(&routes(&["10.3.0.0/24"], ip(2))).await;
    peer.send(&end_of_rib(prefix::Family::V4)).await;
    host.has(&[("10.3.0.0/24", &[ip(2)])]).await;
}

#[tokio::test]
async fn a_peer_of_the_wrong_as_never_comes_up_and_the_status_says_why() {
    let network = Memory::new(ip(0));
    let (a, b) = (Host::start(&network, config(1)), Host::start(&network, config(2)));
    a.handle.set_peer(PeerConfig::new(ip(2), 65001)).await.unwrap();
    b.handle.set_peer(PeerConfig::new(ip(1), ASN)).await.unwrap();
    let error = eventually("an error", || async {
        a.status_of(2).await.last_error.filter(|error| error.contains("AS"))
    })
    .await;
    assert!(error.contains("64512") && error.contains("65001"), "{error}");
}

#[tokio::test]
async fn garbage_ends_the_session_with_the_reason_and_nothing_else() {
    let network = Memory::new(ip(0));
    let mut host = Host::start(&network, config(1));
    let other = Host::start(&network, config(3));
    host.peer(3).await;
    other.peer(1).await;
    other.handle.announce(net("10.3.0.0/24"), Announcement::via(ip(3))).await.unwrap();
    host.handle.set_peer(passive(2)).await.unwrap();
    let mut peer = RawPeer::establish(&network, 2, 1, &RawPeer::open(2, 90, None)).await;
    peer.send(&[0xff; 40]).await;
    let end = loop {
        match peer.next().await {
            Some(Message::Notification(notification)) => break notification,
            Some(_) => {}
            None => panic!("no reason was given"),
        }
    };
    assert_eq!((end.code, end.subcode), (1, 2));
    host.has(&[("10.3.0.0/24", &[ip(3)])]).await;
    assert_eq!(host.status_of(3).await.established, 1);
}

#[tokio::test]
async fn a_speaker_nobody_could_talk_to_is_not_started() {
    let start =
        |config: SpeakerConfig| Speaker::start_with(config, Memory::new(ip(0)), ManualClock::default()).err();
    assert_eq!(start(SpeakerConfig { asn: 0, ..config(1) }), Some(ConfigError::Asn));
    assert_eq!(start(SpeakerConfig { hold_time: 2, ..config(1) }), Some(ConfigError::HoldTime(2)));
    let none = "0.0.0.0".parse().unwrap();
    assert_eq!(start(SpeakerConfig { router_id: none, ..config(1) }), Some(ConfigError::RouterId(none)));
}
