//! `cargo lab bench`: figures beside those of a peer, taken in the same run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::cli::Nodes;
use crate::guest::NodeKind;
use crate::paths::cache;
use crate::sandbox::{self, Inside, Outcome};
use crate::setup::{self, Ready, binaries, go, packages};

mod agent;
mod api;
mod bgp;
mod cni;
mod on_node;
mod peer;
mod policy;
mod services;
mod table;
mod world;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// ADD and DEL, one by one and many at once, beside Debian's reference plugins and those of the current release,
    /// on this kernel.
    Cni {
        /// How many pods one by one.
        #[arg(long, default_value_t = 100)]
        rounds: usize,
        /// With how many other pods on the node, ascending.
        #[arg(long, value_delimiter = ',', default_values_t = [0, 200, 1000])]
        others: Vec<usize>,
        /// Ours alone: the reference plugins take minutes to make a thousand pods.
        #[arg(long)]
        alone: bool,
        /// A folder with routerd-cni built before, instead of building it.
        #[arg(long, value_name = "DIR")]
        binaries: Option<PathBuf>,
    },
    /// BGP beside BIRD 2, FRR 8 and GoBGP 3: tables of many routes in and on, memory, CPU.
    Bgp(bgp::Options),
    /// NetworkPolicies beside kube-router 2.11: start, changes, memory, scale and the cost of a packet.
    Policy(policy::Options),
    /// The side of `policy` that runs on the node.
    #[command(hide = true)]
    PolicyNode {
        /// What to do.
        task: PathBuf,
    },
    /// Services beside kube-router 2.11 and kube-proxy's nftables mode: start, an endpoint's change, CPU and memory, in a guest.
    Services(services::Options),
    /// The side of `services` that runs on the node.
    #[command(hide = true)]
    ServicesNode {
        /// What to do.
        task: PathBuf,
    },
}

/// Hands what was prepared to the process inside.
const READY: &str = "ready.json";

/// The subcommand: both sides of the name spaces. Returns the exit status.
pub fn command(bench: &Bench, arguments: &[String]) -> Result<u8> {
    match bench {
        Bench::PolicyNode { task } => return policy::node_side(task).map(|()| 0),
        Bench::ServicesNode { task } => return services::node_side(task).map(|()| 0),
        _ => {}
    }
    if let Some(inside) = Inside::enter()? {
        let ready: Ready = serde_json::from_slice(&fs::read(inside.folder.join(READY))?)?;
        match bench {
            Bench::Cni { rounds, others, alone, .. } => {
                let release = go::reference_plugins()?.map(|folder| (folder, go::reference_release()));
                let (rounds, others, alone) = (*rounds, others.clone(), *alone);
                let binaries = &ready.binaries;
                cni::run(&inside, &cni::Plan { binaries, release, rounds, others, alone })?;
            }
            Bench::Bgp(options) => bgp::run(&inside, &ready, options)?,
            Bench::Policy(options) => policy::run(&inside, &ready, options)?,
            Bench::Services(options) => services::run(&inside, &ready, options)?,
            Bench::PolicyNode { .. } | Bench::ServicesNode { .. } => {}
        }
        return Ok(0);
    }
    let ready = prepare(bench)?;
    let folder = sandbox::new_folder("bench")?;
    fs::write(folder.join(READY), serde_json::to_vec(&ready)?)?;
    let outcome = sandbox::run(&folder, arguments);
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    match outcome? {
        Outcome::Over(status) => Ok(status),
        Outcome::Kept(..) => bail!("the bench was kept, which it never asks for"),
    }
}

fn prepare(bench: &Bench) -> Result<Ready> {
    let cache = cache()?;
    match bench {
        Bench::Cni { binaries, .. } => {
            let peers = ["containernetworking-plugins", "iptables"];
            packages::ensure(&[packages::RUN, packages::BUILD, &peers], &cache)?;
            if go::reference_plugins()?.is_none() {
                println!("  without the reference plugins {}: {}", go::reference_release(), go::missing());
            }
            Ok(Ready { kernel: None, binaries: binaries::prepare(binaries.as_deref())? })
        }
        Bench::Bgp(options) => {
            packages::ensure(&[packages::RUN, packages::BUILD], &cache)?;
            bgp::prepare(options)?;
            Ok(Ready { kernel: None, binaries: binaries::prepare(options.binaries.as_deref())? })
        }
        Bench::Policy(options) => {
            packages::ensure(&[peer::PACKAGES], &cache)?;
            setup::nodes(&Nodes { kernel: options.kind(), binaries: options.binaries.clone() })
        }
        Bench::PolicyNode { .. } | Bench::ServicesNode { .. } => {
            bail!("this is a helper that the lab starts itself")
        }
        Bench::Services(options) => {
            packages::ensure(&[peer::PACKAGES], &cache)?;
            services::prepare(options)?;
            setup::nodes(&Nodes { kernel: NodeKind::Uml, binaries: options.binaries.clone() })
        }
    }
}

/// A program copied under another name.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).map(|_| ()).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}
