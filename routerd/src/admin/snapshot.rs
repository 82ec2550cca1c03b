//! The status of the daemon at one moment, as the socket gives it out.

use std::time::UNIX_EPOCH;

use serde::Serialize;
use serde_json::Value;

use super::Published;
use crate::cluster::status::ClusterStatus;
use crate::drops::DropsStatus;
use crate::janitor::JanitorStatus;
use crate::latency::Latency;
use crate::pods::PodsStatus;
use crate::runner::Status;

/// One plane.
#[derive(Debug, Clone, Serialize)]
pub struct PlaneSnapshot {
    /// Its name.
    pub name: &'static str,
    /// `ok`, `waiting` (for the first complete view), `problems` (of single objects) or `broken` (as a whole).
    pub state: &'static str,
    /// Objects it holds, by kind.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// How often it was applied.
    pub runs: u64,
    /// Kernel writes since the start.
    pub writes: u64,
    /// How often something that others had changed in the kernel was put right.
    pub repairs: u64,
    /// How long the last run took, in milliseconds.
    pub last_duration_ms: f64,
    /// How long runs took; for the metrics.
    #[serde(skip)]
    pub durations: Latency,
    /// When a run last ended without a problem, in seconds since 1970.
    pub last_success: Option<f64>,
    /// What could not be done.
    pub problems: Vec<ProblemSnapshot>,
}

/// One thing that could not be done.
#[derive(Debug, Clone, Serialize)]
pub struct ProblemSnapshot {
    /// The object.
    pub item: String,
    /// Why, and what to do.
    pub message: String,
}

/// The status of the daemon.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// The node's name.
    pub node: String,
    /// The version of routerd.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// True if every plane holds what the cluster wants, as far as whole planes go.
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// The view of the cluster.
    pub cluster: ClusterStatus,
    /// The planes.
    pub planes: Vec<PlaneSnapshot>,
    /// BGP sessions and routes.
    pub bgp: Value,
    /// The plugin's socket and what is attached.
    pub pods: PodsStatus,
    /// What frees what pods leave behind, and the addresses of our networks.
    pub janitor: JanitorStatus,
    /// The reader of refused packets.
    pub drops: DropsStatus,
}

fn plane(status: &Status) -> PlaneSnapshot {
    let state = match status {
        status if !status.synced => "waiting",
        status if status.is_broken() => "broken",
        status if !status.problems.is_empty() => "problems",
        _ => "ok",
    };
    let problems = status
        .problems
        .iter()
        .map(|problem| ProblemSnapshot { item: problem.item.clone(), message: problem.message.clone() })
        .collect();
    PlaneSnapshot {
        name: status.name,
        state,
        counts: status.counts.clone(),
        runs: status.runs,
        writes: status.writes,
        repairs: status.repairs,
        last_duration_ms: status.last_duration.as_secs_f64() * 1000.0,
        durations: status.durations.clone(),
        last_success: status
            .last_success
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map(|since| since.as_secs_f64()),
        problems,
    }
}

fn reasons(
    node: &str,
    cluster: &ClusterStatus,
    planes: &[PlaneSnapshot],
    failed: &[(String, String)],
) -> Vec<String> {
    let mut reasons = Vec::new();
    if !cluster.complete {
        reasons
            .push(format!("the first complete view of the cluster has not come yet from {}", cluster.source));
    }
    if cluster.complete && !cluster.own_node {
        reasons.push(format!(
            "{} has no Node {node}, so nobody knows which pods are this node's; the name comes from --hostname-override, NODE_NAME or the host's name",
            cluster.source
        ));
    }
    for plane in planes {
        match plane.state {
            "waiting" if cluster.complete => {
                reasons.push(format!("{}: the first sync is under way", plane.name));
            }
            "broken" => reasons.extend(
                plane
                    .problems
                    .iter()
                    .filter(|problem| problem.item == plane.name)
                    .map(|problem| format!("{}: {}", plane.name, problem.message)),
            ),
            _ => {}
        }
    }
    reasons.extend(failed.iter().map(|(part, reason)| format!("{part}: {reason}")));
    reasons
}

impl Snapshot {
    /// Reads everything that is published.
    pub fn take(published: &Published) -> Self {
        let cluster = published.cluster.borrow().clone();
        let planes: Vec<_> = published.planes.iter().map(|status| plane(&status.borrow())).collect();
        let reasons = reasons(&published.node, &cluster, &planes, &published.failed.borrow());
        Self {
            node: published.node.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: published.started.elapsed().as_secs_f64(),
            ready: reasons.is_empty(),
            reasons,
            cluster,
            planes,
            bgp: published.bgp.borrow().clone(),
            pods: published.pods.borrow().clone(),
            janitor: published.janitor.borrow().clone(),
            drops: published.drops.status(),
        }
    }
}
