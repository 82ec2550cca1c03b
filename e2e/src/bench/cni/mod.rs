//! The plugin beside the reference plugins, Debian's and the current release, in one run on this kernel.
//!
//! Each of them works on a node of its own (a network namespace), so that nobody's rules are in the way of another,
//! and does the same for the same pods in turn. The other pods are made by the plugins under test themselves.

mod daemon;
mod measure;
mod node;
mod plugin;
mod scenario;
mod statistics;
mod table;
mod trace;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::daemon::Daemon;
use self::measure::{Effort, measure};
use self::node::Node;
use self::plugin::{Chain, on};
use self::scenario::{Folders, Scenario};
use self::table::Level;
use super::copy;
use crate::guest::{agent, boot};
use crate::progress::step;
use crate::sandbox::Inside;

/// Debian's package `containernetworking-plugins`.
const DEBIAN: &str = "/usr/lib/cni";

/// How many pods are measured at once at most.
const MOST_AT_ONCE: usize = 100;

/// How often many at once.
const WAVES: usize = 3;

/// What to do.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The folder of our programs.
    pub(super) binaries: &'a Path,
    /// The reference plugins of the current release, and what it is called.
    pub(super) release: Option<(PathBuf, &'static str)>,
    /// How many pods one by one.
    pub(super) rounds: usize,
    /// With how many other pods, ascending.
    pub(super) others: Vec<usize>,
    /// Without the reference plugins.
    pub(super) alone: bool,
}

/// Measures and prints the tables.
pub(super) fn run(inside: &Inside, plan: &Plan<'_>) -> Result<()> {
    // Leases, namespaces and bridges of the bench's own.
    boot::private_folders()?;
    let ours = install(inside, plan.binaries)?;
    for name in
        node::ALL.map(|node| node.name.to_owned()).into_iter().chain((0..MOST_AT_ONCE).map(measure::pod))
    {
        agent::make_netns(&name)?;
    }
    let folders = Folders {
        ours: &ours,
        debian: (!plan.alone).then(|| Path::new(DEBIAN)),
        release: plan
            .release
            .as_ref()
            .filter(|_| !plan.alone)
            .map(|(folder, release)| (folder.as_path(), *release)),
    };
    let _daemon = start_daemon(inside, plan)?;
    let scenarios = [scenario::plain(&folders), scenario::whole(&folders), scenario::policy(&folders)];
    let mut levels: Vec<Vec<Level>> = scenarios.iter().map(|_| Vec::new()).collect();
    let effort = Effort { rounds: plan.rounds, waves: WAVES };
    let mut bench = Bench { scenarios: &scenarios, there: 0, failed: Vec::new() };
    for others in &plan.others {
        bench.fill(*others)?;
        for (scenario, levels) in scenarios.iter().zip(&mut levels) {
            let figures = step(&format!("{}, {others} other pods", scenario.title), |step| {
                let figures = measure(scenario, *others, effort, &bench.failures(scenario), step)?;
                Ok((figures, "done".into()))
            })?;
            levels.push((*others, figures));
        }
    }
    for (scenario, levels) in scenarios.iter().zip(&levels) {
        print!("{}", table::table(scenario, levels));
    }
    println!("{NOTES}");
    Ok(())
}

const NOTES: &str = "
  In brackets: how many times the first column's figure. Samples of the reference plugins are fewer where they take
  long. Each plugin works on a node of its own, with as many other pods of its own making, all with mappings and
  limits. \"at once\": started together; per pod, and from the start of the first to the end of the last. The resident
  set is the largest of all processes of the operation.";

/// Our plugin under the names of the reference plugins, as the installer puts it.
fn install(inside: &Inside, binaries: &Path) -> Result<PathBuf> {
    let folder = inside.folder.join("ours");
    let program = folder.join("routerd-cni");
    copy(&binaries.join("routerd-cni"), &program)?;
    for name in ["bridge", "host-local", "portmap", "bandwidth"] {
        std::os::unix::fs::symlink(&program, folder.join(name)).with_context(|| format!("naming {name}"))?;
    }
    Ok(folder)
}

/// The daemon on its node, with all pods of the bench in its cluster.
fn start_daemon(inside: &Inside, plan: &Plan<'_>) -> Result<Daemon> {
    let most = plan.others.last().copied().unwrap_or(0);
    let pods: Vec<String> = (0..MOST_AT_ONCE).map(measure::pod).chain((0..most).map(node::other)).collect();
    on(&node::DAEMON, || Daemon::start(inside, plan.binaries, &pods))
}

/// What there is while measuring.
struct Bench<'a> {
    scenarios: &'a [Scenario; 3],
    /// How many other pods there are.
    there: usize,
    /// Nodes whose other pods could not be made, and why.
    failed: Vec<(&'static str, String)>,
}

impl Bench<'_> {
    /// Makes other pods on every node until there are so many.
    fn fill(&mut self, others: usize) -> Result<()> {
        let numbers = self.there..others.max(self.there);
        if numbers.is_empty() {
            return Ok(());
        }
        node::make_others(numbers.clone())?;
        let [_, whole, policy] = self.scenarios;
        for node in node::ALL {
            // The whole chain in the fewest execs is the first that works on a node.
            let mut chains = whole.chains.iter().chain(&policy.chains);
            let Some(chain) = chains.find(|chain| chain.node.name == node.name) else { continue };
            if let Err(error) = self.fill_node(node, chain, numbers.clone()) {
                self.failed.push((node.name, format!("other pods could not be made: {error:#}")));
            }
        }
        self.there = others;
        Ok(())
    }

    fn fill_node(&self, node: &Node, chain: &Chain, numbers: std::ops::Range<usize>) -> Result<()> {
        if self.failed.iter().any(|(failed, _)| *failed == node.name) {
            return Ok(());
        }
        step(&format!("{} other pods by {}", numbers.len(), chain.label), |step| {
            node.fill(chain, numbers, step)?;
            Ok(((), "there".into()))
        })
    }

    /// The reasons why columns have no figures.
    fn failures(&self, scenario: &Scenario) -> Vec<Option<String>> {
        let reason = |chain: &Chain| {
            self.failed.iter().find(|(node, _)| *node == chain.node.name).map(|(_, reason)| reason.clone())
        };
        scenario.chains.iter().map(reason).collect()
    }
}
