//! The speaker as others reach it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::bfd::{Bfd, BfdEvent, Change};
use bgp::{PeerConfig, ResetCause, Shutdown, SpeakerHandle, SpeakerStatus};
use tokio::sync::{mpsc, watch};

use super::plan::{Counts, Plan, State};

/// How long a session stays down whose path was lost. BFD tells when it is back, and TCP finds out by itself.
const LOST_PAUSE: Duration = Duration::from_secs(1);
/// Long enough for the daemon to end.
const END_PAUSE: Duration = Duration::from_mins(1);

/// A router reads BFD's packets before those of TCP, and would take the end of the path for a failure, over which it keeps
/// our routes.
const HEARD: Duration = Duration::from_millis(200);

/// Where the speaker's life stands.
#[derive(Debug, Clone, Default)]
pub(super) enum Stage {
    /// The node is not known, or wrong.
    #[default]
    Absent,
    /// It runs.
    Running(SpeakerHandle, Bfd),
    /// The daemon ends, and the speaker with it.
    Ending,
}

/// How the daemon ends.
#[derive(Debug, Clone, Default)]
struct Goodbye {
    /// Peers that are told that we go: those that would not keep our routes, and if the node itself goes those outside.
    peers: BTreeSet<IpAddr>,
    /// The node goes, and others have until then to look for another way.
    not_before: Option<Instant>,
}

/// The running speaker, if there is one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    stage: watch::Sender<Stage>,
    goodbye: watch::Sender<Goodbye>,
    /// What the speaker has shown of itself last.
    seen: watch::Sender<Option<Arc<SpeakerStatus>>>,
    counts: watch::Sender<Counts>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            stage: watch::Sender::default(),
            goodbye: watch::Sender::default(),
            seen: watch::Sender::default(),
            counts: watch::Sender::default(),
        }
    }

    /// The handle of the speaker that runs now.
    pub fn speaker(&self) -> Option<SpeakerHandle> {
        match &*self.stage.borrow() {
            Stage::Running(speaker, _) => Some(speaker.clone()),
            Stage::Absent | Stage::Ending => None,
        }
    }

    /// What watches the paths to its peers.
    pub(super) fn bfd(&self) -> Option<Bfd> {
        match &*self.stage.borrow() {
            Stage::Running(_, bfd) => Some(bfd.clone()),
            Stage::Absent | Stage::Ending => None,
        }
    }

    /// What the speaker has shown of itself at most a moment ago.
    pub(super) fn seen(&self) -> Option<Arc<SpeakerStatus>> {
        self.seen.borrow().clone()
    }

    pub(super) fn show(&self, status: Option<Arc<SpeakerStatus>>) {
        self.seen.send_replace(status);
    }

    /// How much the speaker was told since the start.
    pub(super) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Counts what a plan tells it.
    pub(super) fn count(&self, plan: &Plan) {
        self.counts.send_modify(|counts| counts.add(plan));
    }

    /// Notes which of `told.peers` hear of an end of the daemon: those that keep no routes anyway, and with `node_goes` also
    /// those of other ASes than `asn` and those of it that are no nodes, not before that time.
    pub(super) fn leave_with_words(&self, told: &State, asn: u32, node_goes: Option<Instant>) {
        let outside = |peer: &PeerConfig| peer.asn != asn || peer.export.outside;
        let hears =
            |peer: &&PeerConfig| peer.graceful_restart.is_none() || (node_goes.is_some() && outside(peer));
        let peers: BTreeSet<IpAddr> =
            told.peers.values().map(|peer| &peer.config).filter(hears).map(|peer| peer.address).collect();
        let not_before = node_goes.filter(|_| !peers.is_empty());
        self.goodbye.send_replace(Goodbye { peers, not_before });
    }

    /// Ends the speaker before the daemon ends. It goes without a word, so that the other nodes (and external peers, with
    /// graceful restart) keep the way to this node's pods while the daemon is replaced; the pods do not stop with it. Peers
    /// without graceful restart are told the reason, and so are external peers if the node itself goes.
    pub async fn stop(&self) {
        if let Stage::Running(speaker, bfd) = self.stage.send_replace(Stage::Ending) {
            let Goodbye { peers, not_before } = self.goodbye.send_replace(Goodbye::default());
            if let Some(end) = not_before {
                tracing::info!("this node goes: external BGP peers get the time to look for another way");
                tokio::time::sleep_until(end.into()).await;
            }
            let said = !peers.is_empty();
            for peer in peers {
                let cause = ResetCause::Administrator("routerd on this node ends".to_owned());
                let _ = speaker.reset_peer(peer, cause, END_PAUSE).await;
            }
            // One that has ended already needs no end.
            let _ = speaker.shutdown(Shutdown::Quiet).await;
            if said {
                tokio::time::sleep(HEARD).await;
            }
            // Held down by hand, not lost: a peer would otherwise drop the routes that it is to keep (RFC 5882 §3.2).
            bfd.remove_all().await;
        }
    }

    /// Notes what the plane has done, unless the daemon ends.
    pub(super) fn set(&self, stage: Stage) {
        self.stage.send_modify(|now| {
            if !matches!(now, Stage::Ending) {
                *now = stage;
            }
        });
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Ending)
    }
}

/// Ends the sessions whose paths are lost: their routes go at once, long before the hold time.
pub(super) async fn end_lost(mut paths: mpsc::Receiver<BfdEvent>, speaker: SpeakerHandle) {
    while let Some(BfdEvent { peer, change }) = paths.recv().await {
        // What an administrator does at the other end is no failure of the path (RFC 5882 §3.2).
        if !matches!(change, Change::Down { by_administrator: false, .. }) {
            continue;
        }
        tracing::warn!(%peer, "no packets of the peer any longer (BFD): its session ends");
        if speaker.reset_peer(peer, ResetCause::BfdDown, LOST_PAUSE).await.is_err() {
            return;
        }
    }
}
