//! Part: a virtual address over several nodes. The router spreads connections over them, each node finds the same backend (`mh`), and the
//! backend answers the client itself, so a connection survives the loss of the node that it went through.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::outside::{peer, routes};
use super::world::{NODES, PORT, SETTLE, World};
use crate::demo::report::{Report, Shown};
use crate::guest::client::{Cmd, Running};
use crate::process::wait_for;
use crate::tool::gap;

/// The virtual address.
pub(super) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 80));
/// Connections: enough that each of three nodes has some.
const FLOWS: usize = 24;
/// The node that is lost; it has no backend.
const LOST: u8 = 3;
/// Longer than the hold time and what TCP needs to try again.
const AFTER: Duration = Duration::from_secs(8);

/// Connections through all nodes, then one of these is lost.
pub(super) fn show(world: &mut World, report: &mut Report) {
    report.check("a virtual address by all nodes at the router", || {
        let begin = Instant::now();
        announced(world, &[1, 2])?;
        Ok(Shown::Good(format!("{} ways {} ms after the Service", NODES.len(), begin.elapsed().as_millis())))
    });
    report.check("connections through it survive the loss of a node", || survived(world));
    report.check("the lost node boots again and is a way once more", || {
        world.revive(LOST)?;
        ways(NODES.len()).with_context(|| {
            let said = world.asks(LOST, &format!("bgp explain {VIP}"));
            format!("node{LOST} says {}", said.unwrap_or_else(|error| format!("{error:#}")))
        })?;
        Ok(Shown::Good(format!("{} ways", NODES.len())))
    });
    report.check("the address goes with its last endpoint", || {
        let begin = Instant::now();
        world.write("service-vip.yaml", &service(world, &[])?)?;
        ways(0)?;
        Ok(Shown::Good(format!("from the router's kernel after {} ms", begin.elapsed().as_millis())))
    });
}

/// A Service with the pods of these nodes behind it, announced by all.
pub(super) fn announced(world: &mut World, nodes: &[u8]) -> Result<()> {
    peer(world)?;
    world.write("service-vip.yaml", &service(world, nodes)?)?;
    ways(NODES.len())?;
    // The pods' sides of the tunnels are made after that.
    wait_for("the virtual address to answer", SETTLE, || {
        let asked =
            world.outside()?.output(Cmd::tool(&format!("ask {VIP}:{PORT} --count 20 --timeout 300"))?)?;
        let answers = asked.stdout.matches(" web-").count();
        ensure!(answers == 20, "{answers} of 20 answered");
        Ok(Some(()))
    })
}

fn service(world: &World, nodes: &[u8]) -> Result<String> {
    let mut endpoints = Vec::new();
    for number in nodes {
        let address = world.pod(*number)?.ip()?;
        endpoints.push(format!(
            "{{addresses: [{address}], nodeName: node{number}, conditions: {{ready: true, serving: true}}}}"
        ));
    }
    Ok(format!(
        "apiVersion: v1
kind: Service
metadata:
  {{name: vip, namespace: demo, annotations: {{kube-router.io/service.dsr: tunnel, kube-router.io/service.scheduler: mh, kube-router.io/service.schedflags: flag-2}}}}
spec: {{clusterIP: 10.96.0.80, clusterIPs: [10.96.0.80], externalIPs: [{VIP}], ports: [{{name: http, port: {PORT}, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: vip-1, namespace: demo, labels: {{kubernetes.io/service-name: vip}}}}
addressType: IPv4
ports: [{{name: http, port: {PORT}, protocol: TCP}}]
endpoints: [{}]
",
        endpoints.join(", ")
    ))
}

/// Waits until the router's kernel has so many ways to the virtual address.
fn ways(wanted: usize) -> Result<()> {
    wait_for(&format!("{wanted} ways to {VIP}"), SETTLE, || {
        let routes = routes(&format!("{VIP}/32"))?;
        ensure!(routes.matches("via ").count() == wanted, "{routes:?}");
        Ok(Some(()))
    })
}

/// Connections from outside, with the backend of each.
pub(super) fn connections(world: &World, count: usize) -> Result<Vec<(Running, String)>> {
    let connection = |_| {
        let running = world.outside()?.spawn(Cmd::tool(&format!("stream {VIP}:{PORT}"))?)?;
        let (_, line) = running.lines.recv_timeout(SETTLE).context("a connection did not come up")?;
        let name = gap(&line).with_context(|| line.clone())?.2.to_owned();
        Ok((running, name))
    };
    (0..count).map(connection).collect()
}

/// Each goes on with its backend; the longest gap in ms.
pub(super) fn unbroken(connections: &[(Running, String)]) -> Result<u64> {
    let mut longest = 0;
    for (running, backend) in connections {
        let lines = running.lines_and_one_more(Duration::from_secs(5));
        let lines = lines.with_context(|| format!("a connection with {backend}"))?;
        let Some((_, line)) = lines.last() else { bail!("a connection with {backend} said nothing") };
        let Some((_, gap, name)) = gap(line) else { bail!("a connection with {backend}: {line}") };
        ensure!(name == backend, "a connection with {backend} is answered by {name}");
        longest = longest.max(gap);
    }
    Ok(longest)
}

fn survived(world: &mut World) -> Result<Shown> {
    let flows = connections(world, FLOWS)?;
    let mut backends: Vec<&str> = flows.iter().map(|(_, name)| name.as_str()).collect();
    backends.sort_unstable();
    backends.dedup();
    ensure!(backends.len() == 2, "all connections are with {backends:?}");
    let through = seen_by(world, LOST)?;
    ensure!(through > 0, "no connection goes through node{LOST}");
    let lost = world.lab.kill_node(LOST)?;
    ways(NODES.len() - 1)?;
    let known = lost.elapsed();
    std::thread::sleep(AFTER);
    let longest = unbroken(&flows)?;
    Ok(Shown::Good(format!(
        "{FLOWS} of {FLOWS} unbroken, each with its backend; {through} went through the lost node, of which the router knew after {:.1} s (hold time 3 s); longest gap {longest} ms",
        known.as_secs_f64()
    )))
}

/// How many open connections with the virtual address IPVS of a node knows.
fn seen_by(world: &World, number: u8) -> Result<usize> {
    let IpAddr::V4(address) = VIP else { bail!("an IPv4 address") };
    let hex = format!(" {:08X} ", u32::from(address));
    let all = world.says(number, "cat /proc/net/ip_vs_conn")?;
    Ok(all.lines().filter(|line| line.contains(&hex) && line.contains("ESTABLISHED")).count())
}
