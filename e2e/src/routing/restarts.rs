//! Part: routerd is restarted again and again, on one node after the other, killed and asked to end in turn, while datagrams and
//! connections go between pods and from outside through FRR.

use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::traffic::Pulses;
use super::ways::{announced, connections, unbroken};
use super::world::{NODES, World};
use crate::demo::report::{Report, Shown};
use crate::process::command;
use crate::progress::Step;

/// Long connections through the virtual address.
const FLOWS: usize = 6;

/// All of the restarts.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let title = format!("{} restarts of routerd under traffic", world.restarts);
    report.check(&title, || restarted(world));
}

/// What leaves the router's routing table, in both families.
struct Losses(Child);

impl Losses {
    fn watch() -> Result<Self> {
        let mut monitor = command("ip");
        monitor.args(["monitor", "route"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        monitor.spawn().map(Self).context("watching the router's routes")
    }

    fn end(mut self) -> Result<usize> {
        self.0.kill()?;
        let mut text = String::new();
        let mut output = self.0.stdout.take().context("no output")?;
        std::io::Read::read_to_string(&mut output, &mut text)?;
        self.0.wait()?;
        Ok(text.lines().filter(|line| line.starts_with("Deleted") && line.contains("proto bgp")).count())
    }
}

fn restarted(world: &mut World) -> Result<Shown> {
    let begin = Instant::now();
    announced(world, &[1, 2])?;
    world.settled()?;
    let outside: Vec<_> = [1, 2, 3].into_iter().map(|n| world.pod(n)?.ip()).collect::<Result<_>>()?;
    let traffic = Pulses::between(world, &[(1, 3), (3, 2), (2, 1)])?.and_outside(world, &outside)?;
    let flows = connections(world, FLOWS)?;
    let losses = Losses::watch()?;
    let slowest = restart_all(world)?;
    let (sent, longest) = traffic.none_lost()?;
    let gap = unbroken(&flows)?;
    let lost = losses.end()?;
    ensure!(lost == 0, "the router lost a route {lost} times");
    Ok(Shown::Good(format!(
        "none of {sent} datagrams lost, longest gap {longest} ms; {FLOWS} connections unbroken, longest gap {gap} ms; no route left the router; the slowest restart took {slowest} ms, all {:.0} s",
        begin.elapsed().as_secs_f64()
    )))
}

/// The slowest one, until all sessions were there again, in ms.
fn restart_all(world: &mut World) -> Result<u128> {
    let mut step = Step::new("restarts");
    let mut slowest = 0;
    for number in 0..world.restarts {
        step.update(number as u64, world.restarts as u64, "restarts");
        let index = u8::try_from(number % NODES.len() + 1)?;
        // Each node in both manners.
        let signal = if (number / NODES.len()).is_multiple_of(2) { Signal::SIGKILL } else { Signal::SIGTERM };
        let begin = Instant::now();
        world
            .restart(index, signal)
            .with_context(|| format!("restart {} ({signal} of node{index})", number + 1))?;
        world.has_sessions(index, NODES.len())?;
        slowest = slowest.max(begin.elapsed().as_millis());
    }
    step.finish("done");
    Ok(slowest)
}
