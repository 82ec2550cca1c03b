//! What the plane's work is divided by.

use std::net::IpAddr;

use crate::cluster::Side;
use crate::cluster::objects::ObjectName;

pub use crate::cluster::group::PodGroup as PeerGroup;
pub use crate::cluster::named_port::{NamedPort, PortScope};

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
    /// A named port: which pods have it, and where.
    Ports(NamedPort),
    /// Policies that judge the same pods and are too many to be asked one by one: what they admit together.
    Crowd(Side),
    /// Whoever has this address, as a pod that such policies admit by label: to which ports.
    Member(Side, IpAddr),
}
