//! The programs under test: ours, and kube-router with either of its backends.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::api;
use super::objects::NODE;
use super::world::World;
use crate::cluster::http;
use crate::process::{attach_log, command, tail};

/// The kernel's unit of time in `/proc/PID/stat` (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// A process that takes less than this in a [`WINDOW`] has nothing to do.
const IDLE: Duration = Duration::from_millis(15);
const WINDOW: Duration = Duration::from_millis(400);

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

/// A program that runs until this value is dropped. What it wrote to the kernel stays.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    pid: Pid,
    log: PathBuf,
    program: Program,
    /// When it was started.
    pub(super) begin: Instant,
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
        let log = folder.join(format!("{}.agent.log", world.node));
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
        attach_log(&mut prepared, &log)?;
        let begin = Instant::now();
        let what = format!("starting {}", self.label());
        let child = world.inside(move || prepared.spawn().context(what))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Agent { child, pid, log, program: self.clone(), begin })
    }
}

impl Agent {
    /// Processor time of the process and of the programs that it ran, so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.pid).context("the clock of the program under test")?;
        let own = Duration::from(clock_gettime(clock)?);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        Ok(own + children(&stat).context("the times of a process's children")?)
    }

    /// Its resident set in MiB: now, and at most.
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let mib = |key: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(f64::from(line.split_whitespace().next()?.parse::<u32>().ok()?) / 1024.0)
        };
        mib("VmRSS:").zip(mib("VmHWM:")).context("the memory of a process")
    }

    /// Has it programmed all there is? By its own words.
    pub(super) fn ready(&self, world: &World) -> bool {
        let patience = Duration::from_secs(2);
        let told = world.inside(|| match self.program {
            Program::Ours(_) => http::get(HEALTH, "/readyz", patience).map(|_| true),
            _ => http::get(METRICS, "/metrics", patience).map(|text| synced(&text)),
        });
        told.unwrap_or(false)
    }

    /// Waits until it has nothing to do; its processor time then.
    pub(super) fn settle(&mut self) -> Result<Duration> {
        let mut before = self.cpu()?;
        let mut idle = 0;
        while idle < self.program.windows() {
            std::thread::sleep(WINDOW);
            self.still_running()?;
            let now = self.cpu()?;
            idle = if now.saturating_sub(before) < IDLE { idle + 1 } else { 0 };
            before = now;
        }
        Ok(before)
    }

    /// An error with the end of its log when it has ended.
    pub(super) fn still_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {} (signal {:?}):\n{}",
                self.program.label(),
                status,
                status.signal(),
                tail(&self.log, 15)
            ),
        }
    }

    /// Ends it without a warning.
    pub(super) fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// The end of its log.
    pub(super) fn log(&self) -> String {
        tail(&self.log, 15)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

/// User and system time of children that have ended: the 16th and 17th field of `/proc/PID/stat` (proc(5)).
fn children(stat: &str) -> Option<Duration> {
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<u32> =
        after.split_whitespace().skip(13).take(2).filter_map(|word| word.parse().ok()).collect();
    let [user, system] = fields.as_slice() else { return None };
    Some(TICK * (user + system))
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
    fn the_time_of_children_is_read_past_a_name_with_blanks() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 100 200 0 0 7 8 30 12 20 0 1 0 100 1 1";
        assert_eq!(children(stat), Some(Duration::from_millis(420)));
        assert_eq!(children("12 (a) S 1"), None);
    }

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
