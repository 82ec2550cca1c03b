//! A peer that sends what no speaker would: mutated messages, in every state, for as long as it likes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kit::{ASN, Host, RawPeer, config, eventually, ip, net, passive, v6};
use crate::config::Announcement;
use crate::fsm::State;
use crate::net::memory::Memory;
use crate::packet::notification::cease;
use crate::packet::open::{encode_keepalive, encode_route_refresh};
use crate::packet::{Attributes, Context, Notification, encode_update, encode_withdrawals};

/// Numbers that come the same way each time, so that a failure can be seen again.
struct Dice(u64);

impl Dice {
    /// A number below `sides` (`SplitMix64`).
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }
}

/// Messages of every kind, as a speaker would send them.
fn honest() -> Vec<Vec<u8>> {
    let context = Context { four_octet_as: true, extended_next_hop: true, internal: true };
    let attributes = Attributes {
        local_pref: Some(100),
        med: Some(1),
        communities: vec![1, 2, 3],
        large_communities: vec![(1, 2, 3)],
        extended_communities: vec![[0, 2, 0, 0, 0, 0, 0, 1]],
        originator_id: Some("192.0.2.9".parse().unwrap()),
        cluster_list: vec!["192.0.2.8".parse().unwrap()],
        ..Attributes::default()
    };
    let update =
        |prefix: &str, hop| encode_update(&attributes, hop, &[net(prefix)], context).unwrap().remove(0);
    vec![
        RawPeer::open(2, 90, Some(60)).encode(),
        encode_keepalive(),
        update("10.66.0.0/16", ip(2)),
        update("fd00:66::/48", v6(2)),
        update("10.67.0.0/16", v6(2)),
        encode_withdrawals(&[net("10.66.0.0/16")]).remove(0),
        encode_withdrawals(&[net("fd00:66::/48")]).remove(0),
        encode_route_refresh(prefix::Family::V4, crate::packet::Refresh::Request),
        Notification::cease(cease::SHUTDOWN, "bye").encode(),
    ]
}

/// Changes some octets. A broken header or length ends the session at once and hides all else, so most changes are
/// behind them.
fn mutate(message: &mut [u8], dice: &mut Dice) {
    let from = match dice.roll(64) {
        0 => 0,
        1 => 19,
        _ => 23,
    };
    let from = from.min(message.len() - 1);
    for _ in 0..=dice.roll(3) {
        let at = from + dice.roll(message.len() - from);
        message[at] = u8::try_from(dice.roll(256)).unwrap();
    }
}

/// Lets the speaker read what was sent; false when it has had enough.
async fn is_heard(peer: &mut RawPeer) -> bool {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 4096];
    let read = peer.stream.read(&mut answer);
    tokio::select! {
        biased;
        read = read => !matches!(read, Ok(0) | Err(_)),
        // A read that has to wait means that the connection is there still.
        () = std::future::ready(()) => true,
    }
}

/// Sends `count` mutated messages, each when the one before it was read, connecting again whenever the speaker has had
/// enough.
async fn attack(network: &Memory, count: usize) {
    let mut dice = Dice(20_260_801);
    let mut sent = 0;
    let messages = honest();
    while sent < count {
        let mut peer = RawPeer::connect(network, 2, 1).await;
        // Most connections come as far as a session.
        if dice.roll(8) > 0 {
            let _ = peer.stream.write_all(&messages[0]).await;
            let _ = peer.stream.write_all(&messages[1]).await;
        }
        while sent < count && is_heard(&mut peer).await {
            // Mostly IPv4 routes, in which few mistakes end a session (RFC 7606).
            let which = if dice.roll(8) == 0 { dice.roll(messages.len()) } else { 2 };
            let mut message = messages[which].clone();
            mutate(&mut message, &mut dice);
            sent += 1;
            let _ = peer.stream.write_all(&message).await;
        }
    }
}

/// The speaker stands beside it as if nothing had happened, and keeps little of what it said.
async fn withstands(count: usize) {
    let network = Memory::new(ip(0));
    let mut host = Host::start(&network, config(1));
    let other = Host::start(&network, config(3));
    host.peer(3).await;
    other.peer(1).await;
    other.handle.announce(net("10.3.0.0/24"), Announcement::via(ip(3))).await.unwrap();
    host.handle.set_peer(passive(2)).await.unwrap();
    host.has(&[("10.3.0.0/24", &[ip(3)])]).await;
    tokio::time::timeout(Duration::from_hours(1), attack(&network, count)).await.unwrap();
    host.established(3).await;
    let status = host.status_of(3).await;
    assert_eq!((status.state, status.established), (State::Established, 1));
    let hostile = host.status_of(2).await;
    println!("{count} sent, {} UPDATEs read in {} sessions", hostile.updates, hostile.established);
    assert!(
        usize::try_from(hostile.updates).unwrap() > count / 2,
        "too little was read to mean anything: {hostile:?}"
    );
    host.handle.remove_peer(ip(2)).await.unwrap();
    host.has(&[("10.3.0.0/24", &[ip(3)])]).await;
    eventually("an empty table", || async {
        (host.handle.status().await.unwrap().prefixes == 1).then_some(())
    })
    .await;
    assert_eq!(host.status_of(3).await.asn, ASN);
}

/// How many messages; more, as a million, by the environment variable `HOSTILE_MESSAGES`.
fn messages_to_send() -> usize {
    std::env::var("HOSTILE_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

/// And the memory of the whole process stays where the first messages have brought it.
#[tokio::test]
async fn a_hostile_peer_ends_only_its_own_session_and_leaves_memory_flat() {
    let count = messages_to_send();
    withstands((count / 20).max(5_000)).await;
    // Tests beside this one have memory of the same process; what is kept of the messages would show each time.
    for attempt in 1.. {
        let before = resident();
        withstands(count).await;
        let after = resident();
        println!("resident: {before} KiB before, {after} KiB after {count} messages");
        if after < before + 16 * 1024 {
            break;
        }
        assert!(attempt < 5, "{before} KiB grew to {after} KiB, again and again");
    }
}

/// KiB of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
