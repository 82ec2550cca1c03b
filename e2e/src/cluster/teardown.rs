//! Taking a cluster down, and looking that nothing is left.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::control_plane::ControlPlane;
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
    plane.delete(&manifest::routerd()?)?;
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

/// The run has a process namespace of its own, so every process in it is the lab's.
pub(super) fn no_process_left() -> Result<()> {
    wait_for("the end of every process of the cluster", Duration::from_secs(10), || {
        let own = std::process::id();
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").context("listing processes")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_ok_and(|pid| pid != own) {
                left.push(
                    fs::read_to_string(format!("/proc/{name}/comm")).unwrap_or_default().trim().to_owned(),
                );
            }
        }
        if left.is_empty() {
            return Ok(Some(()));
        }
        bail!("{} are left", left.join(", "))
    })
}
