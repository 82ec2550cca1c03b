//! Parts: a segment is cut and healed, and a node is lost and comes back. The ways between the others are as they were.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::traffic::Pulses;
use super::world::{PORT, SETTLE, World};
use crate::demo::report::{Report, Shown};
use crate::guest::client::Running;
use crate::net::Segment;
use crate::process::wait_for;

/// The node on the far segment, alone there.
const FAR: u8 = 3;
/// Shorter and longer than the hold time of 3 s: with the first, sessions live on; with the second, routes go.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(8);

/// The far segment is cut twice.
pub(super) fn cut(world: &mut World, report: &mut Report) {
    for (what, length) in [("shorter", SHORT), ("longer", LONG)] {
        let title =
            format!("a segment cut for {} s, {what} than the hold time, and healed", length.as_secs());
        report.check(&title, || cut_for(world, length));
    }
}

fn cut_for(world: &World, length: Duration) -> Result<Shown> {
    let others = Pulses::between(world, &[(1, 2), (2, 1)])?;
    let watches = watches(world)?;
    Segment::unplug(FAR)?;
    std::thread::sleep(length);
    if length == LONG {
        gone(world).context("the routes of a segment that is cut for longer than the hold time")?;
    }
    Segment::Far.plug(FAR)?;
    let healed = Instant::now();
    let mut last = healed;
    for watch in &watches {
        last = last.max(becomes(watch, "answered", healed)?);
    }
    world.settled()?;
    let (sent, longest) = others.none_lost()?;
    Ok(Shown::Good(format!(
        "pods answered {} ms after the cable was back; between the others none of {sent} datagrams lost, longest gap {longest} ms",
        last.saturating_duration_since(healed).as_millis()
    )))
}

/// Pods of the near nodes ask the far one all the time, one in each family.
fn watches(world: &World) -> Result<Vec<Running>> {
    let far = world.pod(FAR)?.ips();
    let watch = |(number, address): (u8, _)| {
        let server = std::net::SocketAddr::new(address, PORT);
        let pod = world.pod(number)?;
        let watch = world.lab.node(number)?.spawn(pod.tool(&format!("flood --timeout 50 {server}"))?)?;
        becomes(&watch, "answered", Instant::now()).map(|_| watch)
    };
    (1..).zip(far).map(watch).collect()
}

/// When a client says the next time after a moment that it is answered, or no longer.
fn becomes(watch: &Running, state: &str, after: Instant) -> Result<Instant> {
    let end = Instant::now() + SETTLE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let (when, line) = watch.lines.recv_timeout(left).with_context(|| format!("never {state}"))?;
        if when >= after && line.starts_with(state) {
            return Ok(when);
        }
    }
}

/// Waits until the near nodes have no route to the far one's pods, and looks that they have those to each other's.
fn gone(world: &World) -> Result<()> {
    for (own, other) in [(1, 2), (2, 1)] {
        wait_for("routes to go", SETTLE, || {
            let routes = world.says(own, "ip -N -4 route show proto 179")?;
            if routes.contains("10.244.3.0/24") {
                bail!("{routes}");
            }
            ensure!(routes.contains(&format!("10.244.{other}.0/24")), "{routes}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// The far node is lost as by a power cut, and boots again.
pub(super) fn lost(world: &mut World, report: &mut Report) {
    report.check("a node lost: its routes go, the ways of the others stay", || {
        let others = Pulses::between(world, &[(1, 2), (2, 1)])?;
        let lost = world.lab.kill_node(FAR)?;
        gone(world)?;
        let took = lost.elapsed();
        let (sent, longest) = others.none_lost()?;
        Ok(Shown::Good(format!(
            "gone after {:.1} s (hold time 3 s); none of {sent} datagrams between the others lost, longest gap {longest} ms",
            took.as_secs_f64()
        )))
    });
    report.check("it boots again", || {
        let (ready, settled) = world.revive(FAR)?;
        Ok(Shown::Good(format!(
            "routerd ready {} ms after its start, its pods reached {} ms later",
            ready.as_millis(),
            settled.as_millis()
        )))
    });
}
