//! The state of the kernel that the plane keeps, as it is and as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kernel::ipvs::{Destination, Service, ServiceKey};

use super::Few;
use super::gates::Gates;
use super::program::Program;
use super::scheduling::Scheduling;
use crate::cluster::pack;

/// What a virtual service is reached by. They sort by address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// The virtual address.
    pub address: IpAddr,
    /// The IP protocol number.
    pub protocol: u8,
    /// The virtual port.
    pub port: u16,
}

impl Tuple {
    /// The tuple of an IPVS service; none of one that is found by mark.
    pub fn of(key: &ServiceKey) -> Option<Self> {
        match *key {
            ServiceKey::Address { protocol, address, port } => Some(Self { address, protocol, port }),
            ServiceKey::Mark { .. } => None,
        }
    }

    /// The same as IPVS knows it.
    pub fn key(&self) -> ServiceKey {
        ServiceKey::Address { protocol: self.protocol, address: self.address, port: self.port }
    }

    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// The first and the last tuple that `address` can have.
    pub(super) fn bounds(address: IpAddr) -> (Self, Self) {
        let first = Self { address, protocol: 0, port: 0 };
        (first, Self { address, protocol: u8::MAX, port: u16::MAX })
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key().fmt(f)
    }
}

/// What becomes of a packet to a virtual service without backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It is answered, so that the client need not wait.
    #[default]
    Reject,
    /// It is thrown away.
    Drop,
}

/// The share of a destination; `None` of one that we would not make so, as with another method or with limits.
pub type Weight = Option<u32>;

/// The weight of a destination as the kernel shows it.
pub(super) fn weight_of(found: &Destination) -> Weight {
    let ours = Destination::masquerade(found.address, found.port, found.weight);
    (*found == ours).then_some(found.weight)
}

/// An IPVS service with its destinations. There are many, so what is not ours to set is only known as being other than that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balanced {
    /// How it chooses; `None` if in a way that no Service can ask for.
    pub scheduling: Option<Scheduling>,
    /// By address and port.
    pub destinations: Few<SocketAddr, Weight>,
}

impl Balanced {
    /// As the kernel shows it, without destinations.
    pub(super) fn of(service: &Service) -> Self {
        Self { scheduling: Scheduling::of_kernel(service), destinations: Few::default() }
    }
}

/// A virtual address at the dummy device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vip {
    /// The device has the address.
    pub on_device: bool,
    /// The source in our route of it in the `local` table, if there is one.
    pub source: Option<IpAddr>,
    /// The kernel's own route of it is there. It makes the virtual address itself the source of what this node sends to
    /// it, and replies to that never come back from another node.
    pub kernel_route: bool,
}

impl Vip {
    /// How a virtual address should be, with that source for what this node sends to it.
    ///
    /// An IPv4 address lies on the device, as kube-router has it. An IPv6 address is only routed to it: with the address
    /// the kernel makes a route of its own that wins over ours, and once deleted it comes back when the address has
    /// been checked (`addrconf_dad_completed`), at an unknown time. Delivery needs no more than the route.
    pub(super) fn wanted(address: IpAddr, source: Option<IpAddr>) -> Self {
        let on_device = address.is_ipv4() || source.is_none();
        Self { on_device, source, kernel_route: source.is_none() }
    }
}

/// Our part of the nft table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Packets {
    /// Chains, rules and definitions of sets; `None` if they are not there as a whole.
    pub program: Option<Program>,
    /// The tuples of all our virtual services.
    pub tuples: BTreeSet<Tuple>,
    /// Those without backends.
    pub refused: BTreeMap<Tuple, Refusal>,
    /// Backends of this node: what goes from one of them to itself needs another source.
    pub hairpin: BTreeSet<IpAddr>,
    /// Pods of this node outside of its pod ranges.
    pub pods: BTreeSet<IpAddr>,
    /// Virtual addresses that expose their Services only.
    pub exposed: BTreeSet<IpAddr>,
    /// What stands before virtual services for some clients.
    pub gates: Gates,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// IPVS services that are found by a tuple, as observed also those of others.
    pub services: BTreeMap<Tuple, Arc<Balanced>>,
    /// Addresses of the dummy device.
    pub vips: BTreeMap<IpAddr, Vip>,
    /// The nft part.
    pub packets: Packets,
}

impl State {
    /// Leaves no room for more.
    pub(super) fn pack(&mut self) {
        pack(&mut self.services);
        pack(&mut self.vips);
        self.packets.tuples = std::mem::take(&mut self.packets.tuples).into_iter().collect();
    }
}
