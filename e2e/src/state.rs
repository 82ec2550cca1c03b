//! What `cargo lab shell` and `cargo lab down` know about a run that goes on.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::guest::client::Node;
use crate::process::wait_for;

const FILE: &str = "/run/routerd-lab.json";

/// A run that was left running.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The process that holds everything.
    pub pid: u32,
    /// Its folder.
    pub folder: PathBuf,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

impl Kept {
    /// Remembers a run.
    pub fn save(&self) -> Result<()> {
        fs::write(FILE, serde_json::to_vec_pretty(self)?).with_context(|| format!("writing {FILE}"))
    }

    /// The run that goes on, if there is one.
    pub fn find() -> Result<Option<Self>> {
        let Ok(text) = fs::read(FILE) else { return Ok(None) };
        let kept: Self =
            serde_json::from_slice(&text).with_context(|| format!("{FILE} is not what the lab wrote"))?;
        if is_the_lab(kept.pid, &kept.folder) {
            return Ok(Some(kept));
        }
        fs::remove_file(FILE)?;
        Ok(None)
    }

    /// The run that goes on; an error that says how to start one.
    pub fn require() -> Result<Self> {
        Self::find()?.context("no lab is running: start one with `cargo lab up` or `cargo demo --keep`")
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let known: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        let found = self.nodes.iter().find(|node| node.name == name);
        found.with_context(|| format!("no node {name:?}; there are {}", known.join(", ")))
    }

    /// Moves this process (which must have one thread only) into the run's network namespace.
    pub fn enter_network(&self) -> Result<()> {
        let path = format!("/proc/{}/ns/net", self.pid);
        let file = File::open(&path).with_context(|| format!("opening {path}"))?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context("entering the lab's network (is this root?)")
    }

    /// Ends the run and removes its folder.
    pub fn end(self) -> Result<()> {
        let pid = i32::try_from(self.pid)?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("ending process {pid}"))?;
        wait_for("the lab's end", Duration::from_secs(10), || {
            Ok((!is_the_lab(self.pid, &self.folder)).then_some(()))
        })?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("removing {}", self.folder.display()))?;
        match fs::remove_file(FILE) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context(format!("removing {FILE}"))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses to start a second run that would be kept.
pub fn refuse_second() -> Result<()> {
    if Kept::find()?.is_some() {
        bail!("a lab is running already: `cargo lab down` ends it");
    }
    Ok(())
}

/// Is that process the run of this folder, and not another that was given its number later?
fn is_the_lab(pid: u32, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(folder))
}
