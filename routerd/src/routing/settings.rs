//! Kernel settings without which a node does not route.

use kernel::{KernelError, sysctl};
use prefix::Family;

use crate::runner::{Problem, Report};

const BRIDGE4: &str = "net.bridge.bridge-nf-call-iptables";
const BRIDGE6: &str = "net.bridge.bridge-nf-call-ip6tables";
const DISABLE_IPV6: &str = "net.ipv6.conf.all.disable_ipv6";

fn note(report: &mut Report, item: String, outcome: Result<bool, KernelError>, advice: &str) {
    match outcome {
        Ok(written) => report.writes += u64::from(written),
        Err(error) => {
            report.problems.push(Problem { item, message: format!("{error}; {advice}"), retry: true });
        }
    }
}

/// Turns forwarding on, IPv6 if it is off, and lets the firewall see packets between pods of one bridge.
pub(super) fn apply(report: &mut Report, families: &[Family]) {
    if families.contains(&Family::V6) {
        note(
            report,
            format!("sysctl {DISABLE_IPV6}"),
            sysctl::set(DISABLE_IPV6, "0"),
            "there is no IPv6 on this node; enable it in the kernel, or use --enable-ipv6=false",
        );
    }
    for family in families {
        let bridge = match family {
            Family::V4 => BRIDGE4,
            Family::V6 => BRIDGE6,
        };
        note(
            report,
            format!("forwarding of {family}"),
            kernel::forward(*family),
            "packets of pods are not forwarded until it is on; set it on the node",
        );
        note(
            report,
            format!("sysctl {bridge}"),
            sysctl::set(bridge, "1"),
            "policy and Services between pods of this node need it; load the module br_netfilter",
        );
    }
}
