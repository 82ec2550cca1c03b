//! The real control plane in the lab: etcd, API server, controller-manager and scheduler beside the nodes; containerd,
//! runc and the kubelet on them; and routerd deployed as its users deploy it, from an image and a manifest.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::sandbox::Inside;
use crate::setup::go::Programs;

mod balancers;
mod checks;
mod control_plane;
mod diagnose;
mod dns;
mod door;
mod health;
mod host_ports;
pub mod http;
mod manifest;
mod node;
mod pods;
mod policy;
mod rollout;
mod run;
pub mod runtime;
mod teardown;

pub use door::{PACKAGES, command, prepare};

pub(crate) use control_plane::{DUAL_STACK, IPV4, Ranges};
pub(crate) use diagnose::keep_nodes;
pub(crate) use dns::image as dns_image;
pub(crate) use run::Cluster;

/// Memory of a node in MiB: images and pods' files lie in memory there.
const MEMORY: u32 = 3000;

/// Nodes of the cluster.
const NODES: u8 = 2;

/// What the cluster is made of, all of it made before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parts {
    /// The User Mode Linux kernel.
    pub kernel: PathBuf,
    /// The folder of routerd's static programs.
    pub binaries: PathBuf,
    /// The Go programs.
    pub programs: Programs,
}

/// A measured line: what, and its value.
pub type Line = (String, String);

/// Brings a cluster up with routerd as its only network, checks it and takes it down again. Prints a line a step and
/// returns the measured ones. The process must be inside its [`crate::sandbox`].
pub fn verify(inside: &Inside, parts: &Parts) -> Result<Vec<Line>> {
    let begin = Instant::now();
    let folder = inside.folder.join("cluster");
    std::fs::create_dir_all(&folder)?;
    let lab = boot(inside, parts, NODES, IPV4)?;
    let mut cluster = Cluster::new(lab, folder, IPV4).with_flags(&balancers::FLAGS.map(str::to_owned));
    match cluster.run(parts) {
        Ok(()) => {
            let mut lines = cluster.end()?;
            lines.push(("the whole, from boot to nothing left".into(), run::seconds(begin.elapsed())));
            Ok(lines)
        }
        Err(error) => Err(error.context(cluster.keep_evidence())),
    }
}

/// Boots this many nodes, each with memory for images and pods, and an address of each family of `ranges`.
pub(crate) fn boot(inside: &Inside, parts: &Parts, count: u8, ranges: Ranges) -> Result<Lab> {
    let plan = Plan {
        kind: NodeKind::Uml,
        kernel: Some(parts.kernel.clone()),
        memory: MEMORY,
        count,
        extras: Extras { dual_stack: ranges.has_both(), ..Extras::default() },
    };
    Lab::boot(inside, &plan)
}
