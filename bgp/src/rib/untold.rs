//! What the consumer of the chosen routes is still to be told.

use std::collections::VecDeque;
use std::net::IpAddr;

use prefix::Prefix;

/// The choice for a prefix, as a consumer is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The prefix.
    pub prefix: Prefix,
    /// The next hops; none if it is lost or ours.
    pub next_hops: Vec<IpAddr>,
    /// The peer that the best path came from.
    pub peer: Option<IpAddr>,
}

/// The prefixes whose choice has changed, in the order in which that began. Each is in it once, which the table sees to: how often a
/// choice changes while the consumer is busy costs no memory.
#[derive(Debug, Default)]
pub(super) struct Untold {
    prefixes: VecDeque<Prefix>,
    closed: bool,
}

impl Untold {
    /// Puts one at the end; false if nobody will ever be told.
    pub(super) fn queue(&mut self, prefix: Prefix) -> bool {
        if !self.closed {
            self.prefixes.push_back(prefix);
        }
        !self.closed
    }

    /// Takes the first one out.
    pub(super) fn next(&mut self) -> Option<Prefix> {
        let next = self.prefixes.pop_front();
        if self.prefixes.is_empty() {
            // A start fills it with all there is, which does not come again.
            self.prefixes = VecDeque::new();
        }
        next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Nobody is told anything from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }
}
