//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes in the lab's network namespace, with
//! RBAC on, their own certificate and service account tokens, as a cluster made by a stranger has them.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::http::Api;
use crate::net::GATEWAY;
use crate::process::{attach_log, capture, command, describe, output, tail, wait_for};
use crate::setup::go::Programs;

/// Where nodes reach the API server.
pub(super) const API_PORT: u16 = 6443;

/// The addresses of a cluster: a range a family, joined by a comma, as Kubernetes' flags take them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranges {
    /// Those of pods.
    pub(super) pods: &'static str,
    /// Those of Services.
    pub(super) services: &'static str,
}

impl Ranges {
    /// Are they of both families?
    pub(super) fn has_both(self) -> bool {
        self.pods.contains(':')
    }
}

/// A cluster of IPv4 alone.
pub(crate) const IPV4: Ranges = Ranges { pods: "10.244.0.0/16", services: "10.96.0.0/16" };

/// A cluster of both families, IPv4 first.
pub(crate) const DUAL_STACK: Ranges =
    Ranges { pods: "10.244.0.0/16,fd00:10:244::/48", services: "10.96.0.0/16,fd00:10:96::/112" };

const ETCD: &str = "http://127.0.0.1:2379";
const PROXY_PORT: u16 = 8001;

/// A control plane that runs until this value is dropped.
pub(super) struct ControlPlane {
    /// The Kubernetes API, with all rights.
    pub(super) api: Api,
    /// How the kubelet and kubectl reach it, with all rights.
    pub(super) kubeconfig: PathBuf,
    programs: Programs,
    folder: PathBuf,
    ranges: Ranges,
    processes: Vec<(String, Child)>,
}

