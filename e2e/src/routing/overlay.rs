//! Part: pods reach each other through each kind of tunnel while the router knows no pods, TCP also where it blocks ICMP.

use anyhow::{Result, ensure};

use super::router::{Crossed, Router};
use super::world::{NODES, World};
use crate::demo::report::{Report, Shown};
use crate::guest::client::Cmd;
use crate::net::Segment;

/// Encapsulation and type of the overlay.
const MODES: [[&str; 2]; 4] = [["ipip", "subnet"], ["ipip", "full"], ["fou", "subnet"], ["fou", "full"]];
/// What each pod sends each other by TCP.
const BYTES: usize = 200_000;
/// What node 3 and the network it is on carry, of which the other nodes know nothing.
const NARROW: u32 = 1400;
const USUAL: u32 = 1500;

/// All four modes; ends with the first one, which is the default.
pub(super) fn show(world: &mut World, report: &mut Report) {
    for mode in MODES {
        let [encapsulation, reach] = mode;
        report.check(&format!("pods reach pods, {encapsulation} {reach}, both families"), || {
            reached(world, mode)
        });
    }
    report.check("TCP where the far network is narrow and the router blocks ICMP", || narrow(world));
    report.check("back to the first mode", || {
        world.run_with(&flags(MODES[0]))?;
        Ok(Shown::Good(format!("after {} ms", world.settled()?.as_millis())))
    });
}

fn flags([encapsulation, reach]: [&str; 2]) -> [&'static str; 2] {
    let encapsulation = if encapsulation == "fou" { "--overlay-encap=fou" } else { "--overlay-encap=ipip" };
    [encapsulation, if reach == "full" { "--overlay-type=full" } else { "--overlay-type=subnet" }]
}

fn reached(world: &mut World, mode: [&str; 2]) -> Result<Shown> {
    world.run_with(&flags(mode))?;
    let took = world.settled()?;
    Router::crossed()?;
    let asked = world.each_to_each(BYTES)?;
    let crossed = Router::crossed()?;
    let Crossed { ipip, gue, bare, .. } = crossed;
    let (wrapped, other) = if mode[0] == "fou" { (gue, ipip) } else { (ipip, gue) };
    ensure!(wrapped > 0 && other == 0 && bare == 0, "the router saw {crossed:?}");
    let route = world.says(1, "ip -4 route show 10.244.2.0/24")?;
    ensure!(route.contains("dev tun-") == (mode[1] == "full"), "node1 to a node on its own network: {route}");
    Ok(Shown::Good(format!(
        "{asked} of {asked} with {} KB each, {wrapped} packets in tunnels through the router, none with a pod's address; settled {} ms after the start",
        BYTES / 1000,
        took.as_millis()
    )))
}

fn narrow(world: &World) -> Result<Shown> {
    let set = |mtu: u32| -> Result<()> {
        world.says(3, &format!("ip link set vec0 mtu {mtu}"))?;
        Router::narrow(Segment::Far, mtu)
    };
    set(NARROW)?;
    let shown = narrowed(world);
    set(USUAL)?;
    shown
}

fn narrowed(world: &World) -> Result<Shown> {
    world.settled()?;
    let asked = world.each_to_each(BYTES)?;
    let mut sizes = Vec::new();
    for number in 1..=NODES.len() {
        let pod = world.pod(u8::try_from(number)?)?;
        let device = world
            .lab
            .node(pod.spec.node)?
            .run(Cmd::new("ip").words("-o link show eth0").in_pod(&pod.netns()))?;
        sizes.push(
            device.split(" mtu ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("?").to_owned(),
        );
    }
    let muted = Router::crossed()?.muted;
    Ok(Shown::Good(format!(
        "{asked} of {asked} over {NARROW} bytes; the pods' devices have {}; {muted} errors of ICMP thrown away",
        sizes.join(", ")
    )))
}
