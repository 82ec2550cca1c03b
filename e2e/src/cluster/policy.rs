//! A NetworkPolicy given to the API takes effect on packets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::checks::Scene;
use super::control_plane::ControlPlane;
use super::pods::HTTP_PORT;
use crate::guest::client::{Cmd, Running};

/// How long the client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(300);

const LIMIT: Duration = Duration::from_secs(20);

/// How long each change took, from the moment the API server had accepted it.
pub(super) struct Times {
    /// Until a policy that admits nobody had closed the servers.
    pub(super) closed: Duration,
    /// Until a policy that admits the clients had opened them again; up to the patience of a client too long.
    pub(super) opened: Duration,
}

/// A policy closes the servers, the next version of it admits the clients alone, and without it they are open.
pub(super) fn takes_effect(scene: &Scene<'_>, plane: &ControlPlane) -> Result<Times> {
    // From the first node's client to the last node's server, so that the network between takes part.
    let (Some(client), Some(web)) = (scene.client.first(), scene.web.last()) else { bail!("no pods") };
    let to = SocketAddr::new(web.address, HTTP_PORT);
    let flood = Cmd::tool("flood")?
        .arg("--timeout")
        .arg(PATIENCE.as_millis().to_string())
        .arg(to.to_string())
        .in_pod(&client.netns(scene.lab)?);
    let flood = scene.lab.node(client.node)?.spawn(flood)?;
    until(&flood, "answered").context("before any policy")?;
    plane.apply(include_str!("policy-deny.yaml"))?;
    // The client knows that it is refused when its patience is over: the question was asked that much earlier.
    let closed = until(&flood, "silent").context("a policy without rules")?.saturating_sub(PATIENCE);
    scene.outside_is_refused()?;
    plane.apply(include_str!("policy-clients.yaml"))?;
    let opened = until(&flood, "answered").context("a policy that admits the clients")?;
    scene.outside_is_refused()?;
    scene.pod_to_pod().context("with a policy that admits the clients")?;
    plane.ask(&["delete", "networkpolicy", "web"])?;
    scene.outside_to_node_port().context("after the policy is gone")?;
    Ok(Times { closed, opened })
}

/// Waits for a line of the client that begins with this word; the time from now on until it came, or zero if it was there before.
fn until(flood: &Running, word: &str) -> Result<Duration> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        match flood.lines.recv_timeout(LIMIT.saturating_sub(begin.elapsed())) {
            Ok((moment, line)) if line.starts_with(word) => {
                return Ok(moment.saturating_duration_since(begin));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    bail!("the client was not {word} within {} s", LIMIT.as_secs())
}
