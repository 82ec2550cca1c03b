//! Links, addresses, routes, rules and neighbours (`NETLINK_ROUTE`).
//!
//! [`Rtnl`] is a socket in one namespace; what can be done with it is in one file an object. Messages are made and
//! read with `netlink-packet-route`, whose types do not leave this module, as they change about monthly.

mod address;
mod batch;
mod codec;
mod each;
mod forwarding;
mod link;
mod mac;
mod neighbour;
mod route;
mod rule;
mod tunnel;
mod vlan;

pub use address::{Address, NewAddress};
pub use batch::Batch;
pub use each::Change;
pub use link::{
    Among, BridgeOptions, BridgePort, Link, LinkChange, LinkKind, NewLink, NewLinkKind, OperState, VethPeer,
};
pub use mac::{MacAddress, MacAddressError};
pub use neighbour::{Neighbour, NeighbourState};
pub use route::{NextHop, Route, RouteFilter, RouteKind, Way, protocol, table};
pub use rule::{Rule, RuleAction};
pub use tunnel::{Encapsulation, Tunnel, TunnelLink};
pub use vlan::{PortVlans, VlanFlags};

pub(crate) use codec::{decode_event, kinds};

use crate::error::Result;
use crate::netlink::{Message, Protocol, Request, Socket};
use crate::netns::NetNs;

/// How far an address or a route reaches (`enum rt_scope_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// Everywhere.
    #[default]
    Universe,
    /// A number without a name of its own here (200 is `site`).
    Other(u8),
    /// Only the attached link.
    Link,
    /// Only this host.
    Host,
    /// Nowhere.
    Nowhere,
}

impl From<u8> for Scope {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Universe,
            253 => Self::Link,
            254 => Self::Host,
            255 => Self::Nowhere,
            other => Self::Other(other),
        }
    }
}

impl From<Scope> for u8 {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Universe => 0,
            Scope::Link => 253,
            Scope::Host => 254,
            Scope::Nowhere => 255,
            Scope::Other(other) => other,
        }
    }
}

/// A handle on the links, addresses, routes, rules and neighbours of one network namespace.
#[derive(Debug)]
pub struct Rtnl {
    socket: Socket,
}

impl Rtnl {
    /// Opens a handle in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Route)? })
    }

    /// Opens a handle in another namespace; the caller stays where it is.
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        // A netlink socket belongs for ever to the namespace of the thread that opened it.
        namespace.run_in(Self::open)?
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Vec<Message>> {
        self.socket.request(&request.operation, request.kind, request.flags, &request.payload)
    }

    pub(crate) fn dump(&mut self, operation: &str, kind: u16, payload: &[u8]) -> Result<Vec<Message>> {
        self.socket.dump(operation, kind, payload)
    }
}
