//! What plugin and daemon say to each other.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of this protocol. It changes when an old peer would misunderstand a new one; a new field that an old
/// one may ignore does not change it.
pub const VERSION: u32 = 1;

/// What the plugin says.
#[expect(clippy::large_enum_variant, reason = "one is made and sent a process, or read a connection")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// A pod is wired. The daemon answers when its policy is in the kernel. Saying it again is harmless.
    Attach(Attach),
    /// A pod's interface goes away.
    Detach(Detach),
    /// Are you there, and would an attach succeed?
    Status,
}

/// A wired pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attach {
    /// The network's name.
    pub network: String,
    /// The pod's namespace; empty outside Kubernetes.
    pub pod_namespace: String,
    /// The pod's name; empty outside Kubernetes.
    pub pod_name: String,
    /// The pod's uid, if the runtime sent it.
    pub pod_uid: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// `CNI_NETNS`.
    pub netns: PathBuf,
    /// The interface's other end on the node.
    pub host_interface: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// The pod end's link address as text.
    pub mac: String,
    /// The folder of the leases of `addresses`; empty if they are not ours to look at (a foreign IPAM plugin).
    pub leases: PathBuf,
    /// When the ADD began, as [`super::moment`] counts; 0 if it is not known.
    pub started: u64,
}

/// An interface that goes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detach {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub interface: String,
    /// When it was said, as [`super::moment`] counts; 0 if it is not known. An ADD that began before is void, one that
    /// began after is none of its business, whichever of the two the daemon hears first.
    #[serde(default)]
    pub at: u64,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// To attach: the pod's policy is in the kernel.
    Committed,
    /// To detach: heard.
    Detached,
    /// To status.
    Status {
        /// An attach would be served.
        ready: bool,
        /// Why not; empty if ready.
        reason: String,
    },
    /// It could not be done.
    Error(DaemonError),
}

/// Why the daemon could not do what was asked, as a CNI error has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonError {
    /// The CNI error's code; 11 for what may pass.
    pub code: u32,
    /// One line for the reader.
    pub msg: String,
}
