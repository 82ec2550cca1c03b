//! What the consumer of the chosen routes is still to be told.

use std::collections::VecDeque;
use std::net::IpAddr;

use prefix::{Hops, Prefix};

/// What is told at once at most: enough that the consumer is seldom woken, and few enough to cost little memory.
const BATCH: usize = 2048;

/// The choice for a prefix that others originate has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RibEvent {
    /// The destination.
    pub prefix: Prefix,
    /// The next hops, all equally good; none if the prefix is lost, or is ours now.
    pub next_hops: Hops<IpAddr>,
    /// The peer the best path came from.
    pub peer: Option<IpAddr>,
}

/// A batch of events, and the prefixes whose choice has changed since it is full, in the order in which that began. Each of those is in the
/// queue once, which the table sees to: how often a choice changes while the consumer is busy costs no memory.
#[derive(Debug, Default)]
pub(super) struct Untold {
    batch: Vec<RibEvent>,
    queue: VecDeque<Prefix>,
    closed: bool,
}

impl Untold {
    /// True if an event may be added now; else its prefix has to wait for its turn.
    pub(super) fn has_room(&self) -> bool {
        !self.is_full() && self.queue.is_empty() && !self.closed
    }

    /// True if the batch is as large as it may be.
    pub(super) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH
    }

    /// Adds an event to the batch.
    pub(super) fn push(&mut self, event: RibEvent) {
        self.batch.push(event);
    }

    /// Puts a prefix at the end of the queue; false if nobody will ever be told.
    pub(super) fn queue(&mut self, prefix: Prefix) -> bool {
        if !self.closed {
            self.queue.push_back(prefix);
        }
        !self.closed
    }

    /// Takes the first prefix out of the queue, if the batch has room for it.
    pub(super) fn next(&mut self) -> Option<Prefix> {
        let next = if self.is_full() { None } else { self.queue.pop_front() };
        if self.queue.is_empty() {
            // A start fills it with all there is, which does not come again.
            self.queue = VecDeque::new();
        }
        next
    }

    /// Takes the batch.
    pub(super) fn take(&mut self) -> Vec<RibEvent> {
        // Behind a full one comes another.
        let next = if self.is_full() { Vec::with_capacity(BATCH) } else { Vec::new() };
        std::mem::replace(&mut self.batch, next)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.queue.is_empty()
    }

    /// Nobody is told anything from now on; the prefixes that waited for it.
    pub(super) fn close(&mut self) -> VecDeque<Prefix> {
        self.closed = true;
        self.batch = Vec::new();
        std::mem::take(&mut self.queue)
    }
}
