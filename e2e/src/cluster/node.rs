//! What makes a guest a Kubernetes node: containerd with runc, the images, the kubelet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::control_plane::Ranges;
use super::http::Api;
use crate::guest::client::{Cmd, Node};
use crate::lab::Lab;
use crate::net::node_address6;
use crate::process::{PATH, wait_for};
use crate::setup::go::Programs;

/// The image that holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:dev";

/// Where containerd tells what it measured, on its node.
pub(super) const METRICS: &str = "127.0.0.1:1338";

const CONTAINERD_CONFIG: &str = "/run/containerd/config.toml";
const KUBELET_CONFIG: &str = "/run/kubelet/config.yaml";

/// A guest on its way to be a node.
pub(super) struct Member<'a> {
    /// The guest.
    pub(super) node: &'a Node,
    /// The Go programs, at the same path in every guest.
    pub(super) programs: &'a Programs,
    /// Where logs go; the same folder on the host.
    pub(super) folder: &'a Path,
}

impl Member<'_> {
    /// Starts containerd, imports the images and returns containerd's process number.
    pub(super) fn runtime(&self, images: &[PathBuf]) -> Result<i32> {
        // As systemd does on a real node, so that mounts made in a pod can be seen outside when it asks for that.
        self.node.run(Cmd::new("mount").words("--make-rshared /"))?;
        self.node.write(CONTAINERD_CONFIG, &containerd_config())?;
        let log = self.log("containerd");
        let path = format!("{}:{PATH}", self.programs.path("").display());
        let containerd =
            self.program("containerd").words("--config").arg(CONTAINERD_CONFIG).env("PATH", path);
        let pid = self.node.background(containerd, &log.to_string_lossy())?;
        wait_for(&format!("containerd on {}", self.node.name), Duration::from_mins(1), || {
            self.node.run(self.program("ctr").arg("version")).map(Some)
        })?;
        for image in images {
            let import = self.program("ctr").words("-n k8s.io image import").arg(image.to_string_lossy());
            self.node.run(import).with_context(|| format!("the image {}", image.display()))?;
        }
        Ok(pid)
    }

    /// Starts the kubelet, which makes the Node object with an address of each family of `ranges`. Each node is a zone of
    /// its own.
    pub(super) fn kubelet(&self, kubeconfig: &Path, ranges: Ranges) -> Result<()> {
        let addresses = match node_address6(self.node.index) {
            second if ranges.has_both() => format!("{},{second}", self.node.address),
            _ => self.node.address.to_string(),
        };
        self.node.write(KUBELET_CONFIG, include_str!("kubelet.yaml"))?;
        let (path, first) = self.programs.kubernetes("kubelet");
        let mut kubelet = Cmd::new(path.to_string_lossy());
        if let Some(first) = first {
            kubelet = kubelet.arg(first);
        }
        let kubelet = kubelet
            .words(&format!(
                "--config {KUBELET_CONFIG} --hostname-override {name} --node-ip {addresses} \
                 --node-labels topology.kubernetes.io/zone=zone-of-{name}",
                name = self.node.name
            ))
            .arg("--kubeconfig")
            .arg(kubeconfig.to_string_lossy());
        self.node.background(kubelet, &self.log("kubelet").to_string_lossy())?;
        Ok(())
    }

    /// Where a program of this node logs.
    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{}.{program}.log", self.node.name))
    }

    fn program(&self, name: &str) -> Cmd {
        Cmd::new(self.programs.path(name).to_string_lossy())
    }
}

/// Debian's defaults but for the image of the pods' own process, which no registry here has.
fn containerd_config() -> String {
    format!(
        "version = 3\n\
         [metrics]\n\
         address = \"{METRICS}\"\n\
         [plugins.\"io.containerd.cri.v1.images\".pinned_images]\n\
         sandbox = \"{PAUSE}\"\n\
         [plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n"
    )
}

/// Waits until every node says that it is Ready, which it does when its network is.
pub(super) fn wait_until_ready(api: &Api, lab: &Lab) -> Result<()> {
    for node in &lab.nodes {
        wait_for(&format!("{} to be Ready", node.name), Duration::from_mins(1), || {
            let object = api.get(&format!("/api/v1/nodes/{}", node.name))?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions
                .iter()
                .find(|condition| condition["type"] == "Ready")
                .context("no Ready condition")?;
            ensure!(ready["status"] == "True", "{}", ready["message"]);
            Ok(Some(()))
        })?;
    }
    Ok(())
}
