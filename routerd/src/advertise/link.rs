//! The speaker as others reach it, and the way of its routes into the index.

use std::collections::BTreeSet;

use bgp::{RibEvent, Shutdown, SpeakerHandle};
use prefix::Prefix;
use tokio::sync::{mpsc, watch};

use crate::cluster::objects::LearntRoute;

/// Routes handed on at once.
const BATCH: usize = 1024;

/// The running speaker, if there is one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Link {
    speaker: watch::Receiver<Option<SpeakerHandle>>,
}

impl Link {
    pub(super) fn new(speaker: watch::Receiver<Option<SpeakerHandle>>) -> Self {
        Self { speaker }
    }

    /// The handle of the speaker that runs now.
    pub fn speaker(&self) -> Option<SpeakerHandle> {
        self.speaker.borrow().clone()
    }

    /// Ends the speaker before the daemon ends. It goes without a word, so that the other nodes keep the way to this
    /// node's pods while the daemon is replaced; the pods do not stop with it.
    pub async fn stop(&self) {
        if let Some(speaker) = self.speaker() {
            // One that has ended already needs no end.
            let _ = speaker.shutdown(Shutdown::Quiet).await;
        }
    }
}

/// Hands on what a speaker learns until it ends; then all of it counts as lost.
pub(super) async fn forward(mut events: mpsc::Receiver<RibEvent>, routes: mpsc::Sender<Vec<LearntRoute>>) {
    let mut known: BTreeSet<Prefix> = BTreeSet::new();
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, BATCH).await > 0 {
        let learnt: Vec<LearntRoute> = batch.drain(..).map(|event| learnt(event, &mut known)).collect();
        if routes.send(learnt).await.is_err() {
            return;
        }
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
