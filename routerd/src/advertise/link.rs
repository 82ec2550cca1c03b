//! The speaker as others reach it, and the way of its routes into the index.

use std::collections::BTreeSet;

use bgp::{RibEvent, Shutdown, SpeakerHandle};
use prefix::Prefix;
use tokio::sync::{mpsc, watch};

use crate::cluster::objects::LearntRoute;

/// Routes handed on at once.
const BATCH: usize = 1024;

/// Where the speaker's life stands.
#[derive(Debug, Clone, Default)]
pub(super) enum Stage {
    /// The node is not known, or wrong.
    #[default]
    Absent,
    /// It runs.
    Running(SpeakerHandle),
    /// The daemon ends, and the speaker with it.
    Ending,
}

/// The running speaker, if there is one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    stage: watch::Sender<Stage>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { stage: watch::Sender::default() }
    }

    /// The handle of the speaker that runs now.
    pub fn speaker(&self) -> Option<SpeakerHandle> {
        match &*self.stage.borrow() {
            Stage::Running(speaker) => Some(speaker.clone()),
            Stage::Absent | Stage::Ending => None,
        }
    }

    /// Ends the speaker before the daemon ends. It goes without a word, so that the other nodes keep the way to this
    /// node's pods while the daemon is replaced; the pods do not stop with it.
    pub async fn stop(&self) {
        if let Stage::Running(speaker) = self.stage.send_replace(Stage::Ending) {
            // One that has ended already needs no end.
            let _ = speaker.shutdown(Shutdown::Quiet).await;
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
