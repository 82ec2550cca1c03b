//! Services: IPVS, node ports, load balancer addresses.

use super::Effect::{Never, Works};
use super::Kind::{Bool, Duration, PortRange, Prefixes, Socket, UnixEndpoint};
use super::{DAY, Flag, Group, flag, own};

pub(super) const GROUP: Group = Group { title: "Services", flags: FLAGS };

const FLAGS: &[Flag] = &[
    flag(
        "excluded-cidrs",
        Prefixes,
        "",
        Works,
        "IPVS services with an address in these prefixes belong to somebody else and stay.",
    ),
    flag(
        "hairpin-mode",
        Bool,
        "false",
        Never("always so, with `hairpinMode` of the network configuration"),
        "Let the pods behind a Service reach themselves through it, for every Service.",
    ),
    own(
        "healthz-bind-address",
        Socket,
        "[::]:10256",
        "Address and port of the node's health for load balancers, as kube-proxy has it: /healthz (503 also for a node that is about to go) and /livez; nothing switches it off. Only with --run-service-proxy.",
    ),
    flag(
        "ipvs-graceful-period",
        Duration(0, DAY),
        "30s",
        Works,
        "Longest time an endpoint that goes away keeps its connections, with --ipvs-graceful-termination.",
    ),
    flag(
        "ipvs-graceful-termination",
        Bool,
        "false",
        Works,
        "Let endpoints that go away finish their connections (not UDP, whose clients move at once).",
    ),
    flag(
        "ipvs-permit-all",
        Bool,
        "true",
        Works,
        "Admit to the virtual addresses of Services their ports, echo and ICMP errors, and refuse everything else there.",
    ),
    flag(
        "ipvs-sync-period",
        Duration(1000, DAY),
        "5m0s",
        Works,
        "How often Services are compared with what the kernel holds.",
    ),
    flag(
        "loadbalancer-default-class",
        Bool,
        "true",
        Works,
        "With --run-loadbalancer, also serve Services that name no class, or `default`, beside those of class `kube-router`.",
    ),
    flag(
        "loadbalancer-ip-range",
        Prefixes,
        "",
        Works,
        "Prefixes that load balancer addresses may be of, and that --run-loadbalancer takes them from.",
    ),
    flag(
        "loadbalancer-sync-period",
        Duration(1000, DAY),
        "1m0s",
        Works,
        "With --run-loadbalancer, how often all Services are looked at again, though none changed.",
    ),
    flag("masquerade-all", Bool, "false", Works, "Masquerade all traffic to Services."),
    own(
        "nodeport-addresses",
        Prefixes,
        "",
        "Serve node ports at the node's addresses in these prefixes, in the families that these are of, as kube-proxy does.",
    ),
    flag(
        "nodeport-bindon-all-ip",
        Bool,
        "false",
        Works,
        "Serve node ports at every address of the node, not only its Node address.",
    ),
    flag(
        "runtime-endpoint",
        UnixEndpoint,
        "",
        Never("the container runtime is not asked; the plugin tells where a pod's network is"),
        "Socket of the container runtime, for direct server return.",
    ),
    flag(
        "service-cluster-ip-range",
        Prefixes,
        "10.96.0.0/12",
        Works,
        "Prefixes of ClusterIPs, one for each family in use.",
    ),
    flag(
        "service-external-ip-range",
        Prefixes,
        "",
        Works,
        "Prefixes that external IPs of Services may be of.",
    ),
    flag(
        "service-node-port-range",
        PortRange,
        "30000-32767",
        Works,
        "Ports of node ports, by which `--cleanup-config` knows kube-router's IPVS services at the node's own addresses. Policies need it not: they judge where a packet to a node port really goes.",
    ),
    flag(
        "service-tcp-timeout",
        Duration(0, 31 * DAY),
        "0s",
        Works,
        "IPVS timeout of idle TCP connections; 0 keeps the kernel's.",
    ),
    flag(
        "service-tcpfin-timeout",
        Duration(0, 31 * DAY),
        "0s",
        Works,
        "IPVS timeout of closing TCP connections; 0 keeps the kernel's.",
    ),
    flag(
        "service-udp-timeout",
        Duration(0, 31 * DAY),
        "0s",
        Works,
        "IPVS timeout of idle UDP flows; 0 keeps the kernel's.",
    ),
    flag(
        "strict-external-ip-validation",
        Bool,
        "true",
        Works,
        "Ignore external and load balancer addresses that are not of their ranges.",
    ),
];
