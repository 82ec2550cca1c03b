//! `cargo lab cni`: cnitool and libcni of the current CNI release drive the plugin as container runtimes do, in every
//! version of the protocol, with the plugins of a chain and with all of them in one. On this kernel, in name spaces of
//! its own.

mod checks;
mod driver;
mod lists;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use self::driver::Driver;
use crate::demo::report::Report;
use crate::guest::{agent, boot};
use crate::paths::cache;
use crate::sandbox::{self, Inside};
use crate::setup::{Ready, binaries, go, packages};

/// The node's name space.
const NODE: &str = "node";

/// Hands what was prepared to the process inside.
const READY: &str = "ready.json";

/// The subcommand: both sides of the name spaces. Returns the exit status.
pub fn command(given: Option<&Path>, arguments: &[String]) -> Result<u8> {
    if let Some(inside) = Inside::enter()? {
        let ready: Ready = serde_json::from_slice(&fs::read(inside.folder.join(READY))?)?;
        return run(&inside, &ready.binaries);
    }
    packages::ensure(&[packages::RUN, packages::BUILD], &cache()?)?;
    if go::cni_drivers()?.is_none() || go::reference_plugins()?.is_none() {
        bail!("{}", go::missing());
    }
    let ready = Ready { kernel: None, binaries: binaries::prepare(given)? };
    sandbox::run_with("cni", (READY, &ready), arguments)
}

fn run(inside: &Inside, binaries: &Path) -> Result<u8> {
    let begin = Instant::now();
    boot::private_folders()?;
    agent::make_netns(NODE)?;
    let gone = "the Go programs are gone from the cache";
    let (drivers, reference) = (go::cni_drivers()?.context(gone)?, go::reference_plugins()?.context(gone)?);
    let driver = Driver::new(drivers, install(inside, binaries)?, reference, &inside.folder);
    let (cni, plugins) = (go::cni_release(), go::reference_release());
    println!("cnitool and libcni {cni}, reference plugins {plugins}:");
    let mut report = Report::default();
    checks::all(&driver, &mut report);
    let (good, failed) = (report.good(), report.failed());
    println!("{good} shown, {failed} failed, {:.1} s", begin.elapsed().as_secs_f64());
    Ok(u8::from(failed > 0))
}

/// Our plugin under all its names, as the installer puts it.
fn install(inside: &Inside, binaries: &Path) -> Result<PathBuf> {
    let folder = inside.folder.join("plugins");
    fs::create_dir_all(&folder)?;
    let program = folder.join("routerd-cni");
    fs::copy(binaries.join("routerd-cni"), &program).context("copying routerd-cni")?;
    for name in lists::NAMES {
        fs::hard_link(&program, folder.join(name)).with_context(|| format!("naming {name}"))?;
    }
    Ok(folder)
}
