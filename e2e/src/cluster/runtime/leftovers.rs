//! After the last pod: nothing is left on any node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::batch::on_node;
use super::kernel_state::Held;
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::process::wait_for;

const LIMIT: Duration = Duration::from_mins(3);

/// Ends every pod that there still is and looks.
pub(super) fn show(world: &mut World, report: &mut Report) {
    report.check("all pods deleted: no lease, device, namespace or rule is left", || nothing(world));
}

fn nothing(world: &World) -> Result<Shown> {
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    for node in &world.lab.nodes {
        let pods = on_node(&world.plane.api, node.index)?;
        addresses.extend(pods.iter().flat_map(|pod| pod.addresses.clone()));
    }
    // Parts that failed may have left theirs.
    world.plane.ask(&["delete", "daemonsets,pods,services", "--selector", "app", "--wait=false"])?;
    let begin = Instant::now();
    for node in &world.lab.nodes {
        wait_for(&format!("{} without anything of pods", node.name), LIMIT, || {
            Held::nothing(node, &addresses).map(Some)
        })?;
    }
    Ok(Shown::Good(format!(
        "on {} nodes, {:.1} s later",
        world.lab.nodes.len(),
        begin.elapsed().as_secs_f64()
    )))
}
