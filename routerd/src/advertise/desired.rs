//! From the index to the speaker's identity, its peers and what it announces.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bgp::{GracefulRestart, PeerConfig};
use prefix::{Family, Prefix};

use super::router_id;
use crate::cluster::objects::Node;
use crate::cluster::{Change, Index};
use crate::config::BgpConfig;
use crate::runner::Plane;

/// What the plane's work is divided by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The speaker itself.
    Speaker,
    /// Another node, by name.
    Node(String),
    /// A prefix of this node.
    Prefix(Prefix),
}

/// What the speaker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its identifier.
    pub router_id: Ipv4Addr,
    /// Where it listens: the node's own addresses, so that it is not reachable by others the machine may have.
    pub listen: Vec<SocketAddr>,
}

/// What should be for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The speaker.
    Speaker(Identity),
    /// A peer.
    Peer(PeerConfig),
    /// A prefix is announced with this next hop.
    Announce(IpAddr),
    /// It cannot be; why and what to do.
    Wrong(String),
}

/// The pure half of the plane.
#[derive(Debug, Clone)]
pub struct Advertise {
    /// Families in use.
    pub families: Vec<Family>,
    /// Settings of BGP.
    pub bgp: BgpConfig,
}

impl Advertise {
    fn speaker(&self, own: &Node) -> Value {
        match router_id::choose(self.bgp.router_id, own) {
            Ok(router_id) => {
                let addresses = self.families.iter().filter_map(|family| own.address(*family));
                let listen = addresses.map(|address| SocketAddr::new(address, self.bgp.port)).collect();
                Value::Speaker(Identity { router_id, listen })
            }
            Err(reason) => Value::Wrong(reason),
        }
    }

    /// The session with another node. One session carries both families; its own family is the first that both nodes
    /// have, which both find alike.
    fn peer(&self, own: &Node, other: &Node) -> Value {
        let both = |family: &Family| Some((own.address(*family)?, other.address(*family)?));
        let Some((local, remote)) = self.families.iter().find_map(both) else {
            return Value::Wrong(format!(
                "it has no address of a family that this node has too (own: {}); its pods cannot be reached. See the addresses in the Node objects' status",
                list(own)
            ));
        };
        if local == remote {
            return Value::Wrong(format!(
                "it has this node's own address {local}; one of the two Node objects is wrong"
            ));
        }
        Value::Peer(PeerConfig {
            port: self.bgp.port,
            local_address: Some(local),
            families: self.families.iter().copied().filter(|family| both(family).is_some()).collect(),
            graceful_restart: Some(self.graceful_restart()),
            ..PeerConfig::new(remote, self.bgp.asn)
        })
    }

    /// Between nodes always: a daemon that is replaced must not cut its pods off. A node whose daemon is away gets the
    /// time that a silent one gets, so a lost node is not mourned for longer.
    fn graceful_restart(&self) -> GracefulRestart {
        let seconds = u16::try_from(self.bgp.hold_time.as_secs()).unwrap_or(u16::MAX);
        GracefulRestart { restart_time: seconds.min(4095), ..GracefulRestart::default() }
    }

    fn announcement(own: &Node, prefix: &Prefix) -> Option<Value> {
        if !own.pod_cidrs.contains(prefix) {
            return None;
        }
        Some(match own.address(prefix.family()) {
            Some(next_hop) => Value::Announce(next_hop),
            None => Value::Wrong(format!(
                "this node has no {} address in its status, so others have no way to these pods",
                prefix.family()
            )),
        })
    }

    fn own_keys(&self, own: &Node) -> impl Iterator<Item = Key> {
        let prefixes = own.pod_cidrs.iter().filter(|prefix| self.families.contains(&prefix.family()));
        let prefixes: Vec<Key> = prefixes.map(|prefix| Key::Prefix(*prefix)).collect();
        prefixes.into_iter().chain([Key::Speaker])
    }
}

fn list(node: &Node) -> String {
    let all: Vec<String> = node.addresses().map(|address| address.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

impl Plane for Advertise {
    const NAME: &'static str = "advertise";
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        let nodes = index.nodes().keys().map(|name| Key::Node(name.clone()));
        let own = index.own_node().into_iter().flat_map(|own| self.own_keys(own));
        nodes.chain(own).chain([Key::Speaker]).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        let Change::Node(delta) = change else { return BTreeSet::new() };
        match delta.any() {
            Some(node) if node.name == index.node_name() => {
                // Every session is made from our own addresses.
                delta.both().flat_map(|node| self.own_keys(node)).chain(self.keys(index)).collect()
            }
            Some(node) => BTreeSet::from([Key::Node(node.name.clone())]),
            None => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        let own = index.own_node();
        match key {
            Key::Speaker => Some(match own {
                Some(own) => self.speaker(own),
                None => Value::Wrong(format!(
                    "there is no Node object named {}; set $NODE_NAME or --hostname-override to its name",
                    index.node_name()
                )),
            }),
            Key::Node(name) if name == index.node_name() || !self.bgp.ibgp => None,
            Key::Node(name) => Some(self.peer(own?, index.nodes().get(name)?)),
            Key::Prefix(prefix) => Self::announcement(own?, prefix),
        }
    }
}
