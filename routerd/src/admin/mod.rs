//! What an operator sees: a root-only socket with the whole status, `/healthz`, `/readyz` and `/metrics`.
//!
//! Everything is read from what the cluster task and the planes publish; nothing here can delay them, and an answer
//! does not wait for work in progress.

pub mod client;
mod http;
mod metrics;
mod snapshot;
mod socket;
mod table;
#[cfg(test)]
mod tests;

use std::time::Instant;

use tokio::sync::watch;

pub use http::{Pages, serve as serve_http};
pub use snapshot::Snapshot;
pub use socket::{listen as listen_on_socket, serve as serve_socket};

use crate::advertise::Link;
use crate::cluster::status::ClusterStatus;
use crate::drops::Drops;
use crate::explain::Desk;
use crate::janitor::JanitorStatus;
use crate::pods::PodsStatus;
use crate::runner::Status;

/// What is published, and by whom. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Published {
    /// The node's name.
    pub node: String,
    /// When the daemon started.
    pub started: Instant,
    /// The view of the cluster.
    pub cluster: watch::Receiver<ClusterStatus>,
    /// The planes that run.
    pub planes: Vec<watch::Receiver<Status>>,
    /// Parts that could not be started, with the reason, as a plane without a thread.
    pub failed: watch::Receiver<Vec<(String, String)>>,
    /// BGP sessions and routes, as the speaker describes them.
    pub bgp: watch::Receiver<serde_json::Value>,
    /// Who answers questions about BGP.
    pub speaker: Option<Link>,
    /// The plugin's socket and what is attached.
    pub pods: watch::Receiver<PodsStatus>,
    /// What frees what pods leave behind.
    pub janitor: watch::Receiver<JanitorStatus>,
    /// Refused packets.
    pub drops: Drops,
    /// Who answers questions about policies.
    pub desk: Option<Desk>,
}
