//! Services: ours beside kube-router 2.11 and kube-proxy's nftables mode, on the same kernel in one run.
//!
//! Every program gets the same objects from the same small API server and a network of its own on the node; its Services are asked
//! by real connections, so it does not matter by what means it serves them.

mod cold;
mod factor;
mod flip;
mod objects;
mod parts;
mod probe;
mod program;
mod repair;
mod rolling;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

use self::factor::Costs;
use super::peer::Peer;
use super::{copy, on_node};
use crate::guest::NodeKind;
use crate::sandbox::Inside;
use crate::setup::{Ready, go};

/// Memory of the guest in MiB.
const MEMORY: u32 = 3000;

/// What to measure.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Options {
    /// What it is compared with. Without the peer kube-proxy is left out as well.
    #[command(flatten)]
    pub peer: Peer,
    /// How many Services of two endpoints, ascending; none with 0.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 5000, 20_000], value_name = "N")]
    pub sizes: Vec<usize>,
    /// The peers are left out where there are more Services: kube-router takes longer than their square.
    #[arg(long, default_value_t = 5000, value_name = "N")]
    pub peers_up_to: usize,
    /// Endpoints of the one Service whose endpoints are rolled; no such part with 0.
    #[arg(long, default_value_t = 5000, value_name = "N")]
    pub endpoints: usize,
    /// A folder with routerd built before, instead of building it.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

/// What the side on the node is told.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    options: Options,
    ours: PathBuf,
    kube_router: Option<PathBuf>,
    kube_proxy: Option<PathBuf>,
    folder: PathBuf,
    /// What work costs on the machine that the guest runs on.
    machine: Costs,
}

/// Makes kube-proxy when it is wanted and not there.
pub(super) fn prepare(options: &Options) -> Result<()> {
    if !options.peer.without_peer && go::proxy()?.is_none() {
        println!("  without kube-proxy: {}", go::missing());
    }
    Ok(())
}

/// Boots the node and shows what the bench on it prints. The process must be inside its [`crate::sandbox`].
pub(super) fn run(inside: &Inside, ready: &Ready, options: &Options) -> Result<()> {
    let ours = inside.folder.join("bin/routerd");
    copy(&ready.binaries.join("routerd"), &ours)?;
    let kube_router = options.peer.unpack(&inside.folder)?;
    let kube_proxy = if options.peer.without_peer { None } else { go::proxy()? };
    let folder = inside.folder.clone();
    let machine = factor::measure()?;
    let task = Task { options: options.clone(), ours, kube_router, kube_proxy, folder, machine };
    on_node::run(inside, ready, NodeKind::Uml, MEMORY, ("services-node", &task))
}

/// Where programs are started from on the node: in memory, as the file of an image is that has just been unpacked. The guest's
/// disk keeps no page of a program that is not running (`hostfs`), so each start would read it anew.
const PROGRAMS: &str = "/run/bench-programs";

impl Task {
    /// The same, with the programs in memory.
    fn in_memory(&self) -> Result<Self> {
        let take = |path: &PathBuf| {
            let there = Path::new(PROGRAMS).join(path.file_name().unwrap_or_default());
            copy(path, &there).map(|()| there)
        };
        let other = |path: &Option<PathBuf>| path.as_ref().map(take).transpose();
        Ok(Self {
            options: self.options.clone(),
            ours: take(&self.ours)?,
            kube_router: other(&self.kube_router)?,
            kube_proxy: other(&self.kube_proxy)?,
            folder: self.folder.clone(),
            machine: self.machine,
        })
    }
}

/// The side on the node.
pub(super) fn node_side(file: &Path) -> Result<()> {
    on_node::side(file, |task: &Task| {
        let task = &task.in_memory()?;
        let kernel = on_node::kernel(NodeKind::Uml)?;
        factor::show(&task.machine, &factor::measure()?);
        for size in task.options.sizes.iter().filter(|size| **size > 0) {
            parts::sized(task, *size, &kernel);
        }
        if task.options.endpoints > 0 {
            parts::rolled(task, &kernel);
        }
        Ok(())
    })
}
