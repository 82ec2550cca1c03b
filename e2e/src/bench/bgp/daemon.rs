//! The daemon as one node of a cluster, with routers outside.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::message::ASN;
use super::wire::{ROUTER, Wire};
use crate::bench::api::{self, Api, Kind};
use crate::bench::world::on;
use crate::process::command;

/// The node.
pub(super) const NODE: &str = "node1";
/// The addresses of its pods.
const PODS: &str = "10.244.0.0/24";

/// The daemon's command line, and the API server with its node and these objects, which runs in its namespace.
pub(super) fn prepare(
    program: &Path,
    peers: &[Ipv4Addr],
    objects: Vec<(Kind, Value)>,
    wire: &Wire,
    folder: &Path,
) -> Result<(Command, Api)> {
    let api = on(&wire.router(), || Api::start(objects.into_iter().chain([node()])))?;
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, api::kubeconfig()).context("writing the kubeconfig")?;
    let list = |each: &dyn Fn(&Ipv4Addr) -> String| peers.iter().map(each).collect::<Vec<_>>().join(",");
    let mut daemon = command(program);
    daemon.args(["--run-router=true", "--run-service-proxy=false", "--run-firewall=false"]);
    daemon.args(["--enable-cni=false", "--enable-overlay=false", "--advertise-external-ip=true"]);
    daemon.arg("--service-external-ip-range=192.0.2.0/24");
    daemon.arg(format!("--hostname-override={NODE}"));
    daemon.arg(format!("--kubeconfig={}", kubeconfig.display()));
    daemon.arg(format!("--run-dir=/run/{}", wire.router()));
    daemon.arg(format!("--cluster-asn={ASN}"));
    daemon.arg(format!("--peer-router-ips={}", list(&ToString::to_string)));
    daemon.arg(format!("--peer-router-asns={}", list(&|_| ASN.to_string())));
    Ok((daemon, api))
}

fn node() -> (Kind, Value) {
    let object = json!({
        "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}},
        "spec": {"podCIDR": PODS, "podCIDRs": [PODS]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": ROUTER.to_string()}, {"type": "Hostname", "address": NODE}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    (Kind::Node, object)
}
