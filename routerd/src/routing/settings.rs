//! Kernel settings without which a node does not route.

use kernel::sysctl;
use prefix::Family;

use crate::runner::{Problem, Report};

const FORWARD4: &str = "net.ipv4.ip_forward";
const FORWARD6: &str = "net.ipv6.conf.all.forwarding";
const BRIDGE4: &str = "net.bridge.bridge-nf-call-iptables";
const BRIDGE6: &str = "net.bridge.bridge-nf-call-ip6tables";

fn ensure(report: &mut Report, key: &'static str, advice: &str) {
    match sysctl::set(key, "1") {
        Ok(written) => report.writes += u64::from(written),
        Err(error) => report.problems.push(Problem {
            item: format!("sysctl {key}"),
            message: format!("{error}; {advice}"),
            retry: true,
        }),
    }
}

/// Turns forwarding on, and lets the firewall see packets between pods of one bridge.
pub(super) fn apply(report: &mut Report, families: &[Family]) {
    for family in families {
        let (forward, bridge) = match family {
            Family::V4 => (FORWARD4, BRIDGE4),
            Family::V6 => (FORWARD6, BRIDGE6),
        };
        ensure(report, forward, "packets of pods are not forwarded until it is 1; set it on the node");
        ensure(
            report,
            bridge,
            "policy and Services between pods of this node need it; load the module br_netfilter",
        );
    }
}
