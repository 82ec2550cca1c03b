//! One plugin as a runtime calls it, on this kernel.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{PATH, command};

/// A plugin and its network.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    /// What it is called in the table.
    pub(super) label: &'static str,
    folder: PathBuf,
    config: Value,
}

impl Plugin {
    /// The program `kind` in a folder, with a bridge and a range of its own.
    pub(super) fn new(label: &'static str, folder: &Path, kind: &str, bridge: &str, subnet: &str) -> Self {
        let config = json!({
            "cniVersion": "1.0.0", "name": bridge, "type": kind, "bridge": bridge,
            "isDefaultGateway": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]]},
        });
        Self { label, folder: folder.to_path_buf(), config }
    }

    /// Runs it for a pod and returns how long that took, from before the exec to its end, with its result.
    pub(super) fn call(&self, verb: &str, pod: &str, previous: Option<&Value>) -> Result<(Duration, Value)> {
        let begin = Instant::now();
        let mut child = self.start(verb, pod)?;
        self.feed(&mut child, previous)?;
        let mut text = String::new();
        child.stdout.take().context("no output")?.read_to_string(&mut text)?;
        let status = child.wait()?;
        let took = begin.elapsed();
        if !status.success() {
            bail!("{verb} of {pod} by the {} ended with {status}: {text}", self.label);
        }
        Ok((took, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// Starts it; it waits for its configuration.
    pub(super) fn start(&self, verb: &str, pod: &str) -> Result<Child> {
        self.prepare(verb, pod).spawn().with_context(|| format!("the {} could not be started", self.label))
    }

    /// Hands it the configuration.
    pub(super) fn feed(&self, child: &mut Child, previous: Option<&Value>) -> Result<()> {
        let mut config = self.config.clone();
        if let Some(result) = previous {
            config["prevResult"] = result.clone();
        }
        let mut stdin = child.stdin.take().context("no input")?;
        stdin.write_all(config.to_string().as_bytes()).context("the plugin did not read its configuration")
    }

    fn prepare(&self, verb: &str, pod: &str) -> Command {
        let kind = self.config["type"].as_str().unwrap_or_default();
        let mut plugin = command(self.folder.join(kind));
        plugin.env_clear().env("PATH", PATH).env("CNI_COMMAND", verb).env("CNI_CONTAINERID", pod);
        plugin
            .env("CNI_NETNS", format!("/run/netns/{pod}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.folder);
        plugin.env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={pod}"));
        plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        plugin
    }
}
