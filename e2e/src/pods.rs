//! Pods without a kubelet: a network namespace, the plugin exec'd as a runtime does it, and the
//! objects that the API server would hold of them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::guest::client::{Cmd, Node};
use crate::libcni::List;
use crate::paths::fingerprint;

const CONFIGURATION: &str = "/etc/cni/net.d";
const PLUGINS: &str = "/opt/cni/bin";

/// What a pod shall be.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name in the namespace `demo`.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The number of its node.
    pub node: u8,
}

/// A pod that exists.
#[derive(Debug, Clone)]
pub struct Pod {
    /// What was asked for.
    pub spec: Spec,
    /// Its address, once ADD has succeeded.
    pub address: Option<IpAddr>,
    /// How long its ADD took, from the lab's request to its answer.
    pub took: Duration,
    result: Option<Value>,
}

/// How a plugin's call ended.
#[derive(Debug)]
struct Answer {
    code: i32,
    text: String,
    took: Duration,
}

impl Pod {
    /// A pod whose namespace exists, and nothing in it but a loopback device.
    pub fn new(node: &Node, spec: Spec) -> Result<Self> {
        let pod = Self { spec, address: None, took: Duration::ZERO, result: None };
        node.netns(&pod.netns(), true)?;
        Ok(pod)
    }

    /// The name of its network namespace.
    pub fn netns(&self) -> String {
        format!("cni-{}", self.spec.name)
    }

    /// The identifier of its sandbox, 64 hex digits as containerd's.
    pub fn container(&self) -> String {
        fingerprint(&["sandbox", &self.spec.name]).repeat(4)
    }

    /// Its address; an error before ADD.
    pub fn ip(&self) -> Result<IpAddr> {
        self.address.with_context(|| format!("the pod {} has no address yet", self.spec.name))
    }

    /// All of its addresses, one of each family that the node's network has; none before ADD.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.result.as_ref().map(addresses).unwrap_or_default()
    }

    /// A program that runs inside the pod.
    pub fn tool(&self, words: &str) -> Result<Cmd> {
        Ok(Cmd::tool(words)?.in_pod(&self.netns()))
    }

    /// ADD of every plugin of the node's network configuration.
    pub fn add(&mut self, node: &Node) -> Result<()> {
        let list = configuration(node)?;
        let begin = Instant::now();
        for plugin in &list.plugins {
            let config = list.config(plugin, &Map::new(), self.result.as_ref());
            let answer = self.call(node, List::program(plugin)?, "ADD", &config)?;
            if answer.code != 0 {
                bail!(
                    "ADD of {} on {} ended with status {}: {}",
                    self.spec.name,
                    node.name,
                    answer.code,
                    answer.text
                );
            }
            let result = serde_json::from_str(&answer.text)
                .with_context(|| format!("ADD's result: {}", answer.text))?;
            self.result = Some(result);
            self.took = answer.took;
        }
        self.took = self.took.max(begin.elapsed());
        self.address = self.ips().first().copied();
        self.ip().map(|_| ())
    }

    /// DEL of every plugin, last to first, with the result of ADD, then the end of the namespace.
    pub fn delete(&self, node: &Node) -> Result<Duration> {
        let list = configuration(node)?;
        let mut took = Duration::ZERO;
        for plugin in list.plugins.iter().rev() {
            let config = list.config(plugin, &Map::new(), self.result.as_ref());
            let answer = self.call(node, List::program(plugin)?, "DEL", &config)?;
            if answer.code != 0 {
                bail!(
                    "DEL of {} on {} ended with status {}: {}",
                    self.spec.name,
                    node.name,
                    answer.code,
                    answer.text
                );
            }
            took += answer.took;
        }
        node.netns(&self.netns(), false)?;
        Ok(took)
    }

    fn call(&self, node: &Node, program: &str, verb: &str, config: &Value) -> Result<Answer> {
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
            self.spec.name,
            self.container(),
            self.uid()
        );
        let cmd = Cmd::new(format!("{PLUGINS}/{program}"))
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", self.container())
            .env("CNI_NETNS", format!("/run/netns/{}", self.netns()))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", arguments)
            .env("CNI_PATH", PLUGINS)
            .stdin(config.to_string());
        let ended = node.output(cmd)?;
        let text = format!("{}{}", ended.stdout.trim(), ended.stderr.trim());
        let text = if ended.code == 0 { ended.stdout } else { text };
        Ok(Answer { code: ended.code, text, took: ended.took })
    }

    /// Its UID in the API.
    pub fn uid(&self) -> String {
        let digits = fingerprint(&["pod", &self.spec.name]).repeat(2);
        format!(
            "{}-{}-4{}-8{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[13..16],
            &digits[17..20],
            &digits[20..32]
        )
    }
}

/// The list a runtime would take: the first by name.
pub fn configuration(node: &Node) -> Result<List> {
    let names = node.list(CONFIGURATION)?;
    let Some(first) = names.iter().find(|name| name.ends_with(".conflist")) else {
        bail!("{} has no network configuration list in {CONFIGURATION}", node.name);
    };
    List::parse(&node.read(&format!("{CONFIGURATION}/{first}"))?)
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let texts = result["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str());
    texts.filter_map(|text| text.split('/').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        let spec = Spec { name: name.into(), labels: Vec::new(), node: 1 };
        Pod { spec, address: None, took: Duration::ZERO, result: None }
    }

    #[test]
    fn a_sandbox_and_a_pod_have_identifiers_of_the_usual_shape() {
        assert_eq!(pod("a").container().len(), 64);
        assert_ne!(pod("a").container(), pod("b").container());
        let lengths: Vec<usize> = pod("a").uid().split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }

    #[test]
    fn the_pods_addresses_are_those_of_the_result_without_their_prefixes() {
        let result = serde_json::json!({"ips": [{"address": "10.244.1.2/24"}, {"address": "fd00::2/64"}]});
        assert_eq!(addresses(&result), [IpAddr::from([10, 244, 1, 2]), "fd00::2".parse().unwrap()]);
        assert_eq!(addresses(&serde_json::json!({})), Vec::<IpAddr>::new());
    }
}
