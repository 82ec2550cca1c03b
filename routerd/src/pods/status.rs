//! What an operator sees of the plugin's socket.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::watch;

use crate::latency::Latency;

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
