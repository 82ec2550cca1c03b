//! The programs under test: ours, and kube-router with either of its backends.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::objects::NODE;
use crate::bench::agent::Agent;
use crate::bench::api;
use crate::bench::world::World;
use crate::cluster::http;
use crate::process::command;

/// Where readiness and metrics are asked for.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 20_244);
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 20_241);

/// Which program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// `routerd`.
    Ours(PathBuf),
    /// kube-router with iptables and ipset.
    Iptables(PathBuf),
    /// kube-router with nftables.
    Nftables(PathBuf),
}

impl Program {
    /// What tables call it.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Ours(_) => "routerd",
            Self::Iptables(_) => "kube-router, iptables",
            Self::Nftables(_) => "kube-router, nftables",
        }
    }

    /// After so many windows without work it has nothing to do. The peer waits for programs that it runs, whose time counts at their end.
    const fn windows(&self) -> u32 {
        match self {
            Self::Ours(_) => 1,
            Self::Iptables(_) | Self::Nftables(_) => 5,
        }
    }

    /// Starts it on a node.
    pub(super) fn start(&self, world: &World, folder: &Path) -> Result<Agent> {
        let run_dir = format!("/run/{}", world.node);
        let mut prepared = match self {
            Self::Ours(path) => {
                let mut ours = command(path);
                ours.arg(format!("--run-dir={run_dir}"));
                ours
            }
            Self::Iptables(path) | Self::Nftables(path) => {
                let mut peer = command(path);
                peer.env("NODE_NAME", NODE).env("POD_NAME", "peer").env("POD_NAMESPACE", "kube-system");
                peer.arg("--service-cluster-ip-range=10.96.0.0/12");
                if matches!(self, Self::Nftables(_)) {
                    peer.arg("--use-nftables-for-netpol");
                }
                peer
            }
        };
        prepared.args([
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-firewall=true",
            "--enable-cni=false",
        ]);
        prepared.arg(format!("--hostname-override={NODE}"));
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, api::kubeconfig())?;
        prepared.arg(format!("--kubeconfig={}", kubeconfig.display()));
        prepared.arg(format!("--health-port={}", HEALTH.port()));
        prepared.arg(format!("--metrics-port={}", METRICS.port()));
        Agent::start(prepared, self.label(), self.windows(), &world.node, folder)
    }

    /// Has it, once started, programmed all there is? By its own words.
    pub(super) fn ready(&self, world: &World) -> bool {
        let patience = Duration::from_secs(2);
        let told = world.inside(|| match self {
            Self::Ours(_) => http::get(HEALTH, "/readyz", patience).map(|_| true),
            _ => http::get(METRICS, "/metrics", patience).map(|text| synced(&text)),
        });
        told.unwrap_or(false)
    }
}

/// Has kube-router ended its first whole sync?
fn synced(metrics: &str) -> bool {
    let counts = metrics.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let name = name.split('{').next().unwrap_or(name);
        name.ends_with("controller_iptables_sync_time_count").then(|| value.trim().parse::<f64>().ok())?
    });
    counts.sum::<f64>() >= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_has_happened_when_it_was_counted() {
        let text = |count: u32| {
            format!(
                "# HELP x\nkube_router_controller_iptables_sync_time_sum 3.5\nkube_router_controller_iptables_sync_time_count {count}\n"
            )
        };
        assert!(!synced(&text(0)) && synced(&text(1)) && !synced(""));
    }
}
