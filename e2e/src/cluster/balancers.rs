//! `--run-loadbalancer` with a real API server: each address is given once, who gets none is told so, and when the node that
//! gives them is killed, another one does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::control_plane::ControlPlane;
use super::manifest;
use crate::guest::client::{Cmd, Node};
use crate::lab::Lab;
use crate::process::wait_for;

/// What routerd is told, in a range of [`ADDRESSES`].
pub(super) const FLAGS: [&str; 2] = ["--run-loadbalancer", "--loadbalancer-ip-range=203.0.113.0/28"];

/// How many addresses there are.
const ADDRESSES: usize = 16;

/// Its Lease, in the namespace of routerd.
const LEASE: &str = "kube-router-lballoc";

/// A Lease lasts 15 s, and this machine may have much else to do.
const LIMIT: Duration = Duration::from_mins(1);

/// More Services than addresses, the loss of the leader, and Services that come after it.
pub(super) fn are_given(plane: &ControlPlane, lab: &Lab) -> Result<String> {
    let mut names: BTreeSet<String> = (0..=ADDRESSES).map(|number| format!("balanced-{number}")).collect();
    let begin = Instant::now();
    plane.apply(&services(&names))?;
    let without = given(plane, &names, 1)?.pop_first().context("all have an address")?;
    let took = begin.elapsed();
    exhaustion_is_an_event(plane, &without)?;
    // One goes, and who waited has its address.
    let gone = names.iter().find(|name| **name != without).cloned().context("no Service")?;
    names.remove(&gone);
    plane.ask(&["delete", "service", &gone])?;
    given(plane, &names, 0)?;

    let next = names.iter().next().cloned().context("no Service")?;
    names.remove(&next);
    plane.ask(&["delete", "service", &next])?;
    let (from, to, taken) = leader_is_killed(plane, lab)?;
    names.insert("balanced-later".into());
    plane.apply(&services(&names))?;
    given(plane, &names, 0)?;
    plane.delete(&services(&names))?;
    Ok(format!(
        "{ADDRESSES} Services within {} ms, one more is told why not; {to} goes on {:.1} s after {from} was killed",
        took.as_millis(),
        taken.as_secs_f64()
    ))
}

fn services(names: &BTreeSet<String>) -> String {
    let one = |name: &String| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{{port: 80}}]}}\n"
        )
    };
    names.iter().map(one).collect::<Vec<_>>().join("---\n")
}

/// Waits until all but so many have an address; who has none. No address is another's, none is outside of the range.
fn given(plane: &ControlPlane, names: &BTreeSet<String>, missing: usize) -> Result<BTreeSet<String>> {
    wait_for("addresses of load balancers", LIMIT, || {
        let mut without = names.clone();
        let mut users: BTreeMap<String, String> = BTreeMap::new();
        for service in plane.api.items("/api/v1/namespaces/default/services")? {
            let name = service["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            for ingress in service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten() {
                let address = ingress["ip"].as_str().context("an entry without address")?.to_owned();
                ensure!(address.starts_with("203.0.113."), "{name} has {address}");
                let other = users.insert(address.clone(), name.clone());
                ensure!(other.is_none(), "{address} is given to {name} and to {other:?}");
                ensure!(without.remove(&name), "{name} has two addresses, or is none of ours");
            }
        }
        ensure!(without.len() == missing, "{without:?} have none");
        Ok(Some(without))
    })
}

fn exhaustion_is_an_event(plane: &ControlPlane, service: &str) -> Result<()> {
    wait_for("an Event that says that no address is left", LIMIT, || {
        let events = plane.api.items("/apis/events.k8s.io/v1/namespaces/default/events")?;
        let is_it = |event: &Value| {
            let note = event["note"].as_str().unwrap_or_default();
            event["regarding"]["kind"] == "Service"
                && event["regarding"]["name"] == service
                && note.contains("all of 203.0.113.0/28 are in use")
        };
        Ok(events.iter().any(is_it).then_some(()))
    })
}

/// Kills routerd on the leader's node as often as the kubelet starts it again, until another node leads. Their names, and
/// how long that took.
fn leader_is_killed(plane: &ControlPlane, lab: &Lab) -> Result<(String, String, Duration)> {
    let nodes = nodes_of_pods(plane)?;
    let leader = || -> Result<String> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{LEASE}", manifest::NAMESPACE);
        let lease = plane.api.get(&path)?;
        let holder = lease["spec"]["holderIdentity"].as_str().context("nobody leads")?;
        nodes.get(holder).cloned().with_context(|| format!("{holder} is none of routerd's pods"))
    };
    let first = leader()?;
    let node = lab.nodes.iter().find(|node| node.name == first);
    let node = node.with_context(|| format!("{first} is no node of the lab"))?;
    let begin = Instant::now();
    let next = wait_for("another node that gives addresses", LIMIT, || {
        kill(node)?;
        Ok(Some(leader()?).filter(|now| *now != first))
    })?;
    Ok((first, next, begin.elapsed()))
}

fn nodes_of_pods(plane: &ControlPlane) -> Result<BTreeMap<String, String>> {
    let pods = plane.api.items(&manifest::pods())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(pods.iter().map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]))).collect())
}

fn kill(node: &Node) -> Result<()> {
    let told = node.output(Cmd::new("ps").words("-C routerd -o pid="))?.stdout;
    for pid in told.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // It may have ended by itself.
        let _ended = node.signal(pid, Signal::SIGKILL);
    }
    Ok(())
}
