//! NetworkPolicies.

use super::Effect::{Never, Works};
use super::Kind::{Bool, Duration};
use super::{DAY, Flag, Group, flag, own};

pub(super) const GROUP: Group = Group { title: "NetworkPolicies", flags: FLAGS };

const FLAGS: &[Flag] = &[
    flag(
        "iptables-sync-period",
        Duration(1000, DAY),
        "5m0s",
        Works,
        "How often the policy rules are compared with what the kernel holds.",
    ),
    flag(
        "netpol-default-deny",
        Bool,
        "false",
        Never("always so: a pod address of this node without a verdict is dropped"),
        "Refuse a pod's traffic until its policies are in the kernel.",
    ),
    own(
        "netpol-match-host-pods",
        Bool,
        "false",
        "Selectors of a policy's peers also choose pods in the host's network, by the addresses of their node: everything on that node is then admitted.",
    ),
    own(
        "netpol-cut-established",
        Bool,
        "false",
        "A policy change also ends established flows that policies admit no longer. TCP connections that this node has not seen begin are then refused.",
    ),
    flag(
        "use-nftables-for-netpol",
        Bool,
        "false",
        Never("always so: nf_tables is the only backend"),
        "Enforce policies by nf_tables.",
    ),
];
