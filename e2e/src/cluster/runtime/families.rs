//! Pods with an address of each family reach each other in both, on one node and across nodes, as who they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::pods::{HTTP_PORT, Pod, wait_for_daemon_set, with_label};
use super::super::{manifest, teardown};
use super::batch::labelled;
use super::dial::Asker;
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::process::wait_for;

/// How long pods may take.
const LIMIT: Duration = Duration::from_mins(4);

/// How long routes may take after the pods are ready.
const SETTLE: Duration = Duration::from_secs(30);

/// A pod with all of its addresses.
struct Both {
    pod: Pod,
    addresses: Vec<IpAddr>,
}

/// Makes a server and a client on each node and asks.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let mut pods = Vec::new();
    report.check("pods have an address of each family", || {
        world.plane.apply(manifest::WORKLOAD)?;
        for set in ["web", "client"] {
            wait_for_daemon_set(&world.plane.api, "default", set, world.lab.nodes.len(), LIMIT)?;
            pods.extend(both(world, set)?);
        }
        Ok(Shown::Good(pods.iter().map(|pod| format!("{:?}", pod.addresses)).collect::<Vec<_>>().join(" ")))
    });
    for (family, is_it) in [("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("IPv6", IpAddr::is_ipv6)] {
        report.check(&format!("they reach each other by {family}, and are seen as who they are"), || {
            wait_for("routes between the nodes", SETTLE, || each_to_each(world, &pods, is_it).map(Some))
        });
    }
    report.check("their end leaves nothing", || {
        teardown::workload(&world.plane, &world.lab)?;
        Ok(Shown::Good("no namespace, no device, no lease".into()))
    });
}

fn both(world: &World, app: &str) -> Result<Vec<Both>> {
    let seen = labelled(&world.plane.api, app)?;
    let pods = with_label(&world.plane.api, &world.lab, app)?;
    let join = |pod: Pod| -> Result<Both> {
        let own = seen.iter().find(|seen| seen.name == pod.name).context("a pod went away")?;
        ensure!(own.is_up(), "{} has only {:?}", pod.name, own.addresses);
        Ok(Both { pod, addresses: own.addresses.clone() })
    };
    pods.into_iter().map(join).collect()
}

fn each_to_each(world: &World, pods: &[Both], family: fn(&IpAddr) -> bool) -> Result<Shown> {
    ensure!(!pods.is_empty(), "there are no pods");
    let address = |pod: &Both| {
        let own = pod.addresses.iter().copied().find(family);
        own.with_context(|| format!("{} has no address of the family", pod.pod.name))
    };
    let (mut same, mut across) = (0, 0);
    for client in pods {
        let node = world.lab.node(client.pod.node)?;
        let server = SocketAddr::new(client.pod.address, HTTP_PORT);
        let asker = Asker { name: client.pod.name.clone(), node, server };
        for server in pods.iter().filter(|server| server.pod.name != client.pod.name) {
            let to = SocketAddr::new(address(server)?, HTTP_PORT);
            asker.reaches("http", to, &server.pod.name)?;
            let seen = asker.seen_as("http", to)?;
            ensure!(seen == [address(client)?], "{} is seen as {seen:?} by {}", asker.name, server.pod.name);
            if client.pod.node == server.pod.node { same += 1 } else { across += 1 }
        }
    }
    Ok(Shown::Good(format!("{same} pairs on one node, {across} across nodes")))
}