impl ControlPlane {
    /// Starts everything and waits until the API server is ready.
    pub(super) fn start(programs: &Programs, folder: &Path, ranges: Ranges) -> Result<Self> {
        fs::create_dir_all(folder.join("pki"))?;
        let mut plane = Self {
            api: Api(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PROXY_PORT)),
            kubeconfig: folder.join("kubeconfig"),
            programs: programs.clone(),
            folder: folder.to_owned(),
            ranges,
            processes: Vec::new(),
        };
        plane.credentials()?;
        plane.etcd()?;
        plane.api_server()?;
        plane.proxy()?;
        plane.wait_until_ready()?;
        plane.controllers()?;
        Ok(plane)
    }

    fn credentials(&self) -> Result<()> {
        let pki = self.folder.join("pki");
        let (private, public) = (pki.join("sa.key"), pki.join("sa.pub"));
        capture(command("openssl").args(["genrsa", "-out"]).arg(&private).arg("2048"))
            .context("a key for service account tokens")?;
        capture(command("openssl").args(["rsa", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))?;
        fs::write(pki.join("tokens.csv"), "lab-admin,admin,admin,\"system:masters\"\n")?;
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
             clusters: [{{name: lab, cluster: {{server: \"https://{GATEWAY}:{API_PORT}\", insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: admin, user: {{token: lab-admin}}}}]\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: admin}}}}]\n"
        );
        fs::write(&self.kubeconfig, config).context("writing the kubeconfig")
    }

    fn etcd(&mut self) -> Result<()> {
        let mut etcd = self.programs.command("etcd");
        etcd.arg("--data-dir").arg(self.folder.join("etcd"));
        etcd.args(["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]);
        // Nothing here has to survive a power cut.
        etcd.args(["--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync"]);
        self.spawn("etcd", etcd)
    }

    fn api_server(&mut self) -> Result<()> {
        let pki = self.folder.join("pki");
        let mut server = self.programs.command("kube-apiserver");
        server.args(["--etcd-servers", ETCD, "--authorization-mode", "RBAC", "--allow-privileged"]);
        server.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        server.arg("--service-account-key-file").arg(pki.join("sa.pub"));
        server.arg("--service-account-signing-key-file").arg(pki.join("sa.key"));
        server.arg("--token-auth-file").arg(pki.join("tokens.csv")).arg("--cert-dir").arg(&pki);
        server.args(["--service-cluster-ip-range", self.ranges.services, "--bind-address", "0.0.0.0"]);
        server.args(["--advertise-address", &GATEWAY.to_string(), "--secure-port", &API_PORT.to_string()]);
        // Up to 1.35 it admits blocks that mean nothing exact, and such policies outlive an upgrade.
        server.args(["--feature-gates", "StrictIPCIDRValidation=false"]);
        // The lab has no name service, so `kubectl exec` must use the nodes' addresses.
        server.args(["--kubelet-preferred-address-types", "InternalIP"]);
        self.spawn("kube-apiserver", server)
    }

    /// The lab polls the API often; through this, a question costs no new kubectl.
    fn proxy(&mut self) -> Result<()> {
        let mut proxy = self.kubectl();
        proxy.args(["proxy", "--port", &PROXY_PORT.to_string()]);
        self.spawn("kubectl-proxy", proxy)
    }

    fn controllers(&mut self) -> Result<()> {
        let pki = self.folder.join("pki");
        let mut controllers = self.programs.command("kube-controller-manager");
        controllers
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--leader-elect=false", "--use-service-account-credentials=false"]);
        controllers.args([
            "--allocate-node-cidrs",
            "--cluster-cidr",
            self.ranges.pods,
            "--service-cluster-ip-range",
            self.ranges.services,
        ]);
        controllers.arg("--service-account-private-key-file").arg(pki.join("sa.key"));
        controllers.arg("--root-ca-file").arg(pki.join("apiserver.crt"));
        self.spawn("kube-controller-manager", controllers)?;
        let mut scheduler = self.programs.command("kube-scheduler");
        scheduler.arg("--kubeconfig").arg(&self.kubeconfig).arg("--leader-elect=false");
        self.spawn("kube-scheduler", scheduler)
    }

    fn spawn(&mut self, name: &str, mut prepared: Command) -> Result<()> {
        let child = attach_log(&mut prepared, &self.log(name))?
            .spawn()
            .with_context(|| format!("{} could not be started", describe(&prepared)))?;
        self.processes.push((name.to_owned(), child));
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let api = self.api;
        let ready = wait_for("the API server to be ready", Duration::from_mins(1), || {
            self.still_running()?;
            api.text("/readyz").map(Some)
        });
        ready.map(|_| ()).with_context(|| self.ends_of_logs())
    }

    /// An error when a process of the control plane has ended.
    pub(super) fn still_running(&mut self) -> Result<()> {
        for (name, child) in &mut self.processes {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended with {status}");
            }
        }
        Ok(())
    }

    /// The last lines of each log.
    pub(super) fn ends_of_logs(&self) -> String {
        let ends =
            self.processes.iter().map(|(name, _)| format!("--- {name}\n{}", tail(&self.log(name), 12)));
        ends.collect::<Vec<_>>().join("\n")
    }

    /// kubectl with all rights.
    pub(super) fn kubectl(&self) -> Command {
        let mut kubectl = self.programs.command("kubectl");
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).env("HOME", &self.folder);
        kubectl
    }

    /// Applies a manifest as a user does.
    pub(super) fn apply(&self, manifest: &str) -> Result<String> {
        self.give(&["apply", "-f", "-"], manifest)
    }

    /// Deletes what a manifest made, without waiting for the end of it.
    pub(super) fn delete(&self, manifest: &str) -> Result<String> {
        self.give(&["delete", "--wait=false", "-f", "-"], manifest)
    }

    fn give(&self, words: &[&str], manifest: &str) -> Result<String> {
        let mut kubectl = self.kubectl();
        kubectl.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = kubectl.spawn().context("kubectl could not be started")?;
        child.stdin.take().context("kubectl has no input")?.write_all(manifest.as_bytes())?;
        answer(words, &child.wait_with_output()?)
    }

    /// Runs kubectl with these words; its output, with what it said on standard error when it failed.
    pub(super) fn ask(&self, words: &[&str]) -> Result<String> {
        answer(words, &output(self.kubectl().args(words))?)
    }

    /// How many bytes of memory its processes hold (resident set, summed).
    pub(super) fn resident_bytes(&self) -> u64 {
        self.processes.iter().filter_map(|(_, child)| resident(child.id())).sum()
    }
}

fn answer(words: &[&str], ended: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if !ended.status.success() {
        bail!("kubectl {}: {}{text}", words.join(" "), String::from_utf8_lossy(&ended.stderr));
    }
    Ok(text)
}

/// The resident set of a process, from its `VmRSS` line.
fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Last started, first ended. Nothing of it is kept, so nothing needs time to say goodbye.
        for (_, child) in self.processes.iter_mut().rev() {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}
