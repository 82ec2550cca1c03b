//! From the index to routes, pod ranges and node addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prefix::{Family, Prefix};

use crate::cluster::objects::Node;
use crate::cluster::{Change, Index};
use crate::runner::Plane;

/// What the plane's work is divided by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The node's own settings and rules.
    Node,
    /// The route to a prefix.
    Route(Prefix),
    /// A pod range of some node.
    PodRange(Prefix),
    /// An address of some node.
    NodeAddress(IpAddr),
}

/// What should be for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Packets are forwarded in these families; pods reach the outside with the node's address if `egress`.
    Node {
        /// Families in use.
        families: Vec<Family>,
        /// `--enable-pod-egress`.
        egress: bool,
    },
    /// The prefix is reached by these routers, which share the traffic.
    Route(BTreeSet<IpAddr>),
    /// The prefix or address is a member of its set.
    Member,
}

/// The pure half of the plane.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Families in use.
    pub families: Vec<Family>,
    /// `--enable-pod-egress`.
    pub egress: bool,
}

impl Routing {
    fn keys_of(node: &Node) -> impl Iterator<Item = Key> + '_ {
        let ranges = node.pod_cidrs.iter().map(|range| Key::PodRange(*range));
        ranges.chain(node.addresses().map(Key::NodeAddress))
    }

    fn route(&self, index: &Index, prefix: &Prefix) -> Option<Value> {
        let learnt = index.routes().get(prefix)?;
        // A peer that sends back what is ours must not take the bridge's own range away.
        let ours = index.own_node().is_some_and(|node| node.pod_cidrs.iter().any(|own| own.covers(prefix)));
        let hops: BTreeSet<IpAddr> = learnt.next_hops.iter().copied().collect();
        (!ours && !hops.is_empty() && self.families.contains(&prefix.family())).then_some(Value::Route(hops))
    }
}

impl Plane for Routing {
    const NAME: &'static str = "routing";
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        let nodes = index.nodes().values().flat_map(|node| Self::keys_of(node));
        let routes = index.routes().keys().map(|prefix| Key::Route(*prefix));
        nodes.chain(routes).chain([Key::Node]).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        match change {
            Change::Route(delta) => delta.both().map(|route| Key::Route(route.prefix)).collect(),
            Change::Node(delta) => {
                let mut keys: BTreeSet<Key> = delta.both().flat_map(Self::keys_of).collect();
                if delta.any().is_some_and(|node| node.name == index.node_name()) {
                    // Which learnt routes are ours depends on our own ranges.
                    keys.extend(index.routes().keys().map(|prefix| Key::Route(*prefix)));
                }
                keys
            }
            _ => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        let some_node = |test: &dyn Fn(&Node) -> bool| {
            index.nodes().values().any(|node| test(node)).then_some(Value::Member)
        };
        match key {
            Key::Node => Some(Value::Node { families: self.families.clone(), egress: self.egress }),
            Key::Route(prefix) => self.route(index, prefix),
            Key::PodRange(range) => some_node(&|node| node.pod_cidrs.contains(range)),
            Key::NodeAddress(address) => some_node(&|node| node.addresses().any(|one| one == *address)),
        }
    }
}
