//! The router between the segments: FRR in the run's own network namespace, which also counts what crosses it and blocks ICMP.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::net::{GATEWAY, Segment, ip};
use crate::process::{attach_log, capture, command, wait_for};

/// Its AS.
pub(super) const ASN: u32 = 65001;
/// That of the nodes, kube-router's default.
const NODES_ASN: u32 = 64512;

/// Packets between the two segments of nodes by what they are, and errors of ICMP thrown away wherever they come from.
const WATCH: &str = "
table inet watch {
  set between { type ifname . ifname; elements = { \"br0\" . \"br1\", \"br1\" . \"br0\" } }
  counter ipip {}
  counter gue {}
  counter bare {}
  counter muted {}
  chain mute {
    icmp type { destination-unreachable, time-exceeded } counter name muted drop
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } counter name muted drop
  }
  chain crossing {
    type filter hook forward priority 0;
    jump mute
    iifname . oifname != @between accept
    meta l4proto { 4, 41 } counter name ipip
    udp dport 5555 counter name gue
    ip saddr 10.244.0.0/16 counter name bare
    ip6 saddr fd00:244::/32 counter name bare
  }
  chain own { type filter hook output priority 0; jump mute; }
}
";

/// FRR's daemons; they end with this value.
#[derive(Debug)]
pub(super) struct Router {
    folder: PathBuf,
    daemons: Vec<Child>,
}

/// What crossed the router between the nodes' segments, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Crossed {
    /// IP in IP, of either family.
    pub(super) ipip: u64,
    /// Generic UDP Encapsulation.
    pub(super) gue: u64,
    /// With a pod's address as source.
    pub(super) bare: u64,
    /// Errors of ICMP, all thrown away.
    pub(super) muted: u64,
}

impl Drop for Router {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // It may have ended by itself.
            let _ended = daemon.kill();
            let _reaped = daemon.wait();
        }
    }
}

/// A session with each of these nodes; none of them needs to be there.
fn config(nodes: &[String]) -> String {
    // It connects as often as it can, so its attempts cross those of nodes that have just started.
    let session = |node: &String| {
        format!(
            " neighbor {node} remote-as {NODES_ASN}\n neighbor {node} timers 1 3\n neighbor {node} timers connect 1\n"
        )
    };
    let sessions: String = nodes.iter().map(session).collect();
    let activate = |node: &String| format!("  neighbor {node} activate\n");
    let family: String = nodes.iter().map(activate).collect();
    format!(
        "hostname router
log timestamp precision 3
debug bgp neighbor-events
router bgp {ASN}
 bgp router-id {GATEWAY}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
{sessions} address-family ipv4 unicast
  network {outside}/24
  maximum-paths 8
{family} exit-address-family
 address-family ipv6 unicast
  maximum-paths 8
{family} exit-address-family
exit
",
        outside = outside_network(),
    )
}

/// What the router tells the nodes by BGP: the network of the machine outside.
pub(super) fn outside_network() -> String {
    let [a, b, c, _] = Segment::Outside.gateway().octets();
    format!("{a}.{b}.{c}.0")
}

/// A router forwards, spreads flows by their ports, and does not mind what comes back by another way.
fn settings() -> Result<()> {
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/fib_multipath_hash_policy", "1"),
        ("ipv6/fib_multipath_hash_policy", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/br0/rp_filter", "0"),
        ("ipv4/conf/br1/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/br0/send_redirects", "0"),
    ] {
        fs::write(format!("/proc/sys/net/{key}"), value).with_context(|| format!("setting {key}"))?;
    }
    Ok(())
}

impl Router {
    /// Starts FRR between the segments, which must have been made, with a session to each of `nodes`.
    pub(super) fn start(run: &Path, nodes: &[String]) -> Result<Self> {
        settings()?;
        let folder = run.join("frr");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("watch.nft"), WATCH)?;
        capture(command("nft").arg("-f").arg(folder.join("watch.nft")))?;
        // zebra runs as a user of its own.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        fs::write(folder.join("bgpd.conf"), config(nodes))?;
        fs::write(folder.join("zebra.conf"), "hostname router\n")?;
        let mut router = Self { folder, daemons: Vec::new() };
        router.daemon("zebra", &[])?;
        wait_for("zebra's socket", Duration::from_secs(10), || {
            Ok(router.folder.join("zebra.sock").exists().then_some(()))
        })?;
        router.daemon("bgpd", &["-S"])?;
        wait_for("bgpd's start", Duration::from_secs(10), || router.ask("show bgp summary json").map(Some))?;
        Ok(router)
    }

    fn daemon(&mut self, name: &str, more: &[&str]) -> Result<()> {
        let path = |end: &str| self.folder.join(format!("{name}.{end}"));
        let mut daemon = command(format!("/usr/lib/frr/{name}"));
        daemon.arg("-f").arg(path("conf")).arg("-i").arg(path("pid"));
        daemon.arg("-z").arg(self.folder.join("zebra.sock")).arg("--vty_socket").arg(&self.folder);
        daemon.args(["-A", "127.0.0.1", "-P", "0", "--log", "stdout"]).args(more);
        let child = attach_log(&mut daemon, &path("log"))?.spawn();
        self.daemons.push(child.with_context(|| format!("starting FRR's {name}"))?);
        Ok(())
    }

    /// What FRR says to a command that prints JSON.
    fn ask(&self, words: &str) -> Result<Value> {
        let mut vtysh = command("vtysh");
        let said = capture(vtysh.arg("--vty_socket").arg(&self.folder).args(["-c", words]))?;
        serde_json::from_str(&said).with_context(|| format!("FRR's answer to {words:?}: {said}"))
    }

    /// What crossed it since this was asked last.
    pub(super) fn crossed() -> Result<Crossed> {
        let text = capture(command("nft").args(["reset", "counters", "table", "inet", "watch"]))?;
        let packets = |name: &str| -> Option<u64> {
            let after = text.split(&format!("counter {name} {{")).nth(1)?;
            after.split_whitespace().nth(1)?.parse().ok()
        };
        let of = |name: &str| packets(name).with_context(|| format!("no counter {name} in {text}"));
        Ok(Crossed { ipip: of("ipip")?, gue: of("gue")?, bare: of("bare")?, muted: of("muted")? })
    }

    /// How large packets on a segment may be.
    pub(super) fn narrow(segment: Segment, mtu: u32) -> Result<()> {
        ip(&["link", "set", segment.bridge(), "mtu", &mtu.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_a_session_in_both_families() {
        let text = config(&["192.0.2.11".into(), "198.51.100.13".into()]);
        assert_eq!(text.matches("remote-as 64512").count(), 2);
        assert_eq!(text.matches("neighbor 198.51.100.13 activate").count(), 2);
        assert!(text.contains("network 203.0.113.0/24"));
    }
}
