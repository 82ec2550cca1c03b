//! Parts: what FRR learns and tells as external peer, and nodes that reflect routes in place of the full mesh.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::router::outside_network;
use super::traffic::Pulses;
use super::world::{NODES, PORT, SETTLE, World, peer_of_router, pod_range6};
use crate::demo::report::{Report, Shown};
use crate::guest::client::Cmd;
use crate::net::{Segment, pod_range};
use crate::process::{capture, command, wait_for};

/// The router becomes a peer of each node, by annotation.
pub(super) fn show(world: &mut World, report: &mut Report) {
    report.check("FRR learns the pods of all nodes", || {
        let begin = Instant::now();
        peer(world)?;
        learnt(begin)
    });
    report.check("a machine outside reaches pods by their own addresses", || from_outside(world));
    report.check("what FRR tells is a plain route and never a tunnel", || {
        world.run_with(&["--overlay-type=full"])?;
        let told = told(world);
        world.run_with(&[])?;
        world.settled()?;
        told
    });
    report.check("a node that reflects in place of the full mesh, and back", || reflected(world));
}

/// Makes the router an external peer of each node and waits for the sessions.
pub(super) fn peer(world: &mut World) -> Result<()> {
    world.annotate(|_, segment| vec![peer_of_router(segment)])?;
    (1..).zip(NODES).try_for_each(|(number, _)| world.has_sessions(number, NODES.len()))
}

/// The router's own routes to a prefix, as `ip` prints them.
pub(super) fn routes(prefix: &str) -> Result<String> {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    capture(command("ip").args([family, "route", "show", prefix]))
}

fn learnt(begin: Instant) -> Result<Shown> {
    for (number, segment) in (1..).zip(NODES) {
        let ways = [
            (pod_range(number), format!("via {}", segment.address(number))),
            (pod_range6(number), format!("via {}", segment.address6(number))),
        ];
        for (range, way) in ways {
            wait_for(&format!("the router's route to {range}"), SETTLE, || {
                let routes = routes(&range)?;
                // One that was told with a global next hop may be used by its link-local one.
                if routes.contains(&way) || range.contains(':') && routes.contains("via fe80:") {
                    return Ok(Some(()));
                }
                bail!("{routes:?}")
            })?;
        }
    }
    Ok(Shown::Good(format!(
        "both families in its kernel {} ms after the annotations",
        begin.elapsed().as_millis()
    )))
}

fn from_outside(world: &World) -> Result<Shown> {
    let own = [IpAddr::V4(Segment::Outside.address(4)), IpAddr::V6(Segment::Outside.address6(4))];
    let mut asked = 0;
    for (number, _) in (1..).zip(NODES) {
        for (own, pod) in own.into_iter().zip(world.pod(number)?.ips()) {
            let server = SocketAddr::new(pod, PORT);
            let said = world.outside()?.output(Cmd::tool(&format!("ask {server}"))?)?.stdout;
            ensure!(said.trim().ends_with(&format!("web-{number} {own}")), "{server} answered {said:?}");
            asked += 1;
        }
    }
    Ok(Shown::Good(format!("{asked} of {asked} answered, seen as {} and {}", own[0], own[1])))
}

fn told(world: &World) -> Result<Shown> {
    for (number, segment) in (1..).zip(NODES) {
        world.has_sessions(number, NODES.len())?;
        wait_for("the route that FRR tells", SETTLE, || {
            let route = world.says(number, &format!("ip -N -4 route show {}/24", outside_network()))?;
            let wanted = format!("via {} dev vec0", segment.gateway());
            if route.contains(&wanted) && route.contains("proto 179") {
                return Ok(Some(()));
            }
            bail!("node{number}: {route:?}")
        })?;
    }
    Ok(Shown::Good("by the router itself on all nodes, with --overlay-type=full".into()))
}

/// Node 1 reflects, the others are its clients.
fn reflected(world: &mut World) -> Result<Shown> {
    let traffic = Pulses::between(world, &[(1, 2), (2, 3), (3, 2)])?;
    world.annotate(|number, segment| {
        let part = if number == 1 { "server" } else { "client" };
        vec![peer_of_router(segment), format!("kube-router.io/rr.{part}: '7'")]
    })?;
    let reflector = IpAddr::V4(NODES[0].address(1));
    for (number, segment) in (2..).zip(NODES.into_iter().skip(1)) {
        let wanted = [reflector, IpAddr::V4(segment.gateway())];
        wait_for("sessions with the reflector alone", SETTLE, || {
            let mut sessions = world.sessions(number)?;
            sessions.sort();
            if sessions == wanted || sessions == [wanted[1], wanted[0]] {
                return Ok(Some(()));
            }
            bail!("node{number} has sessions with {sessions:?}")
        })?;
    }
    // Longer than the hold time: what is not told any more would go.
    std::thread::sleep(Duration::from_secs(5));
    let asked = world.each_to_each(0)?;
    let stays = world.says(3, "ip -4 route show 10.244.2.0/24")?;
    ensure!(!stays.trim().is_empty(), "node3 has no route to the pods of node2");
    peer(world).context("back to the full mesh")?;
    let (sent, longest) = traffic.none_lost()?;
    Ok(Shown::Good(format!(
        "clients peer with the reflector and the router only, {asked} of {asked} answered; none of {sent} datagrams lost, longest gap {longest} ms"
    )))
}
