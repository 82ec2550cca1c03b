//! A node on its way out of service: traffic is led away before it has nowhere to go.
//!
//! ```text
//!  cordoned, leaving or shutting down ─► GRACEFUL_SHUTDOWN (RFC 8326) with all that external peers are told
//!  and its pods are gone, after the wait ─► the addresses of Services are withdrawn
//!  and the daemon ends, after the wait   ─► external peers are told so (Cease), and drop the rest
//! ```

use std::time::{Duration, Instant};

use crate::cluster::Index;
use crate::cluster::objects::{Node, Pod};

/// How far a node is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaving {
    /// It stays.
    #[default]
    No,
    /// It is about to go and still has pods.
    Going,
    /// Nothing keeps it: its pods are gone but for those of DaemonSets, which a drain leaves, or the machine goes down.
    Gone,
}

impl Leaving {
    /// How far `own`, the node this runs on, is.
    pub(super) fn of(index: &Index, own: &Node) -> Self {
        match (own.shutting_down, own.unschedulable || own.leaving) {
            (true, _) => Leaving::Gone,
            (false, true) if is_drained(index) => Leaving::Gone,
            (false, true) => Leaving::Going,
            (false, false) => Leaving::No,
        }
    }

    /// True if traffic had better go elsewhere.
    pub(super) fn is_going(own: &Node) -> bool {
        own.shutting_down || own.unschedulable || own.leaving
    }
}

/// True if a drain would find no pod here any more: those in the host's network count too.
fn is_drained(index: &Index) -> bool {
    let keeps = |pod: &Pod| !pod.finished && !pod.drain_leaves;
    let here = |pod: &Pod| pod.node.as_deref() == Some(index.node_name());
    !index.pods().values().any(|pod| here(pod) && keeps(pod))
}

/// The time that others have to look for another way.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    time: Duration,
    leaving: Leaving,
    /// When external peers were first told that the node goes.
    since: Option<Instant>,
}

impl Wait {
    /// One of this length.
    pub(super) fn new(time: Duration) -> Self {
        Self { time, leaving: Leaving::No, since: None }
    }

    /// Notes how far the node is at `now`.
    pub(super) fn note(&mut self, leaving: Leaving, now: Instant) {
        self.leaving = leaving;
        self.since = (leaving != Leaving::No).then(|| self.since.unwrap_or(now));
    }

    /// When the node may go, if nothing keeps it.
    pub(super) fn end(&self) -> Option<Instant> {
        self.since.filter(|_| self.leaving == Leaving::Gone).map(|since| since + self.time)
    }

    /// True if it is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.end().is_some_and(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_begins_with_the_first_word_and_ends_only_for_a_node_that_nothing_keeps() {
        let (start, time) = (Instant::now(), Duration::from_secs(5));
        let mut wait = Wait::new(time);
        wait.note(Leaving::Going, start);
        assert_eq!(wait.end(), None);
        wait.note(Leaving::Gone, start + time / 2);
        assert_eq!(wait.end(), Some(start + time));
        assert!(!wait.is_over(start) && wait.is_over(start + time));
        wait.note(Leaving::No, start + time);
        wait.note(Leaving::Gone, start + 2 * time);
        assert_eq!(wait.end(), Some(start + 3 * time));
    }
}
