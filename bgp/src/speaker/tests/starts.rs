//! What a start of a speaker is to its peers.

use super::kit::{Host, RawPeer, config, eventually, ip, passive};
use crate::config::{GracefulRestart, PeerConfig, SpeakerConfig, Start};
use crate::fsm::State;
use crate::net::memory::Memory;
use crate::packet::Open;

/// A peer that we are to tell of both kinds of restart.
fn peer() -> PeerConfig {
    let restart = GracefulRestart { long_lived: Some(600), ..GracefulRestart::default() };
    PeerConfig { graceful_restart: Some(restart), ..passive(2) }
}

/// The R bit, and whether all F bits of both capabilities are set, or none.
fn bits(open: &Open) -> (bool, bool) {
    let restart = open.capabilities.graceful_restart.as_ref().unwrap();
    let long_lived = open.capabilities.long_lived.iter().map(|one| one.forwarding);
    let all: Vec<bool> = restart.families.iter().map(|(_, kept)| *kept).chain(long_lived).collect();
    assert!(all.len() == 4 && all.iter().all(|kept| *kept == all[0]), "{all:?}");
    (restart.restarting, all[0])
}

#[tokio::test]
async fn only_the_first_session_with_a_peer_hears_that_the_machine_has_kept_nothing_or_that_we_restart() {
    for (start, first) in
        [(Start::Empty, (false, false)), (Start::Restart, (true, true)), (Start::Past, (false, true))]
    {
        let network = Memory::new(ip(0));
        let host = Host::start(&network, SpeakerConfig { start, ..config(1) });
        host.handle.set_peer(peer()).await.unwrap();
        let greet = async || RawPeer::greet(&network, 2, 1, &RawPeer::open(2, 90, Some(60))).await;
        let (raw, open) = greet().await;
        assert_eq!(bits(&open), first, "{start:?}");
        host.came_up(2, 1).await;
        drop(raw);
        eventually("the end", || async { (host.status_of(2).await.state == State::Active).then_some(()) })
            .await;
        let (_raw, open) = greet().await;
        assert_eq!(bits(&open), (false, true), "{start:?}: the same session, again");
        host.came_up(2, 2).await;
        // What this peer has learnt of us is no less kept when it is told to be another one.
        host.handle.set_peer(PeerConfig { hold_time: Some(30), ..peer() }).await.unwrap();
        let (_raw, open) = greet().await;
        assert_eq!(bits(&open), (false, true), "{start:?}: another session");
    }
}
