//! What is measured: which plugins, in which configuration.

use std::path::Path;

use serde_json::{Value, json};

use super::node;
use super::plugin::Chain;

/// Where the plugins are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folders<'a> {
    /// Ours, under all its names.
    pub(super) ours: &'a Path,
    /// Debian's reference plugins; `None` to measure ours alone.
    pub(super) debian: Option<&'a Path>,
    /// Those of the current release, and what it is called; absent on a machine without Go.
    pub(super) release: Option<(&'a Path, &'static str)>,
}

/// One table: columns beside each other, the first one ours.
#[derive(Debug)]
pub(super) struct Scenario {
    /// Its title.
    pub(super) title: &'static str,
    /// Its columns.
    pub(super) chains: Vec<Chain>,
    /// How many pods at once.
    pub(super) at_once: usize,
    /// The reference plugins take so long that fewer samples of them must do.
    pub(super) slow: bool,
}

fn bridge(kind: &str, masquerade: bool) -> Value {
    json!({
        "type": kind, "isDefaultGateway": true, "hairpinMode": true, "ipMasq": masquerade,
        "ipam": {"type": "host-local"},
    })
}

/// Three plugins, as of a list that was written for the reference plugins.
fn three() -> Vec<Value> {
    vec![
        bridge("bridge", true),
        json!({"type": "portmap", "capabilities": {"portMappings": true}}),
        json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
    ]
}

/// The same in one plugin of ours.
fn one(routerd: Option<Value>) -> Vec<Value> {
    let mut entry = bridge("routerd-cni", true);
    entry["capabilities"] = json!({"portMappings": true, "bandwidth": true});
    if let Some(routerd) = routerd {
        entry["routerd"] = routerd;
    }
    vec![entry]
}

/// Without the daemon: it is not there, and its absence is no failure.
fn alone() -> Value {
    json!({"required": false, "socket": "/run/routerd/absent.sock"})
}

fn theirs(of: &Folders<'_>, entries: &[Value]) -> Vec<Chain> {
    let mut chains = Vec::new();
    if let Some(folder) = of.debian {
        chains.push(Chain::new("Debian's 1.1.1", &node::DEBIAN, folder, entries.to_vec()));
    }
    if let Some((folder, release)) = of.release {
        chains.push(Chain::new(format!("release {release}"), &node::RELEASE, folder, entries.to_vec()));
    }
    chains
}

/// Bridge and host-local alone.
pub(super) fn plain(of: &Folders<'_>) -> Scenario {
    let entries = vec![bridge("bridge", false)];
    let mut chains = vec![Chain::new("ours, as bridge", &node::OURS, of.ours, entries.clone())];
    chains.extend(theirs(of, &entries));
    Scenario { title: "bridge and host-local", chains, at_once: 50, slow: false }
}

/// Masquerading, two mappings and limits too.
pub(super) fn whole(of: &Folders<'_>) -> Scenario {
    let mut chains = vec![
        Chain::new("ours, one exec", &node::OURS, of.ours, one(Some(alone()))),
        Chain::new("ours, chained", &node::OURS, of.ours, three()),
    ];
    chains.extend(theirs(of, &three()));
    let title = "whole chain: bridge (ipMasq), portmap (1 TCP, 1 UDP), bandwidth";
    Scenario { title, chains, at_once: 50, slow: true }
}

/// The whole chain, and the daemon commits the pod's policy before ADD returns.
pub(super) fn policy(of: &Folders<'_>) -> Scenario {
    let chains = vec![Chain::new("ours, with routerd", &node::DAEMON, of.ours, one(None))];
    let title = "whole chain in one exec, the pod's policy committed by routerd";
    Scenario { title, chains, at_once: 100, slow: false }
}
