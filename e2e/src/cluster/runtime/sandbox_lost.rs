//! A pod's sandbox is killed, with its network namespace there or gone: the kubelet makes it again, and nothing of the old one stays.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::control_plane::ControlPlane;
use super::batch::{Batch, NODE, Seen};
use super::crowd::{TIDY, ended};
use super::kernel_state::{Lease, becomes_exact, leases};
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::guest::client::{Cmd, Node};
use crate::process::wait_for;

/// How long the kubelet may take to see it and make a new one.
const LIMIT: Duration = Duration::from_mins(3);

/// Does both to pods of a small batch.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let batch = Batch { name: "fragile", count: 3 };
    report.check("pods for what follows", || {
        let begin = batch.create(&world.plane)?;
        let times = batch.all_ready(&world.plane.api, begin, LIMIT)?;
        Ok(Shown::Good(format!("ready after {:.1} s", times.last.as_secs_f64())))
    });
    report.check("a sandbox whose process is killed is made again", || {
        replaced(world, batch, 0, |node, lease| kill(node, world, lease))
    });
    report.check(
        "so is one whose network namespace was removed before, of which DEL is told nothing",
        || {
            replaced(world, batch, 1, |node, lease| {
                // The kubelet looks at a sandbox when its process ends, and not before.
                remove_namespace(node, lease)?;
                kill(node, world, lease)
            })
        },
    );
    report.check("they leave nothing", || ended(world, batch));
}

/// Breaks the sandbox of a pod and waits for the next. What the old one held must be gone.
fn replaced(
    world: &World,
    batch: Batch,
    number: usize,
    breaks: impl FnOnce(&Node, &Lease) -> Result<()>,
) -> Result<Shown> {
    let node = world.lab.node(NODE)?;
    let pods = batch.seen(&world.plane.api)?;
    let pod = pods.get(number).context("the pods are not there")?;
    let old = lease_of(node, pod)?;
    let begin = Instant::now();
    breaks(node, &old)?;
    let new = wait_for(&format!("a new sandbox for {}", pod.name), LIMIT, || {
        let pod = seen(&world.plane, batch, &pod.name)?;
        ensure!(pod.is_up(), "it is not up");
        let lease = lease_of(node, &pod)?;
        ensure!(lease.container != old.container, "it still has the old one");
        Ok(Some(lease))
    })?;
    let took = begin.elapsed().as_secs_f64();
    let (_, tidy) = becomes_exact(&world.plane.api, node, TIDY)?;
    Ok(Shown::Good(format!(
        "after {took:.1} s, {} instead of {}; nothing of the old one {:.1} s later",
        new.address,
        old.address,
        tidy.as_secs_f64()
    )))
}

fn seen(plane: &ControlPlane, batch: Batch, name: &str) -> Result<Seen> {
    let pods = batch.seen(&plane.api)?;
    pods.into_iter().find(|pod| pod.name == name).with_context(|| format!("{name} is gone"))
}

/// The lease of a pod's first address.
fn lease_of(node: &Node, pod: &Seen) -> Result<Lease> {
    let address = pod.addresses.first().with_context(|| format!("{} has no address", pod.name))?;
    let found = leases(node)?.into_iter().find(|lease| lease.address == *address);
    found.with_context(|| format!("{address} of {} has no lease", pod.name))
}

/// Ends the process that holds the pod's namespaces.
fn kill(node: &Node, world: &World, lease: &Lease) -> Result<()> {
    let ctr = world.programs.path("ctr").to_string_lossy().into_owned();
    let tasks = node.run(Cmd::new(ctr).words("-n k8s.io task ls"))?;
    let line = tasks.lines().find(|line| line.starts_with(&lease.container));
    let pid = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    let pid = pid.with_context(|| format!("containerd runs no sandbox {}:\n{tasks}", lease.container))?;
    node.signal(pid, nix::sys::signal::Signal::SIGKILL)
}

/// Takes away the name of the pod's network namespace, as an administrator who tidies up too much.
fn remove_namespace(node: &Node, lease: &Lease) -> Result<()> {
    for name in node.list("/run/netns")? {
        let addresses = node.run(Cmd::new("ip").arg("-n").arg(&name).words("-o addr show"))?;
        let has = |word: &str| word.split('/').next() == Some(&lease.address.to_string());
        if addresses.split_whitespace().any(has) {
            return node.netns(&name, false);
        }
    }
    anyhow::bail!("no network namespace of {} has the address {}", node.name, lease.address)
}
