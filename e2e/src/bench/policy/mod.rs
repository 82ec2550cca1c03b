//! NetworkPolicies: ours beside kube-router 2.11, on the same kernel in one run.
//!
//! The side outside makes what is needed and boots one node; the side on the node ([`node`]) is the bench. There API, programs
//! under test, packets and clock are of one kernel. Every program gets the same objects from the same small API server.

mod agent;
mod api;
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
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::copy;
use crate::guest::client::Cmd;
use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::paths::workspace;
use crate::process::{capture, command};
use crate::sandbox::Inside;
use crate::setup::Ready;

pub(super) use node::run as on_node;

/// Names kube-router, where it is not given as `--peer`.
const VARIABLE: &str = "ROUTERD_BENCH_PEER";

/// Where kube-router is looked for when nobody says, beside the workspace.
const DEFAULT_PEER: &str = "../shared/lab/peers/kube-router-2.11.xz";

/// Its packages: what the peer runs, and what makes the small networks.
pub(super) const PACKAGES: &[&str] = &["iptables", "ipset", "ipvsadm", "conntrack", "xz-utils"];

/// Memory of the guest in MiB.
const MEMORY: u32 = 2500;

/// The last line of a side on the node that did all it should, and the beginning of that of one that did not.
const OVER: &str = "the bench is over";
const FAILED: &str = "it failed: ";

/// What to measure.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Options {
    /// kube-router, plain or packed by xz [default: $ROUTERD_BENCH_PEER, else ../shared/lab/peers/kube-router-2.11.xz].
    #[arg(long, value_name = "PATH")]
    pub peer: Option<PathBuf>,
    /// Ours alone.
    #[arg(long)]
    pub without_peer: bool,
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
    let kind = if options.host { NodeKind::Host } else { NodeKind::Uml };
    let task = task(inside, ready, options)?;
    let file = inside.folder.join("task.json");
    std::fs::write(&file, serde_json::to_vec(&task)?)?;
    let plan =
        Plan { kind, kernel: ready.kernel.clone(), memory: MEMORY, count: 1, extras: Extras::default() };
    let lab = Lab::boot(inside, &plan)?;
    let program = std::env::current_exe().context("the lab does not know its own path")?;
    let cmd = Cmd::new(program.to_string_lossy()).words("bench policy-node").arg(file.to_string_lossy());
    let running = lab.node(1)?.spawn(cmd)?;
    // The connection outlives the program, so its last line is its end.
    for (_, line) in &running.lines {
        match line.strip_prefix(FAILED) {
            Some(reason) => bail!("the bench on the node failed: {reason}"),
            None if line == OVER => return Ok(()),
            None => println!("{line}"),
        }
    }
    bail!("the bench on the node ended before its end")
}

fn task(inside: &Inside, ready: &Ready, options: &Options) -> Result<Task> {
    let ours = inside.folder.join("bin/routerd");
    copy(&ready.binaries.join("routerd"), &ours)?;
    let peer = peer(options, &inside.folder)?;
    Ok(Task { options: options.clone(), ours, peer, folder: inside.folder.clone() })
}

/// kube-router, unpacked; nothing when it is not wanted or not there by default.
fn peer(options: &Options, folder: &Path) -> Result<Option<PathBuf>> {
    if options.without_peer {
        return Ok(None);
    }
    let given = options.peer.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let path = given.clone().unwrap_or_else(|| workspace().join(DEFAULT_PEER));
    if !path.is_file() {
        if given.is_some() {
            bail!("{} is no file: kube-router, plain or packed by xz, is wanted there", path.display());
        }
        println!(
            "  kube-router is not at {}: ours alone is measured. Name it with --peer or {VARIABLE}",
            path.display()
        );
        return Ok(None);
    }
    let to = folder.join("bin/kube-router");
    copy(&path, &to)?;
    if path.extension().is_some_and(|kind| kind == "xz") {
        let packed = folder.join("bin/kube-router.xz");
        std::fs::rename(&to, &packed)?;
        capture(command("xz").arg("--decompress").arg(&packed)).context("unpacking kube-router")?;
    }
    std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(Some(to))
}
