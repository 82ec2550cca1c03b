//! What the kernels of other nodes hold, as far as this node can tell: the same plane over the same objects, as if all
//! the other nodes were one and it ran there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::judge::Values;
use crate::cluster::objects::{Namespace, NetworkPolicy, Node, Pod};
use crate::cluster::{Event, Index, Object};
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
        }
    }

    /// The index that a node would have which had all pods of the other nodes.
    fn index(&self) -> Index {
        // Here nothing has to be fast, and policies one by one can be named.
        let index = Index::new(OTHERS).with_crowds_above(usize::MAX);
        let mut index = index.with_host_pods_as_peers(self.host_pods_are_peers);
        let mut put = |object| {
            index.apply(Event::Upsert(object));
        };
        self.nodes.iter().for_each(|node| put(Object::Node(Node::clone(node))));
        self.namespaces.iter().for_each(|one| put(Object::Namespace(Namespace::clone(one))));
        for pod in &self.pods {
            let mut pod = Pod::clone(pod);
            if !pod.host_network && pod.node.as_ref().is_some_and(|node| *node != self.own) {
                pod.node = Some(OTHERS.to_owned());
            }
            put(Object::Pod(pod));
        }
        self.policies.iter().for_each(|policy| put(Object::NetworkPolicy(NetworkPolicy::clone(policy))));
        index
    }
}

/// The values of the other nodes, each computed once.
pub(super) struct Others {
    plane: PolicyPlane,
    index: Index,
    known: RefCell<BTreeMap<PolicyKey, Option<PolicyValue>>>,
}

impl Others {
    pub(super) fn new(plane: PolicyPlane, snapshot: &Snapshot) -> Self {
        Self { plane, index: snapshot.index(), known: RefCell::default() }
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
