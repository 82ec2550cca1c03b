//! `routerd` for the bench: on this kernel, for policy alone, so that an ADD waits for its commit as it does on a node.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::daemon::reasons;
use crate::process::{attach_log, capture, command, tail, wait_for};
use crate::sandbox::Inside;

/// It runs until this value is dropped.
#[derive(Debug)]
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts it in the calling thread's network, with a cluster of one node and these pods.
    pub(super) fn start(inside: &Inside, binaries: &Path, pods: &[String]) -> Result<Self> {
        let manifests = inside.folder.join("manifests");
        fs::create_dir_all(&manifests)?;
        let pods: Vec<String> = pods.iter().map(|name| pod(name)).collect();
        fs::write(manifests.join("cluster.yaml"), format!("{CLUSTER}---\n{}", pods.join("---\n")))?;
        let program = binaries.join("routerd");
        let mut daemon = command(&program);
        daemon.arg(format!("--manifests={}", manifests.display()));
        daemon.args([
            "--hostname-override=bench",
            "--run-router=false",
            "--run-service-proxy=false",
            "--enable-cni=false",
        ]);
        let log = inside.folder.join("routerd.log");
        let child = attach_log(&mut daemon, &log)?.spawn().context("starting routerd")?;
        let started = Self(child);
        wait_for("routerd to be ready", Duration::from_secs(30), || {
            let status = serde_json::from_str(&capture(command(&program).args(["status", "--json"]))?)?;
            match reasons(&status, &[]) {
                reasons if reasons.is_empty() => Ok(Some(())),
                reasons => bail!("{}", reasons.join("; ")),
            }
        })
        .with_context(|| format!("the end of its log:\n{}", tail(&log, 10)))?;
        Ok(started)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

const CLUSTER: &str = "\
apiVersion: v1
kind: Node
metadata: {name: bench}
spec: {podCIDR: 10.253.0.0/16, podCIDRs: [10.253.0.0/16]}
status:
  addresses: [{type: InternalIP, address: 192.0.2.1}]
---
apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: some, namespace: bench}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {role: client}}}]
    ports: [{protocol: TCP, port: 80}]
";

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: bench, uid: {name}, labels: {{app: bench}}}}\n\
         spec: {{nodeName: bench, containers: [{{name: c, image: i}}]}}\nstatus: {{phase: Pending}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::node::DAEMON;
    use super::*;

    #[test]
    fn the_nodes_range_is_the_plugins() {
        let range = DAEMON.network().subnet;
        assert!(CLUSTER.contains("10.253.0.0/16") && range.starts_with("10.253."), "{range}");
        assert!(pod("pod7").contains("name: pod7"));
    }
}
