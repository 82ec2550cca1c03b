//! Many pods that are made and ended together, and what the API says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::control_plane::ControlPlane;
use super::super::http::Api;
use super::super::node::PAUSE;
use super::patience::until_all;

/// The node on which the pods are.
pub(super) const NODE: u8 = 1;

/// Pods of one name and a number each, on one node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    /// Their name and their label.
    pub(super) name: &'static str,
    /// How many.
    pub(super) count: u16,
}

/// A pod as the API shows it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Its name.
    pub(super) name: String,
    /// Its addresses in the order of the API.
    pub(super) addresses: Vec<IpAddr>,
    /// Do its containers run?
    pub(super) ready: bool,
}

/// When pods came up, counted from the request for the first.
#[derive(Debug)]
pub(super) struct Times {
    /// The middle one.
    pub(super) half: Duration,
    /// The last one.
    pub(super) last: Duration,
}

impl Batch {
    /// Asks for all of them in one go, past the scheduler.
    pub(super) fn create(self, plane: &ControlPlane) -> Result<Instant> {
        let items: Vec<Value> = (0..self.count).map(|number| self.pod(number)).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let begin = Instant::now();
        plane.apply(&list.to_string())?;
        Ok(begin)
    }

    fn pod(self, number: u16) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("{}-{number}", self.name),
                "namespace": "default",
                "labels": { "app": self.name },
            },
            "spec": {
                "nodeName": format!("node{NODE}"),
                "terminationGracePeriodSeconds": 0,
                "dnsPolicy": "Default",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{ "name": "pause", "image": PAUSE, "imagePullPolicy": "Never" }],
            },
        })
    }

    /// Asks for the end of all of them, without waiting for it.
    pub(super) fn delete(self, plane: &ControlPlane) -> Result<()> {
        let label = format!("app={}", self.name);
        plane.ask(&["delete", "pods", "--selector", &label, "--wait=false"]).map(drop)
    }

    /// Waits until the API has none of them left, as long as some go within `quiet`.
    pub(super) fn gone(self, plane: &ControlPlane, quiet: Duration) -> Result<()> {
        let all = usize::from(self.count);
        until_all(&format!("the end of the pods {}", self.name), all, quiet, || {
            Ok(all.saturating_sub(self.seen(&plane.api)?.len()))
        })
    }

    /// What the API shows of them.
    pub(super) fn seen(self, api: &Api) -> Result<Vec<Seen>> {
        labelled(api, self.name)
    }

    /// Waits until every one is ready with an address of both families, as long as some get so within `quiet`.
    pub(super) fn all_ready(self, api: &Api, begin: Instant, quiet: Duration) -> Result<Times> {
        let mut moments: BTreeMap<String, Duration> = BTreeMap::new();
        let all = usize::from(self.count);
        until_all(&format!("pods {} that are ready", self.name), all, quiet, || {
            let now = begin.elapsed();
            let pods = self.seen(api)?;
            let ready: BTreeSet<&str> =
                pods.iter().filter(|pod| pod.is_up()).map(|pod| pod.name.as_str()).collect();
            moments.retain(|name, _| ready.contains(name.as_str()));
            for name in &ready {
                moments.entry((*name).to_owned()).or_insert(now);
            }
            Ok(ready.len())
        })?;
        let mut sorted: Vec<Duration> = moments.into_values().collect();
        sorted.sort_unstable();
        let last = *sorted.last().context("no pods")?;
        Ok(Times { half: sorted[sorted.len() / 2], last })
    }

    /// How many times the kubelet said that a sandbox of theirs could not be made.
    pub(super) fn failed_sandboxes(self, api: &Api) -> Result<u64> {
        let path = "/api/v1/namespaces/default/events?fieldSelector=reason%3DFailedCreatePodSandBox";
        let prefix = format!("{}-", self.name);
        let events = api.items(path)?;
        let ours = events.iter().filter(|event| {
            event["involvedObject"]["name"].as_str().is_some_and(|name| name.starts_with(&prefix))
        });
        Ok(ours.map(|event| event["count"].as_u64().unwrap_or(1)).sum())
    }
}

impl Seen {
    /// Ready, and with an address of both families.
    pub(super) fn is_up(&self) -> bool {
        self.ready && self.addresses.iter().any(IpAddr::is_ipv4) && self.addresses.iter().any(IpAddr::is_ipv6)
    }

    fn read(item: &Value) -> Self {
        let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let conditions = items(&item["status"]["conditions"]);
        Self {
            name: item["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            addresses: items(&item["status"]["podIPs"])
                .iter()
                .filter_map(|entry| entry["ip"].as_str()?.parse().ok())
                .collect(),
            ready: conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"),
        }
    }
}

/// The pods with this `app` label.
pub(super) fn labelled(api: &Api, app: &str) -> Result<Vec<Seen>> {
    let items = api.items(&format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{app}"))?;
    Ok(items.iter().map(Seen::read).collect())
}

/// The pods of a node that have a network of their own, whatever their name space.
pub(super) fn on_node(api: &Api, node: u8) -> Result<Vec<Seen>> {
    let items = api.items(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode{node}"))?;
    let own = items.iter().filter(|item| item["spec"]["hostNetwork"].as_bool() != Some(true));
    Ok(own.map(Seen::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_up_with_both_addresses_and_ready_containers_only() {
        let pod = |ips: &[&str], ready: &str| {
            let ips: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
            Seen::read(&json!({
                "metadata": { "name": "a" },
                "status": { "podIPs": ips, "conditions": [{ "type": "Ready", "status": ready }] },
            }))
        };
        assert!(pod(&["10.244.0.2", "fd00::2"], "True").is_up());
        assert!(!pod(&["10.244.0.2", "fd00::2"], "False").is_up());
        assert!(!pod(&["10.244.0.2"], "True").is_up());
        assert!(!Seen::read(&json!({})).is_up());
    }
}
