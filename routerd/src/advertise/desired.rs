//! From the index to the speaker's identity, its peers and what it announces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bgp::bfd::BfdConfig;
use bgp::{Announcement, PeerConfig};
use prefix::{Family, Prefix};

use super::annotations::Annotations;
use super::drain::Leaving;
use super::{announce, peers, router_id};
use crate::cluster::objects::{Node, ObjectName};
use crate::cluster::{Change, Delta, Index};
use crate::config::BgpConfig;
use crate::runner::Plane;
use crate::services::desired::{self as services, Services};
use crate::services::dsr::Dsr;

/// What the plane's work is divided by. Where two keys claim one peer or prefix, the first in this order has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The speaker itself.
    Speaker,
    /// Another node, by name; for this node, what is wrong with its annotations and external peers.
    Node(String),
    /// An external peer.
    Peer(IpAddr),
    /// A prefix of this node's pods.
    Prefix(Prefix),
    /// A prefix of all ClusterIPs.
    Range(Prefix),
    /// The virtual addresses of a Service.
    Service(ObjectName),
}

impl Key {
    /// True for addresses of Services, which a node that goes no longer announces.
    pub(super) fn is_of_services(&self) -> bool {
        matches!(self, Key::Range(_) | Key::Service(_))
    }
}

/// What the speaker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its AS.
    pub asn: u32,
    /// Its identifier.
    pub router_id: Ipv4Addr,
    /// Where it listens: the node's own addresses, so that it is not reachable by others the machine may have.
    pub listen: Vec<SocketAddr>,
    /// All that there is to announce is known: also which addresses of Services are in the kernel.
    pub complete: bool,
    /// Whether the node is on its way out of service.
    pub leaving: Leaving,
}

/// A peer and how its path is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The session.
    pub config: PeerConfig,
    /// BFD, if it is wanted.
    pub bfd: Option<BfdConfig>,
}

/// What should be for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The speaker.
    Speaker(Identity),
    /// A peer.
    Peer(Box<Peer>),
    /// These prefixes are this node's to announce; without an announcement not now. Nobody else's word on them is taken.
    Announce(BTreeMap<Prefix, Option<Announcement>>),
    /// The same, but some of them cannot be announced; why and what to do.
    Partly(BTreeMap<Prefix, Option<Announcement>>, String),
    /// It cannot be; why and what to do, a line for each reason.
    Wrong(String),
    /// The object that says what it is is not there: for a moment, or for good.
    Unknown(String),
}

impl Value {
    /// The prefixes that are this node's to announce, if it is about such.
    pub(super) fn prefixes(&self) -> Option<&BTreeMap<Prefix, Option<Announcement>>> {
        match self {
            Value::Announce(all) | Value::Partly(all, _) => Some(all),
            Value::Speaker(_) | Value::Peer(_) | Value::Wrong(_) | Value::Unknown(_) => None,
        }
    }

    /// What is wrong.
    pub(super) fn problem(&self) -> Option<&str> {
        match self {
            Value::Partly(_, reason) | Value::Wrong(reason) | Value::Unknown(reason) => Some(reason),
            Value::Speaker(_) | Value::Peer(_) | Value::Announce(_) => None,
        }
    }
}

/// The pure half of the plane.
#[derive(Debug, Clone)]
pub struct Advertise {
    /// Families in use.
    pub families: Vec<Family>,
    /// Settings of BGP.
    pub bgp: BgpConfig,
    /// What Services come to on this node: only what it would serve is announced.
    pub services: Services,
    /// The same for those with direct return.
    pub direct: Dsr,
    /// The planes that bring them into force: only what is in the kernel is announced. Without the service proxy nobody
    /// on this node does (`None`), and what it would serve is announced, as kube-router has it.
    pub programmed_by: Option<Vec<&'static str>>,
}

impl Advertise {
    /// The AS of this node, or what to do for one.
    pub(super) fn asn(&self, own: &Annotations) -> Result<u32, String> {
        if self.bgp.full_mesh {
            return Ok(self.bgp.asn);
        }
        own.asn.ok_or_else(|| {
            "with --nodes-full-mesh=false each Node needs the annotation kube-router.io/node.asn; this one has none that can be read"
                .to_owned()
        })
    }

