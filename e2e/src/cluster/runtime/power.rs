//! The node loses its power in the middle of many ADDs. Its disk stays: leases, containerd's and the kubelet's state. The kernel's
//! state and `/run` are gone. Nobody tidies up by hand.

use std::time::Instant;

use anyhow::Context;

use super::batch::{Batch, NODE};
use super::crowd::{JANITOR, LIMIT, ended, healed};
use super::kernel_state::{becomes_exact, leases, wired};
use super::restarts::under_way;
use super::world::World;
use crate::demo::report::{Report, Shown};

/// Makes many pods and cuts the power.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let batch = Batch { name: "power", count: world.pods };
    let mut cut = None;
    report.check(&format!("power cut while {} pods are made", batch.count), || {
        let node = world.lab.node(NODE)?;
        let before = leases(node)?.len();
        batch.create(&world.plane)?;
        let taken = under_way(node, before, batch.count / 2)?;
        world.cut_power(NODE)?;
        cut = Some(Instant::now());
        Ok(Shown::Good(format!("with {taken} addresses taken")))
    });
    report.check("all of them come up after the boot", || {
        let cut = cut.context("the power was not cut")?;
        world.power_on(NODE)?;
        let found = leases(world.lab.node(NODE)?)?.len();
        let booted = cut.elapsed().as_secs_f64();
        wired(world.lab.node(NODE)?, batch.count, LIMIT)?;
        let times = batch.all_ready(&world.plane.api, cut, LIMIT)?;
        Ok(Shown::Good(format!(
            "booted {booted:.1} s after the cut with {found} old leases; the last pod is ready after {:.1} s",
            times.last.as_secs_f64()
        )))
    });
    report.check("no address twice, no pod without, and all that was stale is gone", || {
        let (addresses, tidy) = becomes_exact(&world.plane.api, world.lab.node(NODE)?, JANITOR)?;
        Ok(Shown::Good(format!("{addresses} addresses, exact {:.1} s later", tidy.as_secs_f64())))
    });
    report.check("sandboxes that failed have healed, power", || healed(world, batch));
    report.check("they leave nothing, power", || ended(world, batch));
}
