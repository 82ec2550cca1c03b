//! A bench whose other side is this program on a node: API, programs under test, packets and clock are of one kernel there.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::guest::client::Cmd;
use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::sandbox::Inside;
use crate::setup::Ready;

/// The last line of a side on the node that did all it should, and the beginning of that of one that did not.
const OVER: &str = "the bench is over";
const FAILED: &str = "it failed: ";

/// Boots a node with so many MiB of memory, runs a subcommand of `bench` there with its task, and shows what it prints. The process
/// must be inside its [`crate::sandbox`].
pub(super) fn run(
    inside: &Inside,
    ready: &Ready,
    kind: NodeKind,
    memory: u32,
    (subcommand, task): (&str, &impl Serialize),
) -> Result<()> {
    let file = inside.folder.join("task.json");
    std::fs::write(&file, serde_json::to_vec(task)?)?;
    let plan = Plan { kind, kernel: ready.kernel.clone(), memory, count: 1, extras: Extras::default() };
    let lab = Lab::boot(inside, &plan)?;
    let program = std::env::current_exe().context("the lab does not know its own path")?;
    let cmd = Cmd::new(program.to_string_lossy()).words("bench").arg(subcommand).arg(file.to_string_lossy());
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

/// The side on the node: does what the file says, and says how that ended.
pub(super) fn side<T: DeserializeOwned>(file: &Path, work: impl FnOnce(&T) -> Result<()>) -> Result<()> {
    let task: T = serde_json::from_slice(&std::fs::read(file)?)?;
    match work(&task) {
        Ok(()) => println!("{OVER}"),
        Err(error) => println!("{FAILED}{}", format!("{error:#}").replace('\n', " | ")),
    }
    Ok(())
}

/// What the figures are of.
pub(super) fn kernel(kind: NodeKind) -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    let what = match kind {
        NodeKind::Host => "This machine's kernel",
        NodeKind::Uml => "A guest's kernel (User Mode Linux: one CPU, slow system calls)",
    };
    Ok(format!("{what}, Linux {}", release.trim()))
}