    fn speaker(&self, index: &Index, own: &Node) -> Result<Identity, String> {
        let annotations = Annotations::of(own);
        let asn = self.asn(&annotations)?;
        let router_id = router_id::choose(self.bgp.router_id, own)?;
        let mut addresses = annotations.local_addresses;
        if addresses.is_empty() {
            addresses = self.families.iter().filter_map(|family| own.address(*family)).collect();
        }
        let listen = addresses.into_iter().map(|address| SocketAddr::new(address, self.bgp.port)).collect();
        let mut programmed_by = self.programmed_by.iter().flatten();
        let complete = programmed_by.all(|plane| index.has_told_all(plane));
        Ok(Identity { asn, router_id, listen, complete, leaving: Leaving::of(index, own) })
    }

    /// Everything that is made from this node's own object.
    fn own_keys(&self, own: &Node) -> BTreeSet<Key> {
        let external = peers::external_addresses(&self.bgp, own).into_iter().map(Key::Peer);
        let pods = own.pod_cidrs.iter().filter(|prefix| self.families.contains(&prefix.family()));
        let ranges = self.bgp.advertise.service_ranges.iter().copied().map(Key::Range);
        let prefixes = pods.copied().map(Key::Prefix).chain(ranges);
        external.chain(prefixes).chain([Key::Speaker, Key::Node(own.name.clone())]).collect()
    }

    fn touched_by_node(&self, index: &Index, delta: &Delta<Node>) -> BTreeSet<Key> {
        // Every session and announcement is made from our own object.
        let own = delta.both().filter(|node| node.name == index.node_name());
        let mut keys: BTreeSet<Key> = own.flat_map(|node| self.own_keys(node)).collect();
        // What a node is in reflection decides whom all others peer with.
        if !keys.is_empty() || peers::role_changed(delta) {
            keys.extend(self.keys(index));
        }
        keys.extend(delta.both().map(|node| Key::Node(node.name.clone())));
        keys
    }

    fn node(&self, index: &Index, own: &Node, name: &str) -> Option<Value> {
        if name == own.name {
            let mut problems = peers::problems(self, index, own);
            // Also with the node, so that its Event is one of the Node.
            problems.extend(self.speaker(index, own).err());
            return (!problems.is_empty()).then(|| Value::Wrong(problems.join("\n")));
        }
        let other = index.nodes().get(name).filter(|_| self.bgp.ibgp)?;
        peers::node(self, index, own, other)
            .map_or_else(|reason| Some(Value::Wrong(reason)), |peer| peer.map(of))
    }
}

fn of(config: PeerConfig) -> Value {
    Value::Peer(Box::new(Peer { config, bfd: None }))
}

impl Plane for Advertise {
    const NAME: &'static str = "advertise";
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        let nodes = index.nodes().keys().map(|name| Key::Node(name.clone()));
        let own = index.own_node().into_iter().flat_map(|own| self.own_keys(own));
        let services = index.services().keys().map(|name| Key::Service(name.clone()));
        nodes.chain(own).chain(services).chain([Key::Speaker]).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        match change {
            Change::Node(delta) => self.touched_by_node(index, delta),
            Change::InForce(change) => {
                let mut keys = announce::touched(self, index, &change.addresses);
                keys.extend(change.first.then_some(Key::Speaker));
                keys
            }
            // Of its own object, because wrong ones are told with the node.
            Change::Passwords => index.own_node().map(|own| self.own_keys(own)).unwrap_or_default(),
            // Perhaps the last pod of a node that is drained.
            Change::Pod(_) => {
                let going = index.own_node().is_some_and(|own| Leaving::is_going(own));
                going.then_some(Key::Speaker).into_iter().collect()
            }
            _ => {
                let touched = self.services.touched(index, change).into_iter();
                touched
                    .filter_map(|key| match key {
                        services::Key::Service(name) => Some(Key::Service(name)),
                        services::Key::Node | services::Key::Pods => None,
                    })
                    .collect()
            }
        }
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        let own = index.own_node();
        match key {
            Key::Speaker => Some(match own {
                Some(own) => self.speaker(index, own).map_or_else(Value::Wrong, Value::Speaker),
                None => Value::Unknown(format!(
                    "there is no Node object named {}; set $NODE_NAME or --hostname-override to its name",
                    index.node_name()
                )),
            }),
            Key::Node(name) => self.node(index, own?, name),
            // One that is wrong is told with the node, so that its Event is one of the Node.
            Key::Peer(address) => {
                peers::external(self, index, own?, *address)?.ok().map(|peer| Value::Peer(Box::new(peer)))
            }
            Key::Prefix(prefix) => announce::pods(self, own?, prefix),
            Key::Range(prefix) => announce::range(self, own?, prefix),
            Key::Service(name) => announce::service(self, index, own?, name),
        }
    }
}
