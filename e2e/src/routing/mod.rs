//! `cargo lab routing`: three nodes on two segments behind a FRR router, which is also the way to a machine outside. Tunnels, a segment cut
//! and healed, a node lost, reflectors, a virtual address over several nodes, and a hundred restarts under traffic; a line with a measured
//! value for each claim.

use std::fs;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::cli::Nodes;
use crate::demo::report::Report;
use crate::guest::NodeKind;
use crate::parts::{self, choose};
use crate::paths::cache;
use crate::sandbox::{self, Inside};
use crate::setup::{self, Ready, packages};

mod healing;
mod outside;
mod overlay;
mod restarts;
mod router;
mod traffic;
mod ways;
mod world;

use world::World;

/// What only this run needs of Debian.
const PACKAGES: &[&str] = &["frr"];

/// Hands what was prepared to the process inside.
const FILE: &str = "ready.json";

/// How the run is made.
#[derive(Debug, Args, Clone)]
pub struct Options {
    /// Run these parts only (without it, all).
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How many restarts of routerd the part `restarts` makes.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub restarts: usize,
    /// A folder with routerd, routerd-cni and routerd-init built before, instead of building them.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<std::path::PathBuf>,
}

/// A part of the run: its name and what it does. Each runs also alone.
type Part = parts::Part<fn(&mut World, &mut Report)>;

const PARTS: [Part; 6] = [
    ("overlay", overlay::show),
    ("cut", healing::cut),
    ("lost", healing::lost),
    ("outside", outside::show),
    ("ways", ways::show),
    ("restarts", restarts::show),
];

/// The subcommand: both sides of the name spaces. Returns the exit status.
pub fn command(options: &Options, arguments: &[String]) -> Result<u8> {
    let wanted = choose(&PARTS, &options.only)?;
    if let Some(inside) = Inside::enter()? {
        let ready = serde_json::from_slice(&fs::read(inside.folder.join(FILE))?)?;
        return run(&inside, &ready, options.restarts, &wanted);
    }
    packages::ensure(&[PACKAGES], &cache()?)?;
    let ready = setup::nodes(&Nodes { kernel: NodeKind::Uml, binaries: options.binaries.clone() })?;
    sandbox::run_with("routing", (FILE, &ready), arguments)
}

fn run(inside: &Inside, ready: &Ready, restarts: usize, wanted: &[Part]) -> Result<u8> {
    let begin = Instant::now();
    let mut report = Report::default();
    let mut world = World::start(inside, ready, restarts, &mut report)?;
    for (_, show) in wanted {
        show(&mut world, &mut report);
    }
    if report.failed() > 0 {
        println!("{}", world.keep_evidence());
    }
    drop(world);
    println!("\n{}", report.table());
    let (good, failed) = (report.good(), report.failed());
    println!("routing: {good} shown, {failed} failed, {:.0} s", begin.elapsed().as_secs_f64());
    Ok(u8::from(failed > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_name_and_a_wrong_name_is_refused() {
        assert_eq!(choose(&PARTS, &[]).unwrap().len(), PARTS.len());
        assert_eq!(choose(&PARTS, &["overlay".into()]).unwrap().len(), 1);
        assert!(choose(&PARTS, &["frob".into()]).unwrap_err().to_string().contains("overlay"));
    }
}
