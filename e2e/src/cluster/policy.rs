//! A NetworkPolicy given to the API takes effect on packets.

use std::net::SocketAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::checks::Scene;
use super::control_plane::ControlPlane;
use super::pods::HTTP_PORT;
use crate::guest::client::{Cmd, Running};
use crate::process::wait_for;

/// How long the client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long a state must last to count.
const HOLD: Duration = Duration::from_secs(1);

/// What the client says when its state changes.
const WORDS: [&str; 2] = ["answered", "silent"];

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
    bad_is_an_event(scene, plane).context("a policy that cannot be enforced")?;
    // Outside was refused before, too; the clients were not.
    until(&flood, "silent").context("a policy that cannot be enforced")?;
    plane.ask(&["delete", "networkpolicy", "web"])?;
    scene.outside_to_node_port().context("after the policy is gone")?;
    Ok(Times { closed, opened })
}

/// A policy that the API server admits, though no packet can meet it, closes its pods, and an Event on it says why.
fn bad_is_an_event(scene: &Scene<'_>, plane: &ControlPlane) -> Result<()> {
    plane.apply(include_str!("policy-bad.yaml"))?;
    wait_for("an Event of routerd on the policy", LIMIT, || {
        let events = plane.api.items("/apis/events.k8s.io/v1/namespaces/default/events")?;
        let is_it = |event: &Value| {
            let note = event["note"].as_str().unwrap_or_default();
            event["regarding"]["kind"] == "NetworkPolicy"
                && event["regarding"]["name"] == "web"
                && event["reason"] == "PolicyNotEnforced"
                && event["reportingController"] == "routerd"
                && note.contains("::ffff:10.0.0.0/104")
        };
        Ok(events.iter().any(is_it).then_some(()))
    })?;
    scene.outside_is_refused()
}

/// Waits until the client has said this word last, and for a while: a single lost answer is no policy. Returns when it
/// said it, counted from now; zero if that was before.
fn until(flood: &Running, word: &str) -> Result<Duration> {
    let begin = Instant::now();
    let mut since: Option<Instant> = None;
    while begin.elapsed() < LIMIT {
        if let Some(moment) = since.filter(|moment| moment.elapsed() >= HOLD) {
            return Ok(moment.saturating_duration_since(begin));
        }
        match flood.lines.recv_timeout(Duration::from_millis(20)) {
            Ok((moment, line)) if line.starts_with(word) => since = Some(moment),
            Ok((_, line)) if WORDS.iter().any(|other| line.starts_with(other)) => since = None,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the client ended"),
        }
    }
    bail!("the client was not {word} within {} s", LIMIT.as_secs())
}
