//! A pod's bandwidth annotations become queues in the kernel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::host_ports;
use super::super::pods::{Pod, with_label};
use super::batch::{NODE, labelled};
use super::crowd::TIDY;
use super::kernel_state::{becomes_exact, devices};
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::guest::client::{Cmd, Node};
use crate::process::wait_for;

const LIMIT: Duration = Duration::from_mins(2);

/// The pod and its label.
const NAME: &str = "shaped";

/// Bits a second to the pod and from it, as an administrator writes them and as bytes a second.
const INGRESS: (&str, u64) = ("8M", 1_000_000);
const EGRESS: (&str, u64) = ("16M", 2_000_000);

/// Makes a pod with both annotations, looks at the queues, and ends it.
pub(super) fn show(world: &mut World, report: &mut Report) {
    report.check("a pod with bandwidth annotations comes up", || {
        make(world)?;
        Ok(Shown::Good(format!("ingress {}bit/s, egress {}bit/s", INGRESS.0, EGRESS.0)))
    });
    report.check("what it receives passes a token bucket on its veth", || {
        let (node, pod) = find(world)?;
        let veth = host_veth(node, &pod, world)?;
        let rate = token_bucket(node, &veth)?;
        ensure!(rate == INGRESS.1, "{veth} lets {rate} bytes/s through");
        Ok(Shown::Good(format!("{veth}: {rate} bytes/s")))
    });
    report.check("what it sends passes one on an ifb", || {
        let (node, _) = find(world)?;
        let ifbs = devices(node, "ifb")?;
        let [ifb] = ifbs.as_slice() else { anyhow::bail!("there are the ifb devices {ifbs:?}") };
        let rate = token_bucket(node, ifb)?;
        ensure!(rate == EGRESS.1, "{ifb} lets {rate} bytes/s through");
        Ok(Shown::Good(format!("{ifb}: {rate} bytes/s")))
    });
    report.check("its end takes the ifb away", || ended(world));
}

fn make(world: &World) -> Result<()> {
    let mut pod = host_ports::pod(NAME, NAME, NODE, None);
    pod["metadata"]["annotations"] = json!({
        "kubernetes.io/ingress-bandwidth": INGRESS.0,
        "kubernetes.io/egress-bandwidth": EGRESS.0,
    });
    world.plane.apply(&pod.to_string())?;
    wait_for("the pod to be ready", LIMIT, || {
        let up = labelled(&world.plane.api, NAME)?.iter().any(super::batch::Seen::is_up);
        Ok(up.then_some(()))
    })
}

fn find(world: &World) -> Result<(&Node, Pod)> {
    let pods = with_label(&world.plane.api, &world.lab, NAME)?;
    let pod = pods.into_iter().next().context("the pod is not there")?;
    Ok((world.lab.node(NODE)?, pod))
}

/// The node's end of a pod's veth: the device whose number the pod's end names as its peer.
fn host_veth(node: &Node, pod: &Pod, world: &World) -> Result<String> {
    let inside = Cmd::new("ip").arg("-n").arg(pod.netns(&world.lab)?).words("-j link show eth0");
    let inside: Value = serde_json::from_str(&node.run(inside)?)?;
    let peer = inside[0]["link_index"].as_u64().context("eth0 has no peer")?;
    let all: Value = serde_json::from_str(&node.run(Cmd::new("ip").words("-j link show type veth"))?)?;
    let found = all.as_array().into_iter().flatten().find(|link| link["ifindex"].as_u64() == Some(peer));
    let name = found.and_then(|link| link["ifname"].as_str());
    name.map(str::to_owned).context("the node has no device of the peer's number")
}

/// The rate of a device's token bucket in bytes a second.
fn token_bucket(node: &Node, device: &str) -> Result<u64> {
    let text = node.run(Cmd::new("tc").words("-j qdisc show dev").arg(device))?;
    let queues: Value = serde_json::from_str(&text).with_context(|| format!("tc said {text:?}"))?;
    let bucket = queues.as_array().into_iter().flatten().find(|queue| queue["kind"] == "tbf");
    let bucket = bucket.with_context(|| format!("{device} has no token bucket: {text}"))?;
    bucket["options"]["rate"].as_u64().with_context(|| format!("tc tells no rate: {text}"))
}

fn ended(world: &World) -> Result<Shown> {
    world.plane.ask(&["delete", "pods", "--selector", &format!("app={NAME}"), "--wait=false"])?;
    let node = world.lab.node(NODE)?;
    wait_for("the end of the pod", LIMIT, || {
        let left = labelled(&world.plane.api, NAME)?.len();
        ensure!(left == 0, "it is still there");
        let ifbs = devices(node, "ifb")?;
        ensure!(ifbs.is_empty(), "left: {ifbs:?}");
        Ok(Some(()))
    })?;
    let (_, tidy) = becomes_exact(&world.plane.api, node, TIDY)?;
    Ok(Shown::Good(format!("no ifb left, the node is tidy after {:.1} s", tidy.as_secs_f64())))
}
