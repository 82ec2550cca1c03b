//! `cargo lab runtime`: the plugin under its real callers. containerd and the kubelet of a dual-stack cluster make and end
//! many pods at once, lose their sandboxes, their daemons and their power; a line with a measured value for each claim.

use std::fs;

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Parts, door, teardown};
use crate::cli::Nodes;
use crate::demo::report::Report;
use crate::guest::NodeKind;
use crate::parts::{self, choose};
use crate::sandbox::{self, Inside};
use crate::setup::packages;

mod batch;
mod crowd;
mod dial;
mod families;
mod forgotten;
mod host_port;
mod kernel_state;
mod leftovers;
mod patience;
mod power;
mod ready;
mod restarts;
mod sandbox_lost;
mod shaping;
mod world;

use world::World;

/// What only this run needs of Debian.
const PACKAGES: &[&str] = &["e2fsprogs"];

/// Hands the parts from the process that makes them to the one inside.
const FILE: &str = "runtime-parts.json";

/// How the run is made.
#[derive(Debug, Args, Clone, Serialize, Deserialize)]
pub struct Runtime {
    /// Run these parts only (without it, all).
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How many pods are made at once.
    #[arg(long, value_name = "PODS", default_value_t = 50)]
    pub pods: u16,
    /// A folder with routerd, routerd-cni and routerd-init built before, instead of building them.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<std::path::PathBuf>,
}

/// A part of the run: its name and what it does. A part leaves nothing behind that another would stumble over.
type Part = parts::Part<fn(&mut World, &mut Report)>;

/// In this order, because the last one finds what any of the others left.
const PARTS: [Part; 9] = [
    ("families", families::show),
    ("ports", host_port::show),
    ("shaping", shaping::show),
    ("crowd", crowd::show),
    ("sandbox", sandbox_lost::show),
    ("restarts", restarts::show),
    ("power", power::show),
    ("forgotten", forgotten::show),
    ("leftovers", leftovers::show),
];

/// The subcommand: both sides of the name spaces. Returns the exit status.
pub fn command(options: &Runtime, arguments: &[String]) -> Result<u8> {
    let wanted = choose(&PARTS, &options.only)?;
    if let Some(inside) = Inside::enter()? {
        let parts = serde_json::from_slice(&fs::read(inside.folder.join(FILE))?)?;
        return run(&inside, &parts, options.pods, &wanted);
    }
    packages::ensure(&[PACKAGES], &crate::paths::cache()?)?;
    let nodes = Nodes { kernel: NodeKind::Uml, binaries: options.binaries.clone() };
    sandbox::run_with("runtime", (FILE, &door::prepare(&nodes)?), arguments)
}

fn run(inside: &Inside, parts: &Parts, pods: u16, wanted: &[Part]) -> Result<u8> {
    let begin = std::time::Instant::now();
    let mut world = World::start(inside, parts, pods)?;
    let mut report = Report::default();
    for (_, show) in wanted {
        show(&mut world, &mut report);
    }
    if report.failed() > 0 {
        println!("{}", world.keep_evidence());
    }
    drop(world);
    teardown::no_process_left()?;
    println!("\n{}", report.table());
    let (good, failed) = (report.good(), report.failed());
    println!("runtime: {good} shown, {failed} failed, {:.0} s", begin.elapsed().as_secs_f64());
    Ok(u8::from(failed > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_name_and_a_wrong_name_is_refused() {
        assert_eq!(choose(&PARTS, &[]).unwrap().len(), PARTS.len());
        let names = |parts: Vec<Part>| parts.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(choose(&PARTS, &["power".into(), "crowd".into()]).unwrap()), ["crowd", "power"]);
        assert!(choose(&PARTS, &["frob".into()]).unwrap_err().to_string().contains("leftovers"));
    }
}
