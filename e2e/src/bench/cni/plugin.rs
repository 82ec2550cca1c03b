//! Plugins as a runtime calls them, one after the other, on one node: a network namespace of this kernel.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::node::{Network, Node};
use crate::guest::agent::{enter_netns, netns_path};
use crate::libcni::List;
use crate::process::{PATH, command};

/// One pod of the bench: its namespace has its name.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    /// The name of namespace, container and pod.
    pub(super) name: String,
    /// The interface it gets.
    pub(super) ifname: String,
    /// The host port of its mappings.
    pub(super) port: u16,
}

impl Pod {
    /// A pod with the interface `eth0`.
    pub(super) fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), ifname: "eth0".into(), port }
    }

    /// What a runtime knows of it: one TCP and one UDP host port, and limits in both directions.
    fn runtime(&self) -> Map<String, Value> {
        let mapping = |protocol: &str, port: u16| json!({"hostPort": self.port, "containerPort": port, "protocol": protocol});
        let rate = 1_000_000_000;
        let bandwidth =
            json!({"ingressRate": rate, "ingressBurst": rate, "egressRate": rate, "egressBurst": rate});
        Map::from_iter([
            ("portMappings".to_owned(), json!([mapping("tcp", 80), mapping("udp", 53)])),
            ("bandwidth".to_owned(), bandwidth),
        ])
    }
}

/// The plugins of one column of the tables.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// What it is called in the table.
    pub(super) label: String,
    /// Where it is called.
    pub(super) node: &'static Node,
    folder: PathBuf,
    entries: Vec<Value>,
}

impl Chain {
    /// The plugins of a folder with these entries of a network configuration list.
    pub(super) fn new(
        label: impl Into<String>,
        node: &'static Node,
        folder: &Path,
        entries: Vec<Value>,
    ) -> Self {
        Self { label: label.into(), node, folder: folder.to_path_buf(), entries }
    }

    /// Bytes of the programs that the configuration names.
    pub(super) fn bytes(&self) -> Result<u64> {
        let ipam = self.entries.iter().filter(|entry| entry["type"] == "bridge").map(|_| "host-local");
        let named = self.entries.iter().filter_map(|entry| entry["type"].as_str());
        let mut files: Vec<PathBuf> = Vec::new();
        for name in named.chain(ipam) {
            // Links to one program are one program.
            let file = self.folder.join(name).canonicalize()?;
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files.iter().map(|file| Ok(std::fs::metadata(file)?.len())).sum()
    }

    /// The programs in the order in which an operation calls them, each with its configuration but for the result.
    pub(super) fn calls(&self, verb: &str, pod: &Pod, network: &Network) -> Result<Vec<Call<'_>>> {
        let list = self.list(network)?;
        let mut calls = Vec::new();
        for plugin in &list.plugins {
            let program = self.folder.join(List::program(plugin)?);
            let config = list.config(plugin, &pod.runtime(), None);
            calls.push(Call { chain: self, program, config, verb: verb.to_owned(), pod: pod.clone() });
        }
        if verb == "DEL" {
            calls.reverse();
        }
        Ok(calls)
    }

    fn list(&self, network: &Network) -> Result<List> {
        let mut entries = self.entries.clone();
        for entry in entries.iter_mut().filter(|entry| entry.get("ipam").is_some()) {
            entry["bridge"] = json!(network.bridge);
            entry["ipam"]["ranges"] = json!([[{"subnet": network.subnet}]]);
            if !network.default_route {
                entry["isDefaultGateway"] = json!(false);
                entry["isGateway"] = json!(true);
            }
        }
        List::parse(&json!({"cniVersion": "1.0.0", "name": network.bridge, "plugins": entries}).to_string())
    }

    /// Runs an operation for a pod: how long that took, from before the first exec to the last one's end, and the
    /// result.
    pub(super) fn run(
        &self,
        verb: &str,
        pod: &Pod,
        network: &Network,
        previous: Option<&Value>,
    ) -> Result<(Duration, Value)> {
        let calls = self.calls(verb, pod, network)?;
        let mut result = previous.cloned();
        let begin = Instant::now();
        for call in &calls {
            let answer = call.run(result.as_ref())?;
            if verb == "ADD" {
                result = Some(answer);
            }
        }
        Ok((begin.elapsed(), result.unwrap_or(Value::Null)))
    }
}

/// One exec.
#[derive(Debug)]
pub(super) struct Call<'a> {
    chain: &'a Chain,
    program: PathBuf,
    config: Value,
    verb: String,
    pod: Pod,
}

impl Call<'_> {
    fn run(&self, previous: Option<&Value>) -> Result<Value> {
        let mut child = self.start()?;
        self.feed(&mut child, previous)?;
        self.finish(child)
    }

    /// Starts it; it waits for its configuration.
    pub(super) fn start(&self) -> Result<Child> {
        self.command().spawn().with_context(|| format!("{} could not be started", self.program.display()))
    }

    /// Hands it the configuration.
    pub(super) fn feed(&self, child: &mut Child, previous: Option<&Value>) -> Result<()> {
        let mut config = self.config.clone();
        if let Some(result) = previous {
            config["prevResult"] = result.clone();
        }
        let mut stdin = child.stdin.take().context("no input")?;
        // One that refuses to work may not read it; its answer says more.
        drop(stdin.write_all(config.to_string().as_bytes()));
        Ok(())
    }

    /// Its answer.
    fn finish(&self, mut child: Child) -> Result<Value> {
        let text = output(&mut child)?;
        let status = child.wait()?;
        if !status.success() {
            let name = self.program.file_name().unwrap_or_default().to_string_lossy();
            bail!(
                "{}: {} {} of {}: {status}: {}",
                self.chain.label,
                name,
                self.verb,
                self.pod.name,
                text.trim()
            );
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn command(&self) -> Command {
        let pod = &self.pod;
        let mut plugin = command(&self.program);
        plugin.env_clear().env("PATH", PATH).env("CNI_COMMAND", &self.verb).env("CNI_CONTAINERID", &pod.name);
        plugin.env("CNI_NETNS", netns_path(&pod.name)).env("CNI_IFNAME", &pod.ifname);
        plugin.env("CNI_PATH", &self.chain.folder);
        plugin.env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={}", pod.name));
        plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        plugin
    }
}

/// What a process has printed, to its end.
pub(super) fn output(child: &mut Child) -> Result<String> {
    let mut text = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut text)?;
    Ok(text)
}

/// Does something in a thread that is on the node.
pub(super) fn on<T: Send>(node: &Node, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_netns(node.name)?;
            work()
        });
        thread.join().map_err(|_| anyhow!("a thread of the bench ended badly"))?
    })
}
