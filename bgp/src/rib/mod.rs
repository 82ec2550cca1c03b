//! The routing information base: what peers told (Adj-RIB-In), what is chosen of it (Loc-RIB), what is told to peers
//! (Adj-RIB-Out). Pure values, owned by the speaker's task.

mod best;
mod export;
mod import;
mod out;
mod paths;
mod refused;
mod table;
#[cfg(test)]
mod tests;
mod untold;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::config::{Audience, PeerConfig};
use crate::fsm::Agreed;
use crate::packet::Attributes;
use crate::policy::{Prepend, Verdict};

pub use best::select;
pub use export::{Exports, export};
pub use import::{Imported, import};
pub use out::AdjOut;
pub use table::{Change, Count, Rib, Selected};
pub use untold::RibEvent;

/// LOCAL_PREF where nothing else is said.
pub const LOCAL_PREF: u32 = 100;

/// Communities with a meaning of their own.
pub mod community {
    /// RFC 8326: the sender is about to go; use the route only if there is no other.
    pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
    /// RFC 9494: kept for a peer that has been away for long.
    pub const LLGR_STALE: u32 = 0xffff_0006;
    /// RFC 9494: not to be kept that way.
    pub const NO_LLGR: u32 = 0xffff_0007;
    /// RFC 1997: not to other ASes.
    pub const NO_EXPORT: u32 = 0xffff_ff01;
    /// RFC 1997: to nobody.
    pub const NO_ADVERTISE: u32 = 0xffff_ff02;
    /// RFC 1997: not out of a member AS of a confederation, which without one is the same as `NO_EXPORT`.
    pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
}

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

/// What the paths of one message have in common, whatever their prefix: they share it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// Where they came from.
    pub source: Source,
    /// The identifier of that speaker.
    pub router_id: Ipv4Addr,
    /// The next hop.
    pub next_hop: IpAddr,
    /// Their attributes.
    pub attributes: Attributes,
    /// The cluster of the client they came from, if we are its reflector.
    pub client: Option<Ipv4Addr>,
    /// What we do with a route of our own.
    pub local: Local,
}

/// What only a route that we originate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Local {
    /// Who is told of it.
    pub audience: Audience,
    /// ASes in front of its path.
    pub prepend: Option<Prepend>,
}

/// How fresh a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Age {
    /// Its peer is there and means it.
    #[default]
    Fresh,
    /// Its peer is away or back and has not repeated it (RFC 4724).
    Stale,
    /// Its peer has been away for longer than it promised: the last resort (RFC 9494).
    LongLived,
}

/// One way to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// What it shares with others.
    pub common: Arc<Common>,
    /// How fresh it is.
    pub age: Age,
    /// What the import rules say.
    pub verdict: Verdict,
}

impl Path {
    /// A fresh path that is taken.
    pub fn new(common: Arc<Common>) -> Self {
        Self { common, age: Age::Fresh, verdict: Verdict::Taken }
    }

    /// To be used only where there is no other (RFC 9494 §4.3).
    pub fn is_last_resort(&self) -> bool {
        self.age == Age::LongLived || self.common.attributes.communities.contains(&community::LLGR_STALE)
    }
}

/// A route as it is told to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The next hop.
    pub next_hop: IpAddr,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A peer with an established session, as import and export see it.
#[derive(Debug, Clone)]
pub struct PeerView<'a> {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// The clusters that we are a reflector of.
    pub clusters: &'a BTreeSet<Ipv4Addr>,
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
