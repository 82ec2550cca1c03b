//! Calls of cnitool and libcni, as a runtime on the node makes them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::{NODE, lists};
use crate::guest::agent::{enter_netns, make_netns, netns_path, remove_netns};
use crate::process::{PATH, capture, command};

/// What Kubernetes' runtimes say of a pod.
const ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web";

/// The programs and where they work.
#[derive(Debug)]
pub(super) struct Driver {
    programs: PathBuf,
    /// Our plugins.
    pub(super) plugins: PathBuf,
    /// The reference plugins of their current release.
    pub(super) reference: PathBuf,
    /// Leases, settings, lists and results.
    pub(super) folder: PathBuf,
}

/// An attachment, for libcni.
#[derive(Debug, Clone)]
pub(super) struct Attachment {
    /// The container's id.
    pub(super) container: String,
    /// The path of its network name space.
    pub(super) namespace: String,
}

impl Attachment {
    /// The container `container` in the name space `pod`.
    pub(super) fn new(container: &str, pod: &Pod) -> Self {
        Self { container: container.into(), namespace: netns_path(pod.name) }
    }
}

/// A pod's name space, gone when dropped.
#[derive(Debug)]
pub(super) struct Pod {
    name: &'static str,
}

impl Pod {
    pub(super) fn new(name: &'static str) -> Result<Self> {
        make_netns(name)?;
        Ok(Self { name })
    }

    /// What a program prints that runs in it.
    pub(super) fn output(&self, words: &[&str]) -> Result<String> {
        output_in(self.name, words)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // It goes with the run at the latest.
        drop(remove_netns(self.name));
    }
}

impl Driver {
    pub(super) fn new(programs: PathBuf, plugins: PathBuf, reference: PathBuf, folder: &Path) -> Self {
        Self { programs, plugins, reference, folder: folder.to_path_buf() }
    }

    /// Calls cnitool with a list: what it prints.
    pub(super) fn cnitool(&self, operation: &str, list: &Value, pod: &Pod) -> Result<Value> {
        let name = list["name"].as_str().context("the list has no name")?;
        let lists = self.folder.join("net.d");
        fs::create_dir_all(&lists)?;
        fs::write(lists.join("10-peers.conflist"), list.to_string())?;
        let mut tool = command(self.programs.join("cnitool"));
        tool.args([operation, name, &netns_path(pod.name)]).env_clear().env("PATH", PATH);
        tool.env("NETCONFPATH", lists).env("CNI_PATH", &self.plugins).env("CNI_ARGS", ARGS);
        tool.env("CAP_ARGS", lists::capabilities().to_string());
        let text = on(NODE, || capture(&mut tool))?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("cnitool {operation} printed {text:?}"))
    }

    /// Asks libcni for an operation with a list and our plugins: its answer.
    pub(super) fn libcni(
        &self,
        operation: &str,
        list: &Value,
        attachment: Option<&Attachment>,
        valid: Option<&Value>,
    ) -> Result<Value> {
        self.libcni_with(&self.plugins, operation, list, attachment, valid)
    }

    /// The same with the plugins of a folder.
    pub(super) fn libcni_with(
        &self,
        plugins: &Path,
        operation: &str,
        list: &Value,
        attachment: Option<&Attachment>,
        valid: Option<&Value>,
    ) -> Result<Value> {
        let mut request = json!({
            "Operation": operation, "List": list, "Path": plugins, "Cache": self.folder.join("results"),
            "Capabilities": lists::capabilities(), "Interface": "eth0", "Valid": valid,
            "Args": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "web"]],
        });
        if let Some(Attachment { container, namespace }) = attachment {
            request["Container"] = json!(container);
            request["Namespace"] = json!(namespace);
        }
        let text = on(NODE, || self.ask(&request.to_string()))?;
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("libcni {operation} printed {text:?}"))?;
        match answer["Error"].as_str() {
            Some(error) => bail!("{operation}: {error}"),
            None => Ok(answer),
        }
    }

    fn ask(&self, request: &str) -> Result<String> {
        let mut child = command(self.programs.join("libcni"))
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("libcni could not be started")?;
        child.stdin.take().context("no input")?.write_all(request.as_bytes())?;
        let output = child.wait_with_output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Addresses that are leased in a network.
    pub(super) fn leases(&self, network: &str) -> Vec<String> {
        let is_address = |name: &String| name.parse::<std::net::IpAddr>().is_ok();
        names(&self.folder.join("leases").join(network)).into_iter().filter(is_address).collect()
    }

    /// Settings that tuning keeps.
    pub(super) fn settings(&self) -> Vec<String> {
        names(&self.folder.join("tuning"))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

/// What a program prints that runs on the node.
pub(super) fn output(words: &[&str]) -> Result<String> {
    output_in(NODE, words)
}

fn output_in(namespace: &str, words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().context("no program")?;
    on(namespace, || capture(command(program).args(arguments).env("PATH", PATH)))
}

/// Does something in a thread that is in a name space.
fn on<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_netns(namespace)?;
            work()
        });
        thread.join().map_err(|_| anyhow!("a thread ended badly"))?
    })
}
