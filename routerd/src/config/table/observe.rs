//! Health, metrics, administration.

use super::Effect::{Never, Works};
use super::Kind::{Address, Bool, Number, Text};
use super::{Flag, Group, flag};

pub(super) const GROUP: Group = Group { title: "Health, metrics, administration", flags: FLAGS };

const ADMIN: &str = "administration is the root-only socket admin.sock; see `routerd status`";

const FLAGS: &[Flag] = &[
    flag(
        "enable-pprof",
        Bool,
        "false",
        Never("it is a profiler of Go programs"),
        "Serve profiles on port 6060.",
    ),
    flag("gobgp-admin-address", Text, "127.0.0.1", Never(ADMIN), "Address of GoBGP's administration."),
    flag("gobgp-admin-port", Number(0, 65535), "50051", Never(ADMIN), "Port of GoBGP's administration."),
    flag(
        "health-addr",
        Address,
        "",
        Works,
        "Address that /healthz and /readyz are served at; nothing means all.",
    ),
    flag(
        "health-port",
        Number(0, 65535),
        "20244",
        Works,
        "Port of /healthz and /readyz; 0 switches them off.",
    ),
    flag("metrics-addr", Address, "", Works, "Address that metrics are served at; nothing means all."),
    flag("metrics-path", Text, "/metrics", Works, "Path that metrics are served under."),
    flag("metrics-port", Number(0, 65535), "0", Works, "Port of metrics; 0 switches them off."),
];
