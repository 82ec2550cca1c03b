//! routerd and containerd are killed in the middle of many ADDs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::batch::{Batch, NODE};
use super::crowd::{JANITOR, LIMIT, ended, healed};
use super::kernel_state::{becomes_exact, leases};
use super::ready::Watch;
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::guest::client::{Cmd, Node};
use crate::process::wait_for;

/// Makes many pods and kills both on the way.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let batch = Batch { name: "restart", count: world.pods };
    let watch = Watch::start(world.plane.api);
    let title = format!("{} pods come up, routerd and then containerd killed meanwhile", batch.count);
    report.check(&title, || come_up(world, batch));
    report.check("each has addresses of its own, nothing is left of what was interrupted", || {
        let (addresses, tidy) = becomes_exact(&world.plane.api, world.lab.node(NODE)?, JANITOR)?;
        Ok(Shown::Good(format!("{addresses} addresses, exact after {:.1} s", tidy.as_secs_f64())))
    });
    report.check("sandboxes that failed have healed, restarts", || healed(world, batch));
    report.check("nodes stay Ready meanwhile, restarts", || watch.end().map(Shown::Good));
    report.check("they leave nothing, restarts", || ended(world, batch));
}

fn come_up(world: &mut World, batch: Batch) -> Result<Shown> {
    let before = leases(world.lab.node(NODE)?)?.len();
    let begin = batch.create(&world.plane)?;
    let first = under_way(world.lab.node(NODE)?, before, batch.count / 5)?;
    kill_routerd(world.lab.node(NODE)?)?;
    let second = under_way(world.lab.node(NODE)?, before, batch.count / 2)?;
    world.restart_containerd(NODE)?;
    let times = batch.all_ready(&world.plane.api, begin, LIMIT)?;
    world.routerd_ready()?;
    Ok(Shown::Good(format!(
        "killed with {first} and {second} addresses taken; the last is ready after {:.1} s",
        times.last.as_secs_f64()
    )))
}

/// Waits until so many of the pods have taken an address more than before. Returns how many addresses were taken by then.
pub(super) fn under_way(node: &Node, before: usize, pods: u16) -> Result<usize> {
    wait_for(&format!("{pods} pods to be under way"), Duration::from_mins(5), || {
        let taken = leases(node)?.len().saturating_sub(before);
        // One of each family.
        ensure!(taken >= 2 * usize::from(pods), "{taken} addresses are taken");
        Ok(Some(taken))
    })
}

fn kill_routerd(node: &Node) -> Result<()> {
    let found = node.run(Cmd::new("pgrep").words("-x routerd"))?;
    let pid = found.lines().next().and_then(|line| line.trim().parse().ok());
    node.signal(pid.context("routerd does not run")?, nix::sys::signal::Signal::SIGKILL)
}
