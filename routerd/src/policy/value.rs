//! What should be, piece by piece: pure values without a word of nf_tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use prefix::Prefix;

use super::blocks::Range;
use super::key::{NamedPorts, PeerClass, PeerGroup};
use crate::cluster::Side;
pub use crate::cluster::direction::Direction;
use crate::cluster::objects::{ObjectName, Protocol};

/// What should be for a [`PolicyKey`](super::PolicyKey).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyValue {
    /// Of [`PolicyKey::Base`](super::PolicyKey::Base): the pod networks of this node, where an address without a
    /// verdict is dropped. `None` while no source has shown the node: then the kernel keeps those it has.
    Base(Option<BTreeSet<Prefix>>),
    /// Of [`PolicyKey::Pod`](super::PolicyKey::Pod).
    Pod(PodVerdict),
    /// Of [`PolicyKey::Policy`](super::PolicyKey::Policy).
    Policy(Rules),
    /// Of [`PolicyKey::Group`](super::PolicyKey::Group): the addresses of its members.
    Group(Arc<BTreeSet<IpAddr>>),
    /// Of [`PolicyKey::Ports`](super::PolicyKey::Ports): where the ports are, by address, IP protocol number and number.
    Ports(Arc<BTreeSet<(IpAddr, u8, u16)>>),
    /// Of [`PolicyKey::Crowd`](super::PolicyKey::Crowd).
    Crowd(Arc<Together>),
    /// Of [`PolicyKey::Member`](super::PolicyKey::Member): more than one if pods share the address.
    Member(BTreeSet<PeerClass>),
    /// Of [`PolicyKey::Class`](super::PolicyKey::Class).
    Class(Ports),
}

/// What judges one direction of a pod's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// No policy: all is admitted.
    Open,
    /// What one of these admits, or a crowd of [`PodVerdict::crowds`], and nothing else. An empty set admits nothing.
    By(BTreeSet<ObjectName>),
}

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodVerdict {
    /// The addresses that are judged.
    pub addresses: BTreeSet<IpAddr>,
    /// Who has each of them: container IDs by what the plugin says, else the UID of the pod. By that a pod is told from
    /// the next one with the same name and address.
    pub holders: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Addresses that the plugin gave to a pod of this name which the cluster does not know yet, or no longer: closed.
    pub closed: BTreeSet<IpAddr>,
    /// What judges packets to it.
    pub ingress: Isolation,
    /// What judges packets from it.
    pub egress: Isolation,
    /// The policies that judge it and are taken together because they are many.
    pub crowds: BTreeSet<Side>,
}

impl PodVerdict {
    /// What judges packets of `direction`.
    pub fn isolation(&self, direction: Direction) -> &Isolation {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// The crowds that judge packets of `direction`.
    pub fn crowds_of(&self, direction: Direction) -> impl Iterator<Item = &Side> {
        self.crowds.iter().filter(move |side| side.direction == direction)
    }

    /// The addresses that whoever had them at the time of `old` has no more, or not alone.
    pub(super) fn handed_on<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = IpAddr> + 'a {
        let kept = |address: &IpAddr| match (old.holders.get(address), self.holders.get(address)) {
            (Some(old), Some(new)) => new.is_subset(old),
            (_, new) => new.is_none() && self.addresses.contains(address),
        };
        old.addresses.iter().filter(move |address| !kept(address)).copied()
    }

    /// The same with nothing admitted.
    pub(super) fn closed(&self) -> Self {
        let none = Isolation::By(BTreeSet::new());
        Self { ingress: none.clone(), egress: none, crowds: BTreeSet::new(), ..self.clone() }
    }
}

/// The rules of a policy. A direction in which it is one of many that are taken together is not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Of ingress; `None` if the policy says nothing of it.
    pub ingress: Option<Vec<Admission>>,
    /// Of egress, likewise.
    pub egress: Option<Vec<Admission>>,
    /// Why the policy as written cannot be had; it then admits nothing.
    pub invalid: Option<String>,
}

impl Rules {
    /// The rules of `direction`.
    pub fn of(&self, direction: Direction) -> Option<&[Admission]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// The same directions with nothing admitted.
    pub(super) fn without_admissions(&self) -> Self {
        let none = |direction: &Option<Vec<Admission>>| direction.as_ref().map(|_| Vec::new());
        Self { ingress: none(&self.ingress), egress: none(&self.egress), invalid: self.invalid.clone() }
    }
}

