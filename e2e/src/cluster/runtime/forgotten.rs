//! After a power cut the runtime has forgotten its containers, but their leases are on the disk: no DEL will ever come for them.
//! routerd finds and frees them alone.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::batch::{Batch, NODE};
use super::crowd::{JANITOR, LIMIT, ended};
use super::kernel_state::{Lease, becomes_exact, leases, wired};
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::guest::client::Cmd;

/// Makes a few pods, cuts the power, and looks what becomes of what they held.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let batch = Batch { name: "forgotten", count: 5 };
    let mut booted = None;
    report.check("a boot with the leases of before and a runtime that knows of none of them", || {
        let begin = batch.create(&world.plane)?;
        batch.all_ready(&world.plane.api, begin, LIMIT)?;
        let node = world.lab.node(NODE)?;
        node.run(Cmd::new("sync"))?;
        let before = leases(node)?;
        world.cut_power(NODE)?;
        world.power_on_without_containers(NODE)?;
        booted = Some(Instant::now());
        let stale = stale(&before, &leases(world.lab.node(NODE)?)?);
        ensure!(stale == before.len(), "of {} leases, {stale} have survived the power cut", before.len());
        Ok(Shown::Good(format!("{stale} stale leases")))
    });
    report.check("every stale lease is freed without any DEL", || {
        let booted = booted.context("there was no boot")?;
        wired(world.lab.node(NODE)?, batch.count, LIMIT)?;
        let times = batch.all_ready(&world.plane.api, booted, LIMIT)?;
        let found = leases(world.lab.node(NODE)?)?.len();
        let (addresses, _) = becomes_exact(&world.plane.api, world.lab.node(NODE)?, JANITOR)?;
        Ok(Shown::Good(format!(
            "the pods are ready after {} with {found} leases; the {addresses} of theirs are left after {}",
            seconds(times.last),
            seconds(booted.elapsed())
        )))
    });
    report.check("they leave nothing, forgotten", || ended(world, batch));
}

/// How many leases are still what they were.
fn stale(before: &[Lease], now: &[Lease]) -> usize {
    before.iter().filter(|lease| now.contains(lease)).count()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
