//! Scenes: a node is lost; and after DEL nothing of a pod is left.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::report::{Report, Shown};
use super::world::World;
use crate::guest::client::{Cmd, Node};
use crate::net::pod_range;
use crate::pods::Pod;
use crate::process::wait_for;

/// A node is killed: the others withdraw its routes.
pub(super) fn node_lost(world: &mut World, report: &mut Report) {
    report.check("a node killed, its routes gone from the others", || {
        let took = lose(world, 3)?;
        Ok(Shown::Good(format!("after {:.1} s, by the BGP hold time of 3 s", took.as_secs_f64())))
    });
}

fn lose(world: &mut World, index: u8) -> Result<Duration> {
    let range = pod_range(index);
    let mut watches = Vec::new();
    for node in world.lab.nodes.iter().filter(|node| node.index != index) {
        watches.push((node.clone(), node.spawn(Cmd::new("ip").words("-4 monitor route"))?));
    }
    // The monitors must be listening before there is something to hear.
    std::thread::sleep(Duration::from_millis(100));
    let killed = world.lab.kill_node(index)?;
    world.forget_node(index);
    let mut last = killed;
    for (node, watch) in &watches {
        let gone = |line: &str| line.starts_with("Deleted") && line.contains(&range);
        loop {
            let left = (killed + Duration::from_secs(15)).saturating_duration_since(Instant::now());
            let (when, line) = watch
                .lines
                .recv_timeout(left)
                .ok()
                .with_context(|| format!("{} still has a route to {range} after 15 s", node.name))?;
            if gone(&line) {
                last = last.max(when);
                break;
            }
        }
        let table = node.run(Cmd::new("ip").words("-4 route"))?;
        ensure!(!super::world::has_route(&table, index), "{} has the route again", node.name);
    }
    Ok(last.saturating_duration_since(killed))
}

/// DEL of every pod: no lease, device or rule of theirs stays.
pub(super) fn delete(world: &World, report: &mut Report) {
    report.check("after DEL no lease, device, rule or namespace of a pod", || {
        let mut times = Vec::new();
        // As the controller does it when pods end.
        world.publish_web(&[])?;
        let alive: Vec<&Pod> = world.pods.iter().filter(|pod| world.lives(pod.spec.node)).collect();
        for pod in &alive {
            times.push(pod.delete(world.node_of(pod)?)?.as_millis());
            world.manifests.pod_gone(pod)?;
        }
        for node in world.lab.nodes.iter().filter(|node| world.lives(node.index)) {
            wait_for(&format!("{} to be clean", node.name), Duration::from_secs(5), || {
                let left = left_of(node, &alive)?;
                if left.is_empty() {
                    return Ok(Some(()));
                }
                bail!("left: {}", left.join(", "))
            })?;
        }
        let mean = times.iter().sum::<u128>() / u128::try_from(times.len().max(1))?;
        Ok(Shown::Good(format!("{} pods, DEL took {mean} ms on average", alive.len())))
    });
}

/// What is left on a node of pods that it had.
fn left_of(node: &Node, pods: &[&Pod]) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for device in node.list("/sys/class/net")? {
        if device.starts_with("veth") {
            left.push(format!("device {device}"));
        }
    }
    for network in node.list("/var/lib/cni/networks")? {
        let names = node.list(&format!("/var/lib/cni/networks/{network}"))?;
        let leases = names.into_iter().filter(|name| name.parse::<std::net::IpAddr>().is_ok());
        left.extend(leases.map(|lease| format!("lease {lease}")));
    }
    left.extend(node.list("/run/netns")?.into_iter().map(|name| format!("namespace {name}")));
    let rules = node.run(Cmd::new("nft").words("--numeric list ruleset"))?;
    let words: Vec<&str> = rules.split(|letter: char| letter.is_whitespace() || letter == ',').collect();
    for pod in pods {
        let address = pod.ip()?.to_string();
        if pod.spec.node == node.index && words.contains(&address.as_str()) {
            left.push(format!("a rule with {address}"));
        }
    }
    Ok(left)
}
