//! A peer as the speaker's task keeps it.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{PeerConfig, SpeakerConfig};
use crate::fsm::{Agreed, Settings, State};
use crate::rib::{AdjOut, PeerView, Source};
use crate::session::Command;

/// A session that is up.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) epoch: u64,
    pub(super) agreed: Agreed,
    pub(super) local_address: Option<IpAddr>,
    pub(super) out: AdjOut,
}

#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) config: PeerConfig,
    /// The number of its session task.
    pub(super) number: u64,
    pub(super) commands: mpsc::UnboundedSender<Command<S>>,
    pub(super) task: JoinHandle<()>,
    pub(super) state: State,
    /// When the session came up or went down.
    pub(super) since: Duration,
    pub(super) session: Option<Session>,
    /// When its stale routes go at the latest.
    pub(super) stale_until: Option<Duration>,
    pub(super) established: u64,
    pub(super) updates: u64,
    pub(super) last_error: Option<String>,
}

impl<S> Peer<S> {
    /// Tells its session something. One that has ended was told to.
    pub(super) fn tell(&self, command: Command<S>) {
        let _ = self.commands.send(command);
    }

    pub(super) fn source(&self, asn: u32) -> Source {
        if self.config.asn == asn {
            Source::Internal(self.config.address)
        } else {
            Source::External(self.config.address)
        }
    }
}

/// What the peer's state machine needs to know.
pub(super) fn settings(config: &PeerConfig, speaker: &SpeakerConfig) -> Settings {
    let hold_time = config.hold_time.unwrap_or(speaker.hold_time);
    Settings {
        asn: speaker.asn,
        router_id: speaker.router_id,
        peer_asn: config.asn,
        // One and two seconds do not exist on the wire (RFC 4271 §4.2).
        hold_time: if hold_time == 0 { 0 } else { hold_time.max(3) },
        capabilities: config.capabilities(speaker),
        passive: config.passive,
    }
}

/// The peer as import and export see it.
pub(super) fn view<'a>(
    config: &'a PeerConfig,
    session: &'a Session,
    speaker: &SpeakerConfig,
) -> PeerView<'a> {
    PeerView {
        asn: speaker.asn,
        router_id: speaker.router_id,
        config,
        agreed: &session.agreed,
        local_address: session.local_address,
    }
}
