//! A peer as the speaker's task keeps it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use prefix::Family;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::graceful::Kept;
use super::refresh::Repeating;
use crate::config::{PeerConfig, SpeakerConfig, Start};
use crate::fsm::{Agreed, Settings, State};
use crate::net::{Distance, Way};
use crate::rib::{AdjOut, PeerView, Source};
use crate::session::Command;

/// A session that is up.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) epoch: u64,
    pub(super) agreed: Agreed,
    pub(super) local_address: Option<IpAddr>,
    pub(super) out: AdjOut,
    /// The families of which the peer has told all.
    pub(super) complete: BTreeSet<Family>,
    /// What it has still to repeat, if it tells its routes again.
    pub(super) repeating: Repeating,
    /// It is being ended, and what still comes from it does not count.
    pub(super) ending: bool,
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
    /// What is kept of it while it is away.
    pub(super) kept: Kept,
    pub(super) record: Record,
}

/// What is counted of a peer; it outlives its sessions and changes of its configuration.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) established: u64,
    pub(super) lost: u64,
    pub(super) updates: u64,
    pub(super) last_update: Option<Duration>,
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
pub(super) fn settings(config: &PeerConfig, speaker: &SpeakerConfig, start: Start) -> Settings {
    Settings {
        asn: speaker.asn,
        router_id: speaker.router_id,
        peer_asn: config.asn,
        hold_time: config.hold_time.unwrap_or(speaker.hold_time),
        capabilities: config.capabilities(start),
        passive: config.passive,
    }
}

/// How the peer is reached.
pub(super) fn way(config: &PeerConfig, asn: u32) -> Way {
    Way {
        peer: SocketAddr::new(config.address, config.port),
        local: config.local_address,
        password: config.password.clone(),
        distance: Distance::of(config, config.asn == asn),
    }
}

/// The peer as import and export see it.
pub(super) fn view<'a>(
    config: &'a PeerConfig,
    session: &'a Session,
    speaker: &SpeakerConfig,
    clusters: &'a BTreeSet<Ipv4Addr>,
) -> PeerView<'a> {
    PeerView {
        asn: speaker.asn,
        router_id: speaker.router_id,
        clusters,
        config,
        agreed: &session.agreed,
        local_address: session.local_address,
    }
}
