//! A small cluster in an index, written shortly.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::cluster::objects::{
    Attachment, ContainerPort, Labels, Namespace, Node, ObjectName, Pod, Protocol,
};
use crate::cluster::wire::{Wire, WirePolicy};
use crate::cluster::{Change, Event, Index, Object, ObjectKey};
use crate::policy::{PolicyKey, PolicyPlane, PolicyValue};
use crate::runner::Plane;

/// The node that the plane runs on, and its pod networks.
pub(super) const NODE: &str = "node1";
pub(super) const NETWORKS: [&str; 2] = ["10.244.1.0/24", "fd00:244:1::/64"];

pub(super) fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName::new(namespace, name)
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Labels from `a=b,c=d`.
pub(super) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(key, value)| (key.into(), value.into())).collect()
}

/// A pod of [`NODE`] with these addresses, separated by blanks.
pub(super) fn pod(text: &str, of: &str, addresses: &str) -> Pod {
    Pod {
        name: name(text),
        uid: String::new(),
        labels: labels(of),
        node: Some(NODE.to_owned()),
        host_network: false,
        finished: false,
        drain_leaves: false,
        addresses: addresses.split_whitespace().map(ip).collect(),
        ports: Vec::new(),
    }
}

/// The same pod with a named TCP port.
pub(super) fn with_port(mut pod: Pod, port: &str, number: u16) -> Pod {
    pod.ports.push(ContainerPort { name: port.to_owned(), protocol: Protocol::Tcp, number });
    pod
}

/// The same pod on another node.
pub(super) fn elsewhere(mut pod: Pod) -> Pod {
    pod.node = Some("node2".to_owned());
    pod
}

pub(super) fn attachment(of: &str, container: &str, addresses: &str) -> Attachment {
    Attachment {
        container: container.to_owned(),
        interface: "eth0".to_owned(),
        pod: name(of),
        uid: None,
        netns: String::new(),
        host_device: String::new(),
        addresses: addresses.split_whitespace().map(ip).collect(),
    }
}

/// A policy from the text of its spec.
pub(super) fn policy(of: &str, spec: &str) -> Object {
    let of = name(of);
    let indented: String = spec.lines().fold(String::new(), |text, line| text + "  " + line + "\n");
    let text = format!("metadata: {{name: {}, namespace: {}}}\nspec:\n{indented}", of.name, of.namespace);
    let wire: WirePolicy = serde_saphyr::from_str(&text).unwrap();
    wire.convert().object.unwrap()
}

/// An index that changes, and what the plane makes of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) index: Index,
}

impl World {
    /// A cluster with this node, and the namespaces `default` and `other` (label `team=other`).
    pub(super) fn new() -> Self {
        Self::of(Index::new(NODE))
    }

    /// The same, in which policies are soon too many to be asked one by one.
    pub(super) fn crowded(above: usize) -> Self {
        Self::of(Index::new(NODE).with_crowds_above(above))
    }

    fn of(index: Index) -> Self {
        let mut world = Self { index };
        let networks = NETWORKS.iter().map(|text| text.parse().unwrap()).collect();
        world.put(Object::Node(Node { name: NODE.into(), pod_cidrs: networks, ..Node::default() }));
        for (name, of) in [("default", ""), ("other", "team=other")] {
            world.put(Object::Namespace(Namespace { name: name.into(), labels: labels(of) }));
        }
        world
    }

    /// Takes in an event; what it touches.
    pub(super) fn event(&mut self, event: Event) -> BTreeSet<PolicyKey> {
        let change = self.index.apply(event);
        change.map_or_else(BTreeSet::new, |change: Change| PolicyPlane.touched(&self.index, &change))
    }

    pub(super) fn put(&mut self, object: Object) -> BTreeSet<PolicyKey> {
        self.event(Event::Upsert(object))
    }

    pub(super) fn pod(&mut self, pod: Pod) -> BTreeSet<PolicyKey> {
        self.put(Object::Pod(pod))
    }

    pub(super) fn policy(&mut self, of: &str, spec: &str) -> BTreeSet<PolicyKey> {
        self.put(policy(of, spec))
    }

    pub(super) fn remove_policy(&mut self, of: &str) -> BTreeSet<PolicyKey> {
        self.event(Event::Delete(ObjectKey::NetworkPolicy(name(of))))
    }

    pub(super) fn remove_pod(&mut self, of: &str) -> BTreeSet<PolicyKey> {
        self.event(Event::Delete(ObjectKey::Pod(name(of))))
    }

    /// Everything that should be.
    pub(super) fn desired(&self) -> BTreeMap<PolicyKey, PolicyValue> {
        let keys = PolicyPlane.keys(&self.index);
        keys.into_iter()
            .filter_map(|key| Some((key.clone(), PolicyPlane.desired(&self.index, &key)?)))
            .collect()
    }

    pub(super) fn value(&self, key: &PolicyKey) -> Option<PolicyValue> {
        PolicyPlane.desired(&self.index, key)
    }
}
