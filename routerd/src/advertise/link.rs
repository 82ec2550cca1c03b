//! The speaker as others reach it, and the way of its routes into the index.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bgp::bfd::{Bfd, BfdEvent, Change};
use bgp::{ResetCause, RibEvent, Shutdown, SpeakerHandle};
use prefix::Prefix;
use tokio::sync::{mpsc, watch};

use super::desired::Peer;
use crate::cluster::objects::LearntRoute;

/// Routes handed on at once.
const BATCH: usize = 1024;
/// How long a session stays down whose path was lost. BFD tells when it is back, and TCP finds out by itself.
const LOST_PAUSE: Duration = Duration::from_secs(1);
/// Long enough for the daemon to end.
const END_PAUSE: Duration = Duration::from_mins(1);

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

/// The running speaker, if there is one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    stage: watch::Sender<Stage>,
    /// Peers that would not keep our routes: they are told that we go.
    told_goodbye: watch::Sender<BTreeSet<IpAddr>>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { stage: watch::Sender::default(), told_goodbye: watch::Sender::default() }
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

    /// These peers hear of an end of the daemon (and no others), because they keep no routes anyway.
    pub(super) fn leave_with_words<'a>(&self, peers: impl Iterator<Item = &'a Peer>) {
        self.told_goodbye.send_replace(peers.map(|peer| peer.config.address).collect());
    }

    /// Ends the speaker before the daemon ends. It goes without a word, so that the other nodes (and external peers, with
    /// graceful restart) keep the way to this node's pods while the daemon is replaced; the pods do not stop with it. Peers
    /// without graceful restart are told the reason.
    pub async fn stop(&self) {
        if let Stage::Running(speaker, bfd) = self.stage.send_replace(Stage::Ending) {
            for peer in self.told_goodbye.send_replace(BTreeSet::new()) {
                let cause = ResetCause::Administrator("routerd on this node ends".to_owned());
                let _ = speaker.reset_peer(peer, cause, END_PAUSE).await;
            }
            // One that has ended already needs no end.
            let _ = speaker.shutdown(Shutdown::Quiet).await;
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

/// Hands on what a speaker learns until it ends. Then all of it counts as lost, but not at the end of the daemon:
/// its routes stay in the kernel.
pub(super) async fn forward(
    mut events: mpsc::Receiver<RibEvent>,
    routes: mpsc::Sender<Vec<LearntRoute>>,
    link: Link,
) {
    let mut known: BTreeSet<Prefix> = BTreeSet::new();
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, BATCH).await > 0 {
        let learnt: Vec<LearntRoute> = batch.drain(..).map(|event| learnt(event, &mut known)).collect();
        if link.is_ending() || routes.send(learnt).await.is_err() {
            return;
        }
    }
    if link.is_ending() {
        return;
    }
    let lost = known.into_iter().map(|prefix| LearntRoute { prefix, next_hops: Vec::new() });
    // Whoever took them is gone only with the daemon.
    let _ = routes.send(lost.collect()).await;
}

fn learnt(event: RibEvent, known: &mut BTreeSet<Prefix>) -> LearntRoute {
    let RibEvent::Best { prefix, next_hops, .. } = event;
    if next_hops.is_empty() {
        known.remove(&prefix);
    } else {
        known.insert(prefix);
    }
    LearntRoute { prefix, next_hops }
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
