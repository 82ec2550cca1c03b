//! From the index to routes, other nodes, pod ranges and node addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prefix::{Family, Hops, Prefix};

use crate::cluster::objects::Node;
use crate::cluster::{Change, Delta, Index};
use crate::runner::Plane;

/// What the plane's work is divided by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The node's own settings and rules.
    Node,
    /// Another node, by name.
    Peer(Box<str>),
    /// The route to a prefix.
    Route(Prefix),
    /// A pod range of some node.
    PodRange(Prefix),
    /// An address of some node.
    NodeAddress(IpAddr),
}

/// What of this node's object the plane needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Its first address of each family in use.
    pub addresses: Vec<IpAddr>,
    /// Its pod ranges of these families.
    pub ranges: BTreeSet<Prefix>,
}

impl Own {
    /// The address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }
}

/// A router to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// Its address.
    pub router: IpAddr,
    /// It is the node whose pods the prefix is.
    pub of_node: bool,
}

/// What this node does whatever others are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Families in which packets are forwarded.
    pub families: Vec<Family>,
    /// `--enable-pod-egress`: pods reach the outside with the node's address.
    pub egress: bool,
    /// The node's own object; empty as long as there is none.
    pub own: Own,
}

/// What should be for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// What concerns the node as a whole. There is one, and one place for it in a table of routes would make all of them as large.
    Node(Box<Settings>),
    /// The first address of each family in use, by which the node can be reached.
    Peer(Vec<IpAddr>),
    /// The prefix is reached by these routers, which share the traffic.
    Route(Hops<NextHop>),
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
        let members = ranges.chain(node.addresses().map(Key::NodeAddress));
        members.chain([Key::Peer(node.name.as_str().into())])
    }

    /// The first address of each family.
    fn addresses(&self, node: &Node) -> Vec<IpAddr> {
        self.families.iter().filter_map(|family| node.address(*family)).collect()
    }

    fn own(&self, index: &Index) -> Own {
        let Some(node) = index.own_node() else { return Own::default() };
        let ranges = node.pod_cidrs.iter().filter(|range| self.families.contains(&range.family()));
        Own { addresses: self.addresses(node), ranges: ranges.copied().collect() }
    }

    fn route(&self, index: &Index, prefix: &Prefix) -> Option<Value> {
        let learnt = index.routes().get(prefix)?;
        let has = |node: &Node| node.pod_cidrs.iter().any(|range| range.covers(prefix));
        // A peer that sends back what is ours must not take the bridge's own range away.
        let ours = index.own_node().is_some_and(|node| has(node));
        if ours || learnt.next_hops.is_empty() || !self.families.contains(&prefix.family()) {
            return None;
        }
        let owners: Vec<&Node> = index.nodes().values().map(AsRef::as_ref).filter(|node| has(node)).collect();
        let of_node = |router: IpAddr| owners.iter().any(|node| self.addresses(node).contains(&router));
        let hop = |router: &IpAddr| NextHop { router: *router, of_node: of_node(*router) };
        Some(Value::Route(learnt.next_hops.iter().map(hop).collect()))
    }

    fn touched_by_node(index: &Index, delta: &Delta<Node>) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = delta.both().flat_map(Self::keys_of).collect();
        let own = delta.any().is_some_and(|node| node.name == index.node_name());
        if own {
            keys.insert(Key::Node);
        }
        // Which learnt routes are ours, and which lead to a node's pods, depends on the ranges of the nodes.
        let ranges: Vec<Prefix> = delta.both().flat_map(|node| node.pod_cidrs.iter().copied()).collect();
        let concerned = |prefix: &Prefix| ranges.iter().any(|range| range.covers(prefix));
        keys.extend(
            index.routes().keys().filter(|prefix| concerned(prefix)).map(|prefix| Key::Route(*prefix)),
        );
        keys
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
            Change::Node(delta) => Self::touched_by_node(index, delta),
            _ => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        let some_node = |test: &dyn Fn(&Node) -> bool| {
            index.nodes().values().any(|node| test(node)).then_some(Value::Member)
        };
        match key {
            Key::Node => Some(Value::Node(Box::new(Settings {
                families: self.families.clone(),
                egress: self.egress,
                own: self.own(index),
            }))),
            Key::Peer(name) if **name == *index.node_name() => None,
            Key::Peer(name) => Some(Value::Peer(self.addresses(index.nodes().get(&**name)?))),
            Key::Route(prefix) => self.route(index, prefix),
            Key::PodRange(range) => some_node(&|node| node.pod_cidrs.contains(range)),
            Key::NodeAddress(address) => some_node(&|node| node.addresses().any(|one| one == *address)),
        }
    }
}
