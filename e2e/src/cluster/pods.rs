//! Pods as the API tells them, with what a check needs of each.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::http::Api;
use crate::guest::client::{Cmd, Node};
use crate::lab::Lab;
use crate::process::wait_for;

/// The port on which every test pod answers HTTP.
pub(super) const HTTP_PORT: u16 = 8080;

/// A running pod.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    /// Its name, which is also what its server answers.
    pub(super) name: String,
    /// The number of its node.
    pub(super) node: u8,
    /// Its address.
    pub(super) address: IpAddr,
}

/// How a DaemonSet's pods stand: ready and wanted.
pub(super) fn daemon_set(api: &Api, namespace: &str, name: &str) -> Result<(u64, u64)> {
    let set = api.get(&format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"))?;
    let number = |field: &str| set["status"][field].as_u64().unwrap_or(0);
    Ok((number("numberReady"), number("desiredNumberScheduled")))
}

/// Waits until a DaemonSet has a ready pod on each of `nodes` nodes.
pub(super) fn wait_for_daemon_set(
    api: &Api,
    namespace: &str,
    name: &str,
    nodes: usize,
    limit: Duration,
) -> Result<()> {
    wait_for(&format!("DaemonSet {namespace}/{name}: {nodes} ready pods"), limit, || {
        let (ready, wanted) = daemon_set(api, namespace, name)?;
        if ready == nodes as u64 && wanted == ready {
            return Ok(Some(()));
        }
        bail!("{ready} ready, {wanted} wanted")
    })
}

/// The running pods with this `app` label in the namespace `default`, in the order of their nodes.
pub(super) fn with_label(api: &Api, lab: &Lab, app: &str) -> Result<Vec<Pod>> {
    let items = api.items(&format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}"))?;
    let mut pods = items.iter().map(|item| read(item, lab)).collect::<Result<Vec<_>>>()?;
    pods.sort_by_key(|pod| pod.node);
    Ok(pods)
}

fn read(item: &Value, lab: &Lab) -> Result<Pod> {
    let name = item["metadata"]["name"].as_str().context("a pod without a name")?;
    let on = item["spec"]["nodeName"].as_str().with_context(|| format!("pod {name} is on no node"))?;
    let node = lab
        .nodes
        .iter()
        .find(|node| node.name == on)
        .with_context(|| format!("pod {name} is on {on}, which is no node of the lab"))?;
    let address = item["status"]["podIP"].as_str().and_then(|text| text.parse().ok());
    let address = address.with_context(|| format!("pod {name} has no address"))?;
    Ok(Pod { name: name.to_owned(), node: node.index, address })
}

impl Pod {
    /// Asks from inside this pod (its own server does it): who answered each of `tries` requests.
    pub(super) fn dial(&self, lab: &Lab, to: SocketAddr, protocol: &str, tries: u32) -> Result<Vec<String>> {
        let query = format!(
            "/dial?host={}&port={}&protocol={protocol}&request=hostname&tries={tries}",
            to.ip(),
            to.port()
        );
        let what = || format!("{} on node{} to {protocol} {to}", self.name, self.node);
        let answer =
            fetch(lab.node(self.node)?, (self.address, HTTP_PORT).into(), &query).with_context(what)?;
        let answer: Value = serde_json::from_str(&answer).with_context(what)?;
        let texts = |field: &str| -> Vec<String> {
            answer[field]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| text.as_str().map(|text| text.trim().to_owned()))
                .collect()
        };
        let errors = texts("errors");
        if !errors.is_empty() {
            bail!("{}: {}", what(), errors.join("; "));
        }
        Ok(texts("responses"))
    }

    /// The name of its network namespace under `/run/netns` of its node.
    pub(super) fn netns(&self, lab: &Lab) -> Result<String> {
        let node = lab.node(self.node)?;
        for name in node.list("/run/netns")? {
            let addresses = node.run(Cmd::new("ip").arg("-n").arg(&name).words("-o addr show"))?;
            if addresses
                .split_whitespace()
                .any(|word| word.split('/').next() == Some(&self.address.to_string()))
            {
                return Ok(name);
            }
        }
        bail!("no network namespace of {} has the address {}", node.name, self.address)
    }
}

/// Asks from a node itself.
pub(super) fn fetch(node: &Node, server: SocketAddr, path: &str) -> Result<String> {
    node.run(Cmd::tool("fetch")?.arg(server.to_string()).arg(path))
}
