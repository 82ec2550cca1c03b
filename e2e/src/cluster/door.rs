//! `cargo lab cluster`: everything made that is missing, then the cluster in name spaces of its own.

use anyhow::{Context, Result, bail};

use super::{Line, Parts, verify};
use crate::cli::Nodes;
use crate::guest::NodeKind;
use crate::sandbox::{self, Inside};
use crate::setup::go::{self, Programs};
use crate::setup::{self, packages};

/// What only this test needs of Debian.
pub const PACKAGES: &[&str] = &["runc", "openssl", "ca-certificates", "procps"];

/// Hands the parts from the process that makes them to the one inside.
const FILE: &str = "cluster-parts.json";

/// Makes what is missing.
///
/// # Errors
/// Also on a machine without Go: a control plane that did not run is not one that was shown.
pub fn prepare(nodes: &Nodes) -> Result<Parts> {
    if nodes.kernel != NodeKind::Uml {
        bail!("the kubelet needs nodes with kernels of their own: run it without `--kernel host`");
    }
    packages::ensure(&[PACKAGES], &crate::paths::cache()?)?;
    let Some(programs) = Programs::prepare()? else { bail!("{}", go::missing()) };
    let ready = setup::nodes(nodes)?;
    let kernel = ready.kernel.context("no kernel was made")?;
    Ok(Parts { kernel, binaries: ready.binaries, programs })
}

/// The subcommand: both sides of the name spaces. Returns the exit status.
pub fn command(nodes: &Nodes, arguments: &[String]) -> Result<u8> {
    if let Some(inside) = Inside::enter()? {
        let parts = serde_json::from_slice(&std::fs::read(inside.folder.join(FILE))?)?;
        print_table(&verify(&inside, &parts)?);
        return Ok(0);
    }
    sandbox::run_with("cluster", (FILE, &prepare(nodes)?), arguments)
}

fn print_table(lines: &[Line]) {
    let width = lines.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    for (what, value) in lines {
        println!("  {what:width$}  {value}");
    }
    println!("cluster: {} shown, 0 failed", lines.len());
}
