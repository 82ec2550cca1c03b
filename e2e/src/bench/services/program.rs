//! The programs under test: ours, kube-router, and kube-proxy's nftables mode.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Task;
use super::objects::{NODE, PODS, SERVICES};
use crate::bench::agent::Agent;
use crate::bench::api;
use crate::bench::world::World;
use crate::process::command;

/// Which program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// `routerd`.
    Ours(PathBuf),
    /// kube-router with IPVS.
    KubeRouter(PathBuf),
    /// kube-proxy with nftables.
    KubeProxy(PathBuf),
}

impl Program {
    /// Ours, and the peers that are there.
    pub(super) fn all(task: &Task) -> Vec<Self> {
        let peers =
            [task.kube_router.clone().map(Self::KubeRouter), task.kube_proxy.clone().map(Self::KubeProxy)];
        std::iter::once(Self::Ours(task.ours.clone())).chain(peers.into_iter().flatten()).collect()
    }

    /// What tables call it.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Ours(_) => "routerd",
            Self::KubeRouter(_) => "kube-router, IPVS",
            Self::KubeProxy(_) => "kube-proxy, nftables",
        }
    }

    /// After so many windows without work it has nothing to do: both peers wait for programs that they run.
    const fn windows(&self) -> u32 {
        match self {
            Self::Ours(_) => 1,
            Self::KubeRouter(_) | Self::KubeProxy(_) => 5,
        }
    }

    /// Starts it on a node.
    pub(super) fn start(&self, world: &World, folder: &Path) -> Result<Agent> {
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, api::kubeconfig()).context("writing the kubeconfig")?;
        let mut prepared = match self {
            Self::Ours(path) => {
                let mut ours = command(path);
                ours.arg(format!("--run-dir=/run/{}", world.node));
                as_service_proxy(&mut ours);
                ours
            }
            Self::KubeRouter(path) => {
                let mut peer = command(path);
                peer.env("NODE_NAME", NODE).env("POD_NAME", "peer").env("POD_NAMESPACE", "kube-system");
                as_service_proxy(&mut peer);
                peer
            }
            Self::KubeProxy(path) => {
                let mut peer = command(path);
                peer.args(["--proxy-mode=nftables", "--kube-api-content-type=application/json"]);
                peer.arg(format!("--cluster-cidr={PODS}"));
                // The limits of connection tracking are the machine's, not of a network namespace.
                peer.args(["--conntrack-max-per-core=0", "--conntrack-min=0"]);
                peer
            }
        };
        prepared.arg(format!("--hostname-override={NODE}"));
        prepared.arg(format!("--kubeconfig={}", kubeconfig.display()));
        Agent::start(prepared, self.label(), self.windows(), &world.node, folder)
    }
}

/// The flags that ours and kube-router have in common.
fn as_service_proxy(prepared: &mut Command) {
    prepared.args(["--run-router=false", "--run-service-proxy=true", "--run-firewall=false"]);
    prepared.args(["--enable-cni=false", &format!("--service-cluster-ip-range={SERVICES}")]);
}
