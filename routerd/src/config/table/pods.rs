//! The pod network: the plugin's configuration, routes and tunnels between nodes.

use super::Effect::Works;
use super::Kind::{Bool, Choice, Duration, Number};
use super::{DAY, Flag, Group, flag};

pub(super) const GROUP: Group = Group { title: "Pod network", flags: FLAGS };

const FLAGS: &[Flag] = &[
    flag(
        "auto-mtu",
        Bool,
        "true",
        Works,
        "Set the MTU of new pods to what the interface with the node's address carries, and the tunnels that the node needs.",
    ),
    flag(
        "enable-cni",
        Bool,
        "true",
        Works,
        "Write the node's pod ranges into the CNI network configuration.",
    ),
    flag("enable-overlay", Bool, "true", Works, "Use tunnels to other nodes."),
    flag("enable-pod-egress", Bool, "true", Works, "Masquerade what pods send out of the cluster."),
    flag(
        "injected-routes-sync-period",
        Duration(1000, DAY),
        "1m0s",
        Works,
        "How often the learnt routes are compared with the kernel's.",
    ),
    flag(
        "overlay-encap",
        Choice(&["ipip", "fou"]),
        "ipip",
        Works,
        "Encapsulation of tunnels: ipip is IP in IP, fou is that in UDP (Generic UDP Encapsulation).",
    ),
    flag("overlay-encap-port", Number(1024, 65535), "5555", Works, "UDP port of the encapsulation fou."),
    flag(
        "overlay-type",
        Choice(&["subnet", "full"]),
        "subnet",
        Works,
        "Which nodes are reached by tunnel: those outside this node's subnets, or all.",
    ),
    flag(
        "routes-sync-period",
        Duration(1000, DAY),
        "5m0s",
        Works,
        "How often BGP peers and advertisements are compared with what they should be.",
    ),
];
