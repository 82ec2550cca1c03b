//! Many pods at once on one node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::super::node::METRICS;
use super::batch::{Batch, NODE};
use super::kernel_state::{Held, becomes_exact, unnamed};
use super::ready::Watch;
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::guest::client::{Cmd, Node};
use crate::process::wait_for;

/// The pods' name.
pub(super) const NAME: &str = "crowd";

/// How long it may take until one more of many pods comes or goes, on a machine that has other things to do.
pub(super) const LIMIT: Duration = Duration::from_mins(10);

/// How long a node may take to be tidy when pods have come or gone.
pub(super) const TIDY: Duration = Duration::from_mins(10);

/// How long things may stay that nobody will ever take away: two sightings of routerd and its period of grace.
pub(super) const JANITOR: Duration = Duration::from_mins(15);

/// Makes them, looks at what they got, and ends them.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let batch = Batch { name: NAME, count: world.pods };
    let watch = Watch::start(world.plane.api);
    report.check(&format!("{} pods asked for at once come up", batch.count), || come_up(world, batch));
    report.check("each has an address of both families of its own, none twice", || {
        let (addresses, _) = becomes_exact(&world.plane.api, world.lab.node(NODE)?, TIDY)?;
        Ok(Shown::Good(format!("{addresses} addresses")))
    });
    report.check("what containerd waited for the network of a pod", || network_time(world));
    report.check("sandboxes that failed have healed", || healed(world, batch));
    report.check("nodes stay Ready meanwhile", || watch.end().map(Shown::Good));
    report.check(&format!("{} pods ended at once leave nothing", batch.count), || ended(world, batch));
}

fn come_up(world: &World, batch: Batch) -> Result<Shown> {
    let begin = batch.create(&world.plane)?;
    let times = batch.all_ready(&world.plane.api, begin, LIMIT)?;
    let (half, last) = (times.half.as_secs_f64(), times.last.as_secs_f64());
    Ok(Shown::Good(format!("half of them ready after {half:.1} s, the last after {last:.1} s")))
}

/// Every pod of the batch is up by now: what failed before has been made since.
pub(super) fn healed(world: &World, batch: Batch) -> Result<Shown> {
    let failed = batch.failed_sandboxes(&world.plane.api)?;
    let up = batch.seen(&world.plane.api)?.iter().filter(|pod| pod.is_up()).count();
    anyhow::ensure!(up == usize::from(batch.count), "{failed} sandboxes failed, {up} pods are up");
    Ok(Shown::Good(format!("{failed} times FailedCreatePodSandBox, {up} pods are up")))
}

/// Ends the pods and waits until the node holds nothing of them.
pub(super) fn ended(world: &World, batch: Batch) -> Result<Shown> {
    let node = world.lab.node(NODE)?;
    let addresses = batch.seen(&world.plane.api)?.into_iter().flat_map(|pod| pod.addresses).collect();
    let begin = Instant::now();
    batch.delete(&world.plane)?;
    batch.gone(&world.plane, LIMIT)?;
    becomes_exact(&world.plane.api, node, TIDY)?;
    wait_for("rules without their addresses", TIDY, || unnamed(node, &addresses).map(Some))?;
    let entries = Held::read(node)?.elements.len();
    Ok(Shown::Good(format!(
        "no lease, device, namespace or rule of theirs after {:.1} s ({entries} entries of others)",
        begin.elapsed().as_secs_f64()
    )))
}

/// containerd's own histogram of network set-ups; it counts the loopback plugin in.
fn network_time(world: &World) -> Result<Shown> {
    let text = metrics(world.lab.node(NODE)?)?;
    let value = |part: &str| -> Option<f64> {
        let line = text.lines().find(|line| {
            line.contains("network_plugin_operations_duration")
                && line.contains(part)
                && line.contains("set_up_pod")
        })?;
        line.split_whitespace().next_back()?.parse().ok()
    };
    let (sum, count) = (value("_sum{"), value("_count{"));
    let (sum, count) = (sum.context("containerd measured no set-up")?, count.unwrap_or(0.0));
    Ok(Shown::Good(format!("{:.0} ms a pod, mean of {count} set-ups", sum / count.max(1.0) * 1000.0)))
}

fn metrics(node: &Node) -> Result<String> {
    node.run(Cmd::tool("fetch")?.arg(METRICS).arg("/v1/metrics"))
}
