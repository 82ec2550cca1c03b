//! Where the program runs, what it does there and where it learns of the cluster.

use super::Effect::{Never, Works};
use super::Kind::{Bool, Choice, Duration, Number, Text};
use super::{DAY, Flag, Group, flag, own};

pub(super) const GROUP: Group = Group { title: "Node and cluster", flags: FLAGS };

const FLAGS: &[Flag] = &[
    flag(
        "cache-sync-timeout",
        Duration(1, DAY),
        "1m0s",
        Never(
            "the program waits as long as it takes, says so in status, and writes nothing to the kernel before",
        ),
        "Longest wait for the first view of the cluster.",
    ),
    flag(
        "cleanup-config",
        Bool,
        "false",
        Works,
        "Remove from the kernel what this program and kube-router made on the node, say what, and what stays and why, and exit. Of IPVS go the services at addresses of kube-dummy-if, at node ports and by marks for direct server return. Running pods with their devices and leases, the CNI files, kernel settings, ipsets and rules of iptables-legacy stay. It works without the API server; stop the daemon first.",
    ),
    flag(
        "disable-source-dest-check",
        Bool,
        "true",
        Works,
        "On AWS, let EC2 not check the source and destination of what this node's own instance sends (ec2:ModifyInstanceAttribute); what fails is said in the status.",
    ),
    flag("enable-ipv4", Bool, "true", Works, "Use IPv4 for pods and Services."),
    flag("enable-ipv6", Bool, "false", Works, "Use IPv6 for pods and Services."),
    flag("help", Bool, "false", Works, "Show this help."),
    flag(
        "hostname-override",
        Text,
        "",
        Works,
        "Name of this node's Node object; else $NODE_NAME, else the host name.",
    ),
    flag(
        "kubeconfig",
        Text,
        "",
        Works,
        "Path of the kubeconfig that names the API server; without it and --master the pod's service account is used.",
    ),
    own("log-format", Choice(&["text", "json"]), "text", "How log lines are written."),
    own(
        "manifests",
        Text,
        "",
        "Folder of YAML files to take the cluster from, instead of an API server; read again when they change.",
    ),
    flag("master", Text, "", Works, "URL of the API server; overrides that of the kubeconfig."),
    flag("run-firewall", Bool, "true", Works, "Enforce NetworkPolicies."),
    flag(
        "run-loadbalancer",
        Bool,
        "false",
        Works,
        "Give addresses of --loadbalancer-ip-range to Services of type LoadBalancer; one node of all does it. Needs an API server.",
    ),
    flag("run-router", Bool, "true", Works, "Route to the pods of other nodes and speak BGP."),
    flag("run-service-proxy", Bool, "true", Works, "Carry Services by IPVS."),
    own("run-dir", Text, "/run/routerd", "Folder of the sockets cni.sock and admin.sock; mode 0700."),
    flag(
        "v",
        // klog's levels.
        Number(0, 2_147_483_647),
        "0",
        Works,
        "How much is logged: 0 info, 1 and 2 debug, 3 and above trace.",
    ),
    flag("version", Bool, "false", Works, "Show the version."),
];
