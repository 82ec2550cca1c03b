//! What an operator sees of the plugin's socket.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

/// Upper bounds of the classes of the time an attach took, in seconds.
pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// How long attaches took, from the request to the answer that the policy is in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
    /// The longest one in seconds.
    pub most_seconds: f64,
    /// How many fell into each class of [`BOUNDS`]; the last one is what is beyond.
    pub classes: [u64; BOUNDS.len() + 1],
}

impl Latency {
    /// Takes one in.
    pub(super) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.count += 1;
        self.sum_seconds += seconds;
        self.most_seconds = self.most_seconds.max(seconds);
        let class = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.classes[class] += 1;
    }
}

/// The state of the plugin's socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PodsStatus {
    /// True if an attach would be served.
    pub ready: bool,
    /// Why not; empty if it would.
    pub reason: String,
    /// Interfaces of pods that are attached.
    pub attachments: u64,
    /// Plugins that wait for their answer.
    pub waiting: u64,
    /// How long attaches took.
    pub latency: Latency,
    /// Attaches that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections that were closed without being served, by reason.
    pub connections_refused: BTreeMap<&'static str, u64>,
}

/// Where the parts of the server say what happened. Cheap to clone.
pub type Board = std::sync::Arc<watch::Sender<PodsStatus>>;

/// A board with nothing on it.
pub fn board() -> Board {
    std::sync::Arc::new(watch::Sender::new(PodsStatus::default()))
}

/// Counts a connection that was closed without being served.
pub(super) fn refused(board: &Board, reason: &'static str) {
    board.send_modify(|status| *status.connections_refused.entry(reason).or_default() += 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_class_that_holds_it() {
        let mut latency = Latency::default();
        for millis in [1, 2, 15, 99, 20_000] {
            latency.observe(Duration::from_millis(millis));
        }
        assert_eq!(latency.classes, [1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!((latency.count, latency.most_seconds), (5, 20.0));
    }
}
