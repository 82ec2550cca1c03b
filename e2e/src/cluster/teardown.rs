//! Taking a cluster down, and looking that nothing is left.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::control_plane::{ControlPlane, IPV4};
use super::manifest::{self, WORKLOAD};
use crate::guest::client::{Cmd, Node};
use crate::lab::Lab;
use crate::process::wait_for;

const LIMIT: Duration = Duration::from_mins(1);

/// Deletes the pods and waits until the plugin has given everything back.
pub(super) fn workload(plane: &ControlPlane, lab: &Lab) -> Result<()> {
    plane.delete(WORKLOAD)?;
    no_pods(plane, "default")?;
    for node in &lab.nodes {
        wait_for(&format!("{} without anything of its pods", node.name), LIMIT, || clean(node).map(Some))?;
    }
    Ok(())
}

/// Deletes what the manifest made.
pub(super) fn routerd(plane: &ControlPlane) -> Result<()> {
    plane.delete(&manifest::routerd(IPV4)?)?;
    no_pods(plane, manifest::NAMESPACE)
}

fn no_pods(plane: &ControlPlane, namespace: &str) -> Result<()> {
    wait_for(&format!("the pods of {namespace} to be gone"), LIMIT, || {
        let left = plane.api.items(&format!("/api/v1/namespaces/{namespace}/pods"))?;
        ensure!(left.is_empty(), "{} are left", left.len());
        Ok(Some(()))
    })
}

/// No namespace of a pod, no veth, no lease.
fn clean(node: &Node) -> Result<()> {
    let namespaces = node.list("/run/netns")?;
    ensure!(namespaces.is_empty(), "network namespaces are left: {namespaces:?}");
    let veths = node.run(Cmd::new("ip").words("-o link show type veth"))?;
    ensure!(veths.is_empty(), "devices are left: {veths}");
    let leases = node.run(Cmd::new("find").words("/var/lib/cni/networks -type f -name *.*.*.*"))?;
    ensure!(leases.is_empty(), "leases are left: {leases}");
    Ok(())
}

/// The run has a process namespace of its own, so every process in it is the lab's. This one is its init and must reap
/// what a guest's kernel leaves: one process for each of the guest's.
pub(super) fn no_process_left() -> Result<()> {
    wait_for("the end of every process of the cluster", Duration::from_secs(10), || {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        let left = others()?;
        ensure!(left.is_empty(), "{} are left", left.join(", "));
        Ok(Some(()))
    })
}

/// Number and name of every process but this one.
fn others() -> Result<Vec<String>> {
    let own = std::process::id();
    let mut others = Vec::new();
    for entry in fs::read_dir("/proc").context("listing processes")? {
        let number = entry?.file_name().to_string_lossy().into_owned();
        if number.parse::<u32>().is_ok_and(|pid| pid != own) {
            let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
            others.push(format!("{number} ({})", name.trim()));
        }
    }
    Ok(others)
}
