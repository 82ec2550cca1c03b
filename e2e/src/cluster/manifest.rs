//! The manifest users apply, with the values it marks at its top set for this cluster.

use anyhow::{Context, Result};

/// Where the manifest puts routerd.
pub(super) const NAMESPACE: &str = "kube-system";

/// Its DaemonSet.
pub(super) const DAEMON_SET: &str = "routerd";

/// The manifest of `daemonset/` for the lab's cluster.
pub(super) fn routerd() -> Result<String> {
    let path = crate::paths::workspace().join("daemonset/routerd-all-features.yaml");
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}
