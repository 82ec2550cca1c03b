//! NetworkPolicies: ours beside kube-router 2.11, on the same kernel in one run.
//!
//! The side outside makes what is needed and boots one node; the side on the node ([`node`]) is the bench. There API, programs
//! under test, packets and clock are of one kernel. Every program gets the same objects from the same small API server.

mod agent;
mod commits;
mod compare;
mod node;
mod objects;
mod packets;
mod parts;
mod probe;
mod scale;
mod sizes;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::{copy, on_node};
use crate::sandbox::Inside;
use crate::setup::Ready;

pub(super) use node::run as node_side;

/// Memory of the guest in MiB.
const MEMORY: u32 = 2500;

/// What to measure.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Options {
    /// What it is compared with.
    #[command(flatten)]
    pub peer: Peer,
    /// On this machine's kernel, in network namespaces, instead of a guest's: figures near to those of a real node.
    #[arg(long)]
    pub host: bool,
    /// Small sizes, for a look of three minutes.
    #[arg(long)]
    pub quick: bool,
    /// Pods of the cluster that is compared.
    #[arg(long, value_name = "N")]
    pub pods: Option<usize>,
    /// How many of them are on the node.
    #[arg(long, value_name = "N")]
    pub local: Option<usize>,
    /// Its policies.
    #[arg(long, value_name = "N")]
    pub policies: Option<usize>,
    /// How many changes of each kind.
    #[arg(long, value_name = "N")]
    pub changes: Option<usize>,
    /// A folder with routerd built before, instead of building it.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

/// What the side on the node is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    options: Options,
    ours: PathBuf,
    peer: Option<PathBuf>,
    folder: PathBuf,
}

/// Boots the node and shows what the bench on it prints. The process must be inside its [`crate::sandbox`].
pub(super) fn run(inside: &Inside, ready: &Ready, options: &Options) -> Result<()> {
    let task = task(inside, ready, options)?;
    on_node::run(inside, ready, options.kind(), MEMORY, ("policy-node", &task))
}

fn task(inside: &Inside, ready: &Ready, options: &Options) -> Result<Task> {
    let ours = inside.folder.join("bin/routerd");
    copy(&ready.binaries.join("routerd"), &ours)?;
    let peer = options.peer.unpack(&inside.folder)?;
    Ok(Task { options: options.clone(), ours, peer, folder: inside.folder.clone() })
}
