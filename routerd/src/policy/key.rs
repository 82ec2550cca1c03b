//! What the plane's work is divided by.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::cluster::objects::{ObjectName, Pod, PolicyPeer, Protocol};
use crate::cluster::selector::{Requirement, Selector};
use crate::cluster::{Index, objects::Labels};

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
}

/// Which namespaces a group takes pods from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The one of the policy.
    Own(String),
    /// Those whose labels match.
    Matching(Selector),
}

/// Pods chosen by labels. Policies that choose alike share a group.
#[derive(Debug, Clone)]
pub struct PeerGroup {
    /// Text of all the rest, which order and names in the kernel come from.
    id: Arc<str>,
    scope: Scope,
    pods: Selector,
}

impl PeerGroup {
    /// The group that `peer` of a policy in `namespace` means; `None` for addresses.
    pub fn of_peer(namespace: &str, peer: &PolicyPeer) -> Option<Self> {
        let PolicyPeer::Pods { namespaces, pods } = peer else { return None };
        let scope = match namespaces {
            None => Scope::Own(namespace.to_owned()),
            Some(selector) => Scope::Matching(selector.clone()),
        };
        let id = format!("{scope:?} {pods:?}").into();
        Some(Self { id, scope, pods: pods.clone() })
    }

    /// Text that no other group has.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// True if `peer` of a policy in `namespace` means this group; cheaper than making the group of the peer.
    pub fn is_meant_by(&self, namespace: &str, peer: &PolicyPeer) -> bool {
        let PolicyPeer::Pods { namespaces, pods } = peer else { return false };
        *pods == self.pods
            && match (&self.scope, namespaces) {
                (Scope::Own(own), None) => own == namespace,
                (Scope::Matching(selector), Some(other)) => selector == other,
                _ => false,
            }
    }

    /// The one namespace its pods are in, if there is but one.
    pub fn own_namespace(&self) -> Option<&str> {
        match &self.scope {
            Scope::Own(namespace) => Some(namespace),
            Scope::Matching(_) => None,
        }
    }

    /// True if it has the pod for a member, as far as names and labels go.
    pub fn takes(&self, index: &Index, pod: &Pod) -> bool {
        peer_takes(index, &self.scope, &self.pods, pod)
    }
}

/// True if `peer` of a policy in `namespace` means the pod, as far as names and labels go.
pub(super) fn peer_means(index: &Index, namespace: &str, peer: &PolicyPeer, pod: &Pod) -> bool {
    let PolicyPeer::Pods { namespaces, pods } = peer else { return false };
    if !pods.matches(&pod.labels) {
        return false;
    }
    match namespaces {
        None => pod.name.namespace == namespace,
        Some(selector) => namespace_matches(index, selector, &pod.name.namespace),
    }
}

fn peer_takes(index: &Index, scope: &Scope, pods: &Selector, pod: &Pod) -> bool {
    pods.matches(&pod.labels)
        && match scope {
            Scope::Own(namespace) => pod.name.namespace == *namespace,
            Scope::Matching(selector) => namespace_matches(index, selector, &pod.name.namespace),
        }
}

/// A namespace that no source has shown yet has unknown labels, so nothing is admitted because of them.
fn namespace_matches(index: &Index, selector: &Selector, namespace: &str) -> bool {
    let labels: Option<&Labels> = index.namespaces().get(namespace).map(|namespace| &namespace.labels);
    labels.is_some_and(|labels| selector.matches(labels))
}

/// For people to read, without the signs that `nft` writes around a comment.
impl fmt::Display for PeerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.scope {
            Scope::Own(namespace) => format!("pods [{}] of namespace {namespace}", describe(&self.pods)),
            Scope::Matching(selector) => {
                format!("pods [{}] of namespaces [{}]", describe(&self.pods), describe(selector))
            }
        };
        f.write_str(&text.replace('"', "'"))
    }
}

/// The selector as kubectl writes it.
fn describe(selector: &Selector) -> String {
    let texts = selector.requirements.iter().map(|requirement| match requirement {
        Requirement::In(key, values) if values.len() == 1 => format!("{key}={}", values[0]),
        Requirement::In(key, values) => format!("{key} in ({})", values.join(",")),
        Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
        Requirement::Exists(key) => key.clone(),
        Requirement::DoesNotExist(key) => format!("!{key}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

impl PartialEq for PeerGroup {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for PeerGroup {}

impl PartialOrd for PeerGroup {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PeerGroup {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

/// Whose ports of a name count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortScope {
    /// Ports of this node's pods: ingress rules look at where the packet goes, which is such a pod.
    Node,
    /// Ports of all pods: egress rules.
    Cluster,
}

/// A port by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// Whose ports count.
    pub scope: PortScope,
    /// The protocol that goes with it.
    pub protocol: Protocol,
    /// The name.
    pub name: String,
}

impl fmt::Display for NamedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.scope {
            PortScope::Node => "of this node's pods",
            PortScope::Cluster => "of all pods",
        };
        write!(f, "port {} ({}) {whose}", self.name, self.protocol)
    }
}
