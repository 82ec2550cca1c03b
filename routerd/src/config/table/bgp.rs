//! BGP: this speaker, its peers, what it advertises.

use super::Effect::{Never, Works};
use super::Kind::{Addresses, Bool, Duration, Number, Numbers, PrivateAsn, RouterId, Text, Texts};
use super::{Flag, Group, flag, own};

pub(super) const GROUP: Group = Group { title: "BGP", flags: FLAGS };

const U32: u64 = 0xffff_ffff;

const FLAGS: &[Flag] = &[
    flag("advertise-cluster-ip", Bool, "false", Works, "Advertise ClusterIPs to external peers."),
    flag(
        "advertise-external-ip",
        Bool,
        "false",
        Works,
        "Advertise external IPs of Services to external peers.",
    ),
    flag(
        "advertise-loadbalancer-ip",
        Bool,
        "false",
        Works,
        "Advertise load balancer addresses of Services to external peers.",
    ),
    own(
        "advertise-service-cidr",
        Bool,
        "false",
        "Advertise the whole prefixes of --service-cluster-ip-range to external peers, in place of thousands of addresses.",
    ),
    flag("advertise-pod-cidr", Bool, "true", Works, "Advertise this node's pod ranges to external peers."),
    flag(
        "bfd-desired-min-tx-interval",
        Number(1, 4_294_967),
        "1000",
        Works,
        "Milliseconds between the BFD packets this node wants to send.",
    ),
    flag(
        "bfd-detection-multiplier",
        Number(1, 255),
        "3",
        Works,
        "Lost BFD packets after which a peer is down.",
    ),
    flag("bfd-port", Number(1, 65535), "3784", Works, "UDP port of BFD."),
    flag(
        "bfd-required-min-rx-interval",
        Number(1, 4_294_967),
        "1000",
        Works,
        "Milliseconds between the BFD packets this node can take.",
    ),
    own(
        "bgp-drain-time",
        Duration(0, 3_600_000),
        "5s",
        "How long external peers have to look for another way, told by the community GRACEFUL_SHUTDOWN, before a node that is drained or shut down withdraws the addresses of Services, and its daemon ends.",
    ),
    flag(
        "bgp-graceful-restart",
        Bool,
        "true",
        Works,
        "Let external peers keep this node's routes while it restarts (RFC 4724) and for an hour more as a last resort (RFC 9494) if they can; other nodes always keep them. kube-router's default is false.",
    ),
    flag(
        "bgp-graceful-restart-deferral-time",
        Duration(1, 64_800_000),
        "6m0s",
        Never(
            "End-of-RIB is sent at once when this node's own view is complete, and routes are chosen as they come",
        ),
        "Longest wait for peers' End-of-RIB before routes are chosen after a restart.",
    ),
    flag(
        "bgp-graceful-restart-time",
        Duration(1, 4_095_000),
        "1m30s",
        Works,
        "How long peers keep this node's routes while it restarts.",
    ),
    flag(
        "bgp-holdtime",
        Duration(3000, 65_535_000),
        "1m30s",
        Works,
        "How long a silent peer is taken to be alive.",
    ),
    own(
        "bgp-password-dir",
        Text,
        "/etc/routerd/bgp-passwords",
        "Folder of a mounted Secret: an external peer of the annotation kube-router.io/peers with `passwordkey: NAME` has the content of the file NAME in it as its password. A change takes effect on the running daemon.",
    ),
    flag(
        "bgp-port",
        Number(1, 65535),
        "179",
        Works,
        "TCP port to listen on, and to reach the other nodes at.",
    ),
    flag("cluster-asn", PrivateAsn, "0", Works, "Autonomous system number of the nodes; 0 means 64512."),
    flag("enable-bfd", Bool, "false", Works, "Watch external peers by BFD."),
    flag("enable-ibgp", Bool, "true", Works, "Peer with the other nodes."),
    flag(
        "nodes-full-mesh",
        Bool,
        "true",
        Works,
        "All nodes are of one autonomous system and peer with each other; else each node's annotation says its number.",
    ),
    flag(
        "override-nexthop",
        Bool,
        "false",
        Works,
        "Make this node the next hop of what it advertises to external peers.",
    ),
    flag("peer-router-asns", Numbers(1, U32), "", Works, "Autonomous system numbers of the external peers."),
    flag("peer-router-ips", Addresses, "", Works, "Addresses of the external peers of every node."),
    flag(
        "peer-router-multihop-ttl",
        Number(0, 255),
        "0",
        Works,
        "TTL towards external peers that are further than one hop; from 2 on.",
    ),
    flag(
        "peer-router-passwords",
        Texts,
        "",
        Works,
        "Base64 passwords (TCP MD5) of the external peers; an empty item is a peer without.",
    ),
    flag(
        "peer-router-passwords-file",
        Text,
        "",
        Works,
        "File with the passwords, in one line with commas. A change takes effect on the running daemon.",
    ),
    flag("peer-router-ports", Numbers(0, 65535), "", Works, "Ports of the external peers; 0 means 179."),
    flag(
        "router-id",
        RouterId,
        "",
        Works,
        "BGP router ID; without it the node's IPv4 address; `generate` makes one from the node's address.",
    ),
];
