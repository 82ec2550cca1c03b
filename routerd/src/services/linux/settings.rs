//! Kernel settings that balancing needs.

use kernel::ipvs::{Command, Ipvs, Timeouts};
use kernel::{KernelError, sysctl};
use prefix::Family;

use super::Result;
use crate::services::apply::Hindrance;

/// A setting, its value and what to do if the kernel has no such setting.
type Setting = (&'static str, &'static str, &'static str);

const VS: &str = "use a kernel with CONFIG_IP_VS_NFCT";
const BRIDGE: &str = "load it with `modprobe br_netfilter`; without it a pod cannot reach a Service whose backend is on \
                      the same node";

const SETTINGS: [Setting; 7] = [
    // Conntrack sees balanced flows as they are, so that `established` and masquerading work for them.
    ("net.ipv4.vs.conntrack", "1", VS),
    // A client of a backend that is gone gets another at its next packet and not silence. Nothing is gone by a restart
    // of the daemon: it deletes only what the complete view of the cluster does not hold.
    ("net.ipv4.vs.expire_nodest_conn", "1", ""),
    // Affinity does not hold a client to a backend that is about to end (weight 0).
    ("net.ipv4.vs.expire_quiescent_template", "1", ""),
    // Virtual addresses are this node's for its own packets only: no other device answers ARP for them or names them.
    ("net.ipv4.conf.all.arp_ignore", "1", ""),
    ("net.ipv4.conf.all.arp_announce", "2", ""),
    // Replies between pods of one bridge pass FORWARD, where IPVS rewrites them.
    ("net.bridge.bridge-nf-call-iptables", "1", BRIDGE),
    ("net.bridge.bridge-nf-call-ip6tables", "1", BRIDGE),
];

/// Applies them; how many were written, and what could not be.
pub(super) fn apply() -> (u64, Vec<Hindrance>) {
    let (mut writes, mut hindrances) = (0, Vec::new());
    let reuse = ("net.ipv4.vs.conn_reuse_mode", reuse_mode(), "");
    let mut note = |outcome: Result<bool>, remedy| match outcome {
        Ok(written) => writes += u64::from(written),
        Err(error) => hindrances.push(hindrance(error, remedy)),
    };
    for (key, value, remedy) in SETTINGS.into_iter().chain([reuse]) {
        note(sysctl::set(key, value), remedy);
    }
    note(kernel::forward(Family::V4), "");
    (writes, hindrances)
}

/// A setting that is not there stays away until a module is loaded; the slow check finds out.
fn hindrance(error: KernelError, remedy: &str) -> Hindrance {
    let retry = !error.is_not_found();
    let error = if retry || remedy.is_empty() { error } else { error.with_detail(remedy) };
    Hindrance { message: error.to_string(), retry }
}

/// A client that uses a port again is balanced anew (1). Kernels before 5.9 make its first packet wait a second for that
/// when conntrack knows the old connection (kernel commit f0a5e4d7a594), so there it goes to its old backend (0).
fn reuse_mode() -> &'static str {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    if release.is_ok_and(|release| version(&release) < (5, 9)) { "0" } else { "1" }
}

fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Sets the timeouts that differ; `true` if something was written.
pub(super) fn timeouts(ipvs: &mut Ipvs, wanted: &Timeouts) -> Result<bool> {
    if *wanted == Timeouts::default() {
        return Ok(false);
    }
    let found = ipvs.timeouts()?;
    let differs = |wanted: u32, found: u32| wanted != 0 && wanted != found;
    let any = differs(wanted.tcp, found.tcp)
        || differs(wanted.tcp_fin, found.tcp_fin)
        || differs(wanted.udp, found.udp);
    if any {
        ipvs.change(&Command::SetTimeouts(*wanted))?;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version("6.12.117"), (6, 12));
        assert_eq!(version("5.4.0-150-generic"), (5, 4));
        assert!(version("4.19.0") < (5, 9) && version("5.10.0") > (5, 9));
    }
}