/// One rule: who is admitted, to which ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Who.
    pub peers: Peers,
    /// To which ports.
    pub ports: Ports,
}

/// Whom a rule admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Everybody.
    Everybody,
    /// Any of these.
    Any {
        /// Pods by label.
        groups: BTreeSet<PeerGroup>,
        /// Addresses; the parts that each block leaves out are left out already.
        ranges: Vec<Range>,
    },
}

impl Peers {
    /// True if `address` is one of these. `is_member` tells of a group whether it has the address.
    pub fn takes(&self, address: IpAddr, is_member: impl Fn(&PeerGroup) -> bool) -> bool {
        match self {
            Peers::Everybody => true,
            Peers::Any { groups, ranges } => takes_any(ranges, address) || groups.iter().any(is_member),
        }
    }
}

fn takes_any(ranges: &[Range], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

/// Which ports a rule admits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ports {
    /// All of all protocols.
    All,
    /// Any of these.
    Any {
        /// First and last number.
        numbers: BTreeSet<(Protocol, u16, u16)>,
        /// Ports by name, as rules list them.
        names: BTreeSet<NamedPorts>,
    },
}

impl Ports {
    /// True if `port` of `protocol` (its IP protocol number) is one of these. `has_name` tells whether the destination
    /// has a port with one of these names there.
    pub fn takes(&self, protocol: u8, port: u16, has_name: impl Fn(&NamedPorts) -> bool) -> bool {
        let Ports::Any { numbers, names } = self else { return true };
        let is_number = |(of, first, last): &(Protocol, u16, u16)| {
            of.number() == protocol && (*first..=*last).contains(&port)
        };
        numbers.iter().any(is_number) || names.iter().any(has_name)
    }

    /// Adds what `other` admits.
    pub(super) fn add(&mut self, other: Ports) {
        match (self, other) {
            (Ports::All, _) => {}
            (Ports::Any { numbers, names }, Ports::Any { numbers: more_numbers, names: more_names }) => {
                numbers.extend(more_numbers);
                names.extend(more_names);
            }
            (all, Ports::All) => *all = Ports::All,
        }
    }
}

/// What many policies admit together in a direction, but for pods by label: those are values of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Together {
    /// To which ports everybody is admitted.
    pub everybody: Option<Ports>,
    /// Whole namespaces; to which ports is the value of the class.
    pub groups: BTreeSet<PeerGroup>,
    /// Addresses; no two ranges overlap.
    pub blocks: Vec<(Range, Ports)>,
    /// Addresses in so many layers that they are better asked one after the other.
    pub layers: Vec<(Vec<Range>, Ports)>,
}

impl Together {
    /// All lists of ports.
    pub fn every_port(&self) -> impl Iterator<Item = &Ports> {
        let blocks =
            self.blocks.iter().map(|(_, ports)| ports).chain(self.layers.iter().map(|(_, ports)| ports));
        self.everybody.iter().chain(blocks)
    }

    /// The classes that an address is admitted with. `member` are those it has as a pod by label, and `is_member` tells of
    /// a group whether it has the address.
    pub fn classes<'a>(
        &'a self,
        member: Option<&'a BTreeSet<PeerClass>>,
        is_member: impl Fn(&PeerGroup) -> bool + 'a,
    ) -> impl Iterator<Item = PeerClass> {
        let groups = self.groups.iter().filter(move |group| is_member(group));
        member.into_iter().flatten().cloned().chain(groups.cloned().map(PeerClass::one))
    }

    /// The lists of ports that `address` is admitted to whoever has it, each for a reason of its own.
    pub fn admitting(&self, address: IpAddr) -> impl Iterator<Item = &Ports> {
        let blocks =
            self.blocks.iter().filter(move |(range, _)| range.contains(address)).map(|(_, ports)| ports);
        let layers =
            self.layers.iter().filter(move |(ranges, _)| takes_any(ranges, address)).map(|(_, ports)| ports);
        self.everybody.iter().chain(blocks).chain(layers)
    }
}
