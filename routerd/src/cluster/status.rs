//! What the cluster side says of itself.

use std::collections::BTreeMap;

use serde::Serialize;

/// An object, a file or a connection that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceProblem {
    /// What it concerns, as `NetworkPolicy default/web`, `pods.yaml document 2` or `API server`.
    pub item: String,
    /// What is wrong and what to do; for an object the field is named.
    pub message: String,
}

/// The state of the view of the cluster, published by the task that owns the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// Where the view comes from, as `API server https://10.0.0.1:6443` or `folder /etc/routerd/manifests`.
    pub source: String,
    /// True once everything was seen one time; planes write nothing before.
    pub complete: bool,
    /// True if the Node object of this node is there: without it no pod is known to be this node's.
    pub own_node: bool,
    /// Objects held, by kind.
    pub objects: BTreeMap<&'static str, u64>,
    /// Events taken in since the start.
    pub events: u64,
    /// What could not be read.
    pub problems: Vec<SourceProblem>,
}
