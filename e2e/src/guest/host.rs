//! A node made of name spaces of the running kernel.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Place;
use crate::net::make_veth;
use crate::process::{attach_log, command, wait_for};

/// Starts the processes of a node and joins it to the segment.
pub fn start(place: Place, folder: &Path) -> Result<Child> {
    let mut node = command(std::env::current_exe().context("the lab does not know its own path")?);
    node.arg("host-node").envs(place.environment());
    let child = attach_log(&mut node, &folder.join(format!("{}.console", place.name())))?
        .spawn()
        .with_context(|| format!("{} could not be started", place.name()))?;
    let ours = fs::read_link("/proc/self/ns/net")?;
    let theirs = format!("/proc/{}/ns/net", child.id());
    wait_for("the node's network namespace", Duration::from_secs(5), || {
        let now = fs::read_link(&theirs).context("the node's first process is gone")?;
        Ok((now != ours).then_some(()))
    })?;
    make_veth(place.index, place.segment, child.id())?;
    Ok(child)
}
