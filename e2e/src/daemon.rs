//! The product on a node of the lab: installed, started, asked for its status, killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::guest::client::{Cmd, Node};
use crate::process::wait_for;
use crate::sandbox::Inside;
use crate::setup::binaries::NAMES;

/// The range of ClusterIPs in the lab.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";

/// The programs of a run: copies, so that a build meanwhile changes nothing.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

/// `routerd` on one node.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Its process on the node.
    pub pid: i32,
    node: Node,
    programs: Programs,
    arguments: Vec<String>,
    log: String,
}

impl Programs {
    /// Copies the programs into the run's folder.
    pub fn copy(inside: &Inside, from: &Path) -> Result<Self> {
        let folder = inside.folder.join("bin");
        std::fs::create_dir_all(&folder)?;
        for name in NAMES {
            std::fs::copy(from.join(name), folder.join(name)).with_context(|| format!("copying {name}"))?;
        }
        Ok(Self { folder })
    }

    /// The path of one of them, the same on every node.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// Runs the installer on a node.
    pub fn install(&self, node: &Node) -> Result<String> {
        node.run(
            Cmd::new(self.path("routerd-init")).arg("--local-bin-path").arg(self.folder.to_string_lossy()),
        )
    }
}

impl Daemon {
    /// Starts `routerd` on a node with the lab's folder of manifests and further flags.
    pub fn start(node: &Node, programs: &Programs, logs: &Path, flags: &[&str]) -> Result<Self> {
        let mut arguments = vec![
            format!("--manifests={}", crate::manifests::FOLDER),
            format!("--hostname-override={}", node.name),
            format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let log = logs.join(format!("{}.routerd.log", node.name)).to_string_lossy().into_owned();
        let mut daemon = Self { pid: 0, node: node.clone(), programs: programs.clone(), arguments, log };
        daemon.launch()?;
        Ok(daemon)
    }

    fn launch(&mut self) -> Result<()> {
        let mut cmd = Cmd::new(self.programs.path("routerd"));
        for argument in &self.arguments {
            cmd = cmd.arg(argument);
        }
        self.pid = self.node.background(cmd, &self.log)?;
        Ok(())
    }

    /// Ends it without a warning.
    pub fn kill(&self) -> Result<()> {
        self.node.signal(self.pid, Signal::SIGKILL)
    }

    /// Starts it once more, as it was started.
    pub fn again(&mut self) -> Result<()> {
        self.launch()
    }

    /// The name of its node.
    pub fn node(&self) -> &str {
        &self.node.name
    }

    /// What one of the commands that ask it prints.
    pub fn says(&self, words: &str) -> Result<String> {
        self.node.run(Cmd::new(self.programs.path("routerd")).words(words))
    }

    /// What it says of itself.
    pub fn status(&self) -> Result<Value> {
        let told = self.says("status --json")?;
        serde_json::from_str(&told).with_context(|| format!("routerd status on {}: {told}", self.node.name))
    }

    /// Waits until every plane holds what the cluster wants. A plane named in `absent` may be broken.
    pub fn wait_until_ready(&self, absent: &[&str]) -> Result<Value> {
        wait_for(&format!("routerd on {} to be ready", self.node.name), Duration::from_secs(15), || {
            let status = self.status()?;
            let reasons = reasons(&status, absent);
            if reasons.is_empty() {
                return Ok(Some(status));
            }
            bail!("{}", reasons.join("; "))
        })
        .with_context(|| format!("the end of its log:\n{}", crate::process::tail(Path::new(&self.log), 15)))
    }
}

/// Why a daemon is not ready, by its own words.
pub(crate) fn reasons(status: &Value, absent: &[&str]) -> Vec<String> {
    let mut reasons = Vec::new();
    if status["cluster"]["complete"].as_bool() == Some(false) {
        reasons.push("no complete view of the cluster yet".to_owned());
    }
    let planes = status["planes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if planes.is_empty() {
        reasons.push("it names no planes".to_owned());
    }
    for plane in planes {
        let (name, state) = (plane["name"].as_str().unwrap_or("?"), plane["state"].as_str().unwrap_or("?"));
        if state != "ok" && !(absent.contains(&name) && state == "broken") {
            reasons.push(format!("{name} is {state}: {}", plane["problems"]));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_daemon_is_ready_when_every_plane_is_or_may_be_broken() {
        let plane = |name: &str, state: &str| json!({"name": name, "state": state, "problems": []});
        let status = json!({"planes": [plane("routing", "ok"), plane("services", "broken")]});
        assert_eq!(reasons(&status, &["services"]), Vec::<String>::new());
        assert_eq!(reasons(&status, &[]).len(), 1);
        assert_eq!(reasons(&json!({}), &[]).len(), 1);
        let waiting = json!({"cluster": {"complete": false}, "planes": [plane("routing", "waiting")]});
        assert_eq!(reasons(&waiting, &["services"]).len(), 2);
    }
}
