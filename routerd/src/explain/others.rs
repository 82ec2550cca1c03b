//! The same plane over the same objects in another way than this node's kernel has it:
//!
//! - what the kernels of other nodes hold, as far as this node can tell: as if all of them were one and it ran there;
//! - what this node's would hold if policies that are taken together were asked one by one, so that they can be named.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::judge::Values;
use crate::cluster::objects::{Attachment, Namespace, NetworkPolicy, Node, ObjectName, Pod};
use crate::cluster::{Event, Index, Object, Side};
use crate::policy::{PolicyKey, PolicyPlane, PolicyValue};
use crate::runner::Plane as _;

/// The name of the one node that stands for all others. No node is called so: names of nodes have no spaces.
const OTHERS: &str = "all other nodes";

/// The objects that policies are made of. Taken in the task that owns the index, so nothing is copied but references.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    own: String,
    host_pods_are_peers: bool,
    nodes: Vec<Arc<Node>>,
    namespaces: Vec<Arc<Namespace>>,
    pods: Vec<Arc<Pod>>,
    policies: Vec<Arc<NetworkPolicy>>,
    attachments: Vec<Arc<Attachment>>,
}

impl Snapshot {
    pub(super) fn take(index: &Index) -> Self {
        Self {
            own: index.node_name().to_owned(),
            host_pods_are_peers: index.are_host_pods_peers(),
            nodes: index.nodes().values().cloned().collect(),
            namespaces: index.namespaces().values().cloned().collect(),
            pods: index.pods().values().cloned().collect(),
            policies: index.policies().values().cloned().collect(),
            attachments: index.attachments().values().cloned().collect(),
        }
    }

    /// The index that a node would have which had all pods of the other nodes.
    fn elsewhere(&self) -> Index {
        let mut index = self.index(OTHERS);
        for pod in &self.pods {
            let mut pod = Pod::clone(pod);
            if !pod.host_network && pod.node.as_ref().is_some_and(|node| *node != self.own) {
                pod.node = Some(OTHERS.to_owned());
            }
            index.apply(Event::Upsert(Object::Pod(pod)));
        }
        index
    }

    /// This node's index.
    fn here(&self) -> Index {
        let mut index = self.index(&self.own);
        for pod in &self.pods {
            index.apply(Event::Upsert(Object::Pod(Pod::clone(pod))));
        }
        for attachment in &self.attachments {
            index.apply(Event::Attach(Attachment::clone(attachment)));
        }
        index
    }

    /// An index of the node without pods. Here nothing has to be fast, and policies one by one can be named.
    fn index(&self, node: &str) -> Index {
        let index = Index::new(node).with_crowds_above(usize::MAX);
        let mut index = index.with_host_pods_as_peers(self.host_pods_are_peers);
        let mut put = |object| {
            index.apply(Event::Upsert(object));
        };
        self.nodes.iter().for_each(|node| put(Object::Node(Node::clone(node))));
        self.namespaces.iter().for_each(|one| put(Object::Namespace(Namespace::clone(one))));
        self.policies.iter().for_each(|policy| put(Object::NetworkPolicy(NetworkPolicy::clone(policy))));
        index
    }
}

/// The values of a node, each computed once.
pub(super) struct Others {
    plane: PolicyPlane,
    index: Index,
    known: RefCell<BTreeMap<PolicyKey, Option<PolicyValue>>>,
}

impl Others {
    /// Those of the other nodes.
    pub(super) fn new(plane: PolicyPlane, snapshot: &Snapshot) -> Self {
        Self { plane, index: snapshot.elsewhere(), known: RefCell::default() }
    }

    /// Those of this node with each policy for itself.
    pub(super) fn one_by_one(plane: PolicyPlane, snapshot: &Snapshot) -> Self {
        Self { plane, index: snapshot.here(), known: RefCell::default() }
    }

    /// The policies that speak of the side.
    fn judges(&self, side: &Side) -> Vec<ObjectName> {
        let all = self.index.judges(&side.subject);
        all.filter(|policy| policy.rules(side.direction).is_some())
            .map(|policy| policy.name.clone())
            .collect()
    }
}

impl Values for Others {
    fn value(&self, key: &PolicyKey) -> Option<PolicyValue> {
        let mut known = self.known.borrow_mut();
        known.entry(key.clone()).or_insert_with(|| self.plane.desired(&self.index, key)).clone()
    }

    /// What their kernels refuse is not known here.
    fn refused(&self, _: &PolicyKey) -> Option<String> {
        None
    }
}

/// The values that this node's kernel holds, and the policies of crowds for themselves.
pub(super) struct Here<'a> {
    pub(super) held: &'a dyn Values,
    /// `None` where there are no crowds.
    pub(super) alone: Option<Others>,
}

impl Values for Here<'_> {
    fn value(&self, key: &PolicyKey) -> Option<PolicyValue> {
        self.held.value(key)
    }

    fn refused(&self, key: &PolicyKey) -> Option<String> {
        self.held.refused(key)
    }

    fn each_of(&self, side: &Side) -> Option<(Vec<ObjectName>, &dyn Values)> {
        self.alone.as_ref().map(|alone| (alone.judges(side), alone as &dyn Values))
    }
}
