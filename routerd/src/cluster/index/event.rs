//! What is told to the index, and what it says has changed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::super::Kind;
use super::super::group::PodGroup;
use super::super::objects::{
    Attachment, EndpointSlice, LearntRoute, Namespace, NetworkPolicy, Node, ObjectName, Pod, Service,
};
use super::crowds::Side;
use super::in_force::{ForceChange, InForce};
use super::passwords::Passwords;

/// An object as a source delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A node.
    Node(Node),
    /// A namespace.
    Namespace(Namespace),
    /// A pod.
    Pod(Pod),
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
}

/// The identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// A node.
    Node(String),
    /// A namespace.
    Namespace(String),
    /// A pod.
    Pod(ObjectName),
    /// A Service.
    Service(ObjectName),
    /// An EndpointSlice.
    EndpointSlice(ObjectName),
    /// A NetworkPolicy.
    NetworkPolicy(ObjectName),
}

impl ObjectKey {
    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        match self {
            ObjectKey::Node(_) => Kind::Node,
            ObjectKey::Namespace(_) => Kind::Namespace,
            ObjectKey::Pod(_) => Kind::Pod,
            ObjectKey::Service(_) => Kind::Service,
            ObjectKey::EndpointSlice(_) => Kind::EndpointSlice,
            ObjectKey::NetworkPolicy(_) => Kind::NetworkPolicy,
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectKey::Node(name) | ObjectKey::Namespace(name) => write!(f, "{} {name}", self.kind()),
            ObjectKey::Pod(name)
            | ObjectKey::Service(name)
            | ObjectKey::EndpointSlice(name)
            | ObjectKey::NetworkPolicy(name) => write!(f, "{} {name}", self.kind()),
        }
    }
}

impl Object {
    /// Its identity.
    pub fn key(&self) -> ObjectKey {
        match self {
            Object::Node(object) => ObjectKey::Node(object.name.clone()),
            Object::Namespace(object) => ObjectKey::Namespace(object.name.clone()),
            Object::Pod(object) => ObjectKey::Pod(object.name.clone()),
            Object::Service(object) => ObjectKey::Service(object.name.clone()),
            Object::EndpointSlice(object) => ObjectKey::EndpointSlice(object.name.clone()),
            Object::NetworkPolicy(object) => ObjectKey::NetworkPolicy(object.name.clone()),
        }
    }
}

/// What happens in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An object is there, new or changed.
    Upsert(Object),
    /// An object is gone.
    Delete(ObjectKey),
    /// The pod of this UID is gone. Another one of its name may be there already: who follows a watch may be behind
    /// who asked.
    PodGone(ObjectName, String),
    /// The plugin has wired a pod.
    Attach(Attachment),
    /// The plugin has taken a pod's interface away: container ID and interface.
    Detach(String, String),
    /// BGP has chosen a route, or lost it (no next hops).
    Route(LearntRoute),
    /// A plane tells which virtual addresses it serves.
    InForce(InForce),
    /// The files of passwords say this.
    Passwords(Passwords),
}

/// An object before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<T> {
    /// As it was; `None` if it is new.
    pub old: Option<Arc<T>>,
    /// As it is; `None` if it is gone.
    pub new: Option<Arc<T>>,
}

impl<T> Delta<T> {
    /// What there is of it, the new before the old.
    pub fn any(&self) -> Option<&T> {
        self.new.as_deref().or(self.old.as_deref())
    }

    /// Old and new, as far as they are there.
    pub fn both(&self) -> impl Iterator<Item = &T> {
        self.old.as_deref().into_iter().chain(self.new.as_deref())
    }
}

/// A policy before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDelta {
    /// The policy.
    pub delta: Delta<NetworkPolicy>,
    /// Sides whose policies became too many to be asked one by one by this, or are so no more.
    pub crowds: BTreeSet<Side>,
    /// Groups that the policies of a side name since this, or name no more.
    pub named: BTreeSet<(Side, PodGroup)>,
}

/// What an event changed. An event that changes nothing has no `Change`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node.
    Node(Delta<Node>),
    /// A namespace.
    Namespace(Delta<Namespace>),
    /// A pod.
    Pod(Delta<Pod>),
    /// A Service.
    Service(Delta<Service>),
    /// An EndpointSlice.
    EndpointSlice(Delta<EndpointSlice>),
    /// A NetworkPolicy.
    NetworkPolicy(PolicyDelta),
    /// An interface of a local pod.
    Attachment(Delta<Attachment>),
    /// A route learnt by BGP.
    Route(Delta<LearntRoute>),
    /// Which virtual addresses this node serves.
    InForce(ForceChange),
    /// The passwords that are mounted as files.
    Passwords,
}
