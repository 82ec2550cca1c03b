//! What the plane's work is divided by.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::Side;
use crate::cluster::objects::ObjectName;

pub use crate::cluster::group::PodGroup as PeerGroup;
pub(super) use crate::cluster::named_port::NamedPort;
pub use crate::cluster::named_port::{NamedPorts, PortScope};

/// One piece of the desired state. A change of the cluster touches few of them: a new label of a pod touches the groups
/// that it enters or leaves, whatever number of policies and pods use these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKey {
    /// What holds for all pods of the node.
    Base,
    /// A pod of this node: which policies judge it.
    Pod(ObjectName),
    /// A policy that judges pods of this node: its rules.
    Policy(ObjectName),
    /// Pods that policies admit: their addresses.
    Group(PeerGroup),
    /// The named ports of a rule: which pods have one of them, and where.
    Ports(NamedPorts),
    /// Policies that judge the same pods and are too many to be asked one by one: what they admit together.
    Crowd(Side),
    /// Whoever has this address, as a pod that such policies admit by label: of which class it is.
    Member(Side, IpAddr),
    /// Pods that such policies admit alike: to which ports.
    Class(Side, PeerClass),
}

/// What tells the peers of a crowd apart: the groups of the crowd that a pod is in. Pods of a class are admitted alike, so
/// what a policy changes is changed for a class and not for each of its pods. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerClass(Arc<BTreeSet<PeerGroup>>);

impl PeerClass {
    /// Those that are in all of these groups; `None` if there is none.
    pub fn of(groups: BTreeSet<PeerGroup>) -> Option<Self> {
        (!groups.is_empty()).then(|| Self(Arc::new(groups)))
    }

    /// Those that are in this group.
    pub fn one(group: PeerGroup) -> Self {
        Self(Arc::new(BTreeSet::from([group])))
    }

    /// The groups.
    pub fn groups(&self) -> &BTreeSet<PeerGroup> {
        &self.0
    }
}

impl fmt::Display for PeerClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&groups.join(" and "))
    }
}
