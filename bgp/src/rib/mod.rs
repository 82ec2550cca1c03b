//! The routing information base: what peers told (Adj-RIB-In), what is chosen of it (Loc-RIB), what is told to peers
//! (Adj-RIB-Out). Pure values, owned by the speaker's task.

mod best;
mod export;
mod import;
mod out;
mod table;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::config::PeerConfig;
use crate::fsm::Agreed;
use crate::packet::Attributes;

pub use best::select;
pub use export::export;
pub use import::{Imported, import};
pub use out::AdjOut;
pub use table::{Rib, Selected};

/// LOCAL_PREF where nothing else is said.
pub const LOCAL_PREF: u32 = 100;

/// Where a path came from. The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// We originate it.
    Local,
    /// A peer of another AS.
    External(IpAddr),
    /// A peer of our AS.
    Internal(IpAddr),
}

impl Source {
    /// The peer, if it is one.
    pub fn peer(self) -> Option<IpAddr> {
        match self {
            Source::Local => None,
            Source::External(peer) | Source::Internal(peer) => Some(peer),
        }
    }
}

/// One way to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Where it came from.
    pub source: Source,
    /// The identifier of that speaker.
    pub router_id: Ipv4Addr,
    /// The next hop.
    pub next_hop: IpAddr,
    /// Its attributes.
    pub attributes: Arc<Attributes>,
    /// Its peer is away and has promised to come back (RFC 4724).
    pub stale: bool,
}

/// A route as it is told to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The next hop.
    pub next_hop: IpAddr,
    /// Its attributes.
    pub attributes: Arc<Attributes>,
}

/// A peer with an established session, as import and export see it.
#[derive(Debug, Clone)]
pub struct PeerView<'a> {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// Its configuration.
    pub config: &'a PeerConfig,
    /// What was agreed.
    pub agreed: &'a Agreed,
    /// Our address of the session.
    pub local_address: Option<IpAddr>,
}

impl PeerView<'_> {
    /// True for a peer of our own AS.
    pub fn internal(&self) -> bool {
        self.asn == self.config.asn
    }

    /// The source of what it tells.
    pub fn source(&self) -> Source {
        if self.internal() {
            Source::Internal(self.config.address)
        } else {
            Source::External(self.config.address)
        }
    }
}
