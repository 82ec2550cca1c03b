//! `cargo demo`: three nodes show the main job, each line with a measured value.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli;
use crate::daemon::Programs;
use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::pods::{self, Spec};
use crate::process::wait_for;
use crate::sandbox::Inside;
use crate::setup::Ready;

mod ending;
mod policy;
mod reach;
pub mod report;
mod restart;
mod world;

use report::{Report, Shown};
use world::World;

/// Memory of a demo's guest in MiB.
const MEMORY: u32 = 300;

/// Boots the nodes and starts the product on them. Lines go to the report.
fn start(inside: &Inside, nodes: &cli::Nodes, ready: &Ready, report: &mut Report) -> Result<World> {
    let plan = Plan {
        kind: nodes.kernel,
        kernel: ready.kernel.clone(),
        memory: MEMORY,
        count: 3,
        extras: Extras::default(),
    };
    let begin = Instant::now();
    let lab = Lab::boot(inside, &plan)?;
    let booted = begin.elapsed();
    let kernel = lab.node(1)?.read("/proc/sys/kernel/osrelease")?;
    report.check("three nodes up", || {
        let kind = if nodes.kernel == NodeKind::Uml { "a kernel each" } else { "name spaces of this kernel" };
        Ok(Shown::Good(format!("{} ms, Linux {}, {kind}", booted.as_millis(), kernel.trim())))
    });
    let programs = Programs::copy(inside, &ready.binaries)?;
    let begin = Instant::now();
    let world = World::start(lab, &programs)?;
    report.check("routerd installed, started and ready on each", || {
        for daemon in &world.daemons {
            daemon.wait_until_ready(&world.absent)?;
        }
        for node in &world.lab.nodes {
            // What makes a kubelet call the node ready.
            wait_for("the network configuration", Duration::from_secs(5), || {
                pods::configuration(node).map(Some)
            })?;
        }
        Ok(Shown::Good(format!("{} ms", begin.elapsed().as_millis())))
    });
    report.check("routes to every node's pods, learnt by BGP", || {
        let took = world.wait_for_routes(begin)?;
        Ok(Shown::Good(format!("{:.1} s after the start", took.as_secs_f64())))
    });
    Ok(world)
}

/// `lab up`: nodes with the product on them, and nothing else.
pub fn up(inside: &Inside, nodes: &cli::Nodes, ready: &Ready) -> Result<(Lab, u8)> {
    let mut report = Report::default();
    let world = start(inside, nodes, ready, &mut report)?;
    Ok((world.lab, u8::from(report.failed() > 0)))
}

/// The demo. The process must be inside its [`crate::sandbox`].
pub fn run(inside: &Inside, nodes: &cli::Nodes, ready: &Ready, keep: bool) -> Result<(Lab, u8)> {
    let begin = Instant::now();
    let mut report = Report::default();
    let mut world = start(inside, nodes, ready, &mut report)?;
    play(&mut world, &mut report, keep);
    println!("\n{}", report.table());
    let verdict = if report.failed() == 0 { "all as it should be" } else { "NOT as it should be" };
    println!(
        "  {verdict}: {} shown, {} failed, {:.1} s",
        report.good(),
        report.failed(),
        begin.elapsed().as_secs_f64()
    );
    Ok((world.lab, u8::from(report.failed() > 0)))
}

fn play(world: &mut World, report: &mut Report, keep: bool) {
    report.check("pods made by the plugin, ADD", || make_pods(world));
    reach::pods(world, report);
    reach::service(world, report);
    let mut askers = policy::birth(world, report);
    if let Some(askers) = &mut askers {
        policy::edit(world, askers, report);
    }
    restart::restart(world, askers.as_mut(), report);
    drop(askers);
    ending::node_lost(world, report);
    ending::delete(world, report);
    if keep {
        // Something to look at: pods again, on the nodes that live.
        report.check("pods made once more, to look at", || make_pods(world));
    }
}

fn make_pods(world: &mut World) -> Result<Shown> {
    let spec = |name: &str, label, node| Spec { name: name.into(), labels: vec![label], node };
    world.pods.clear();
    let alive: Vec<u8> = (1..=3).filter(|index| world.lives(*index)).collect();
    for index in alive.iter().copied() {
        world.make_pod(spec(&format!("web-{index}"), ("app", "web"), index))?;
    }
    world.make_pod(spec("client", ("role", "client"), 1))?;
    world.make_pod(spec("stranger", ("role", "stranger"), 1))?;
    world.publish_web(&alive)?;
    let mut times: Vec<u64> = Vec::new();
    for pod in &world.pods {
        times.push(u64::try_from(pod.took.as_micros())?);
    }
    let text = format!(
        "{} pods, half of them within {}",
        times.len(),
        report::millis(report::percentile(&mut times, 50))
    );
    Ok(Shown::Good(text))
}
