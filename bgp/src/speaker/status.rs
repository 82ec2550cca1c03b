//! What a speaker shows of itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use prefix::{Family, Prefix};

use crate::fsm::State;
use crate::packet::Attributes;
use crate::rib::{Age, Count, Source};

/// A speaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeakerStatus {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// Connections of addresses that are no peers, closed at once.
    pub refused_connections: u64,
    /// The last such address.
    pub last_refused: Option<IpAddr>,
    /// The peers, by address.
    pub peers: Vec<PeerStatus>,
    /// Prefixes we originate.
    pub originated: usize,
    /// Prefixes with at least one path.
    pub prefixes: usize,
}

/// A listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// The address.
    pub address: SocketAddr,
    /// It accepts connections.
    pub listening: bool,
    /// Why it does not; it is tried again every second. Empty for a moment after the start.
    pub error: Option<String>,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// The state of the session.
    pub state: State,
    /// For how long it has been in this state, or rather up or not up.
    pub since: Duration,
    /// Its identifier, while the session is up.
    pub router_id: Option<Ipv4Addr>,
    /// The agreed hold time in seconds, while the session is up.
    pub hold_time: Option<u16>,
    /// The families agreed on, while the session is up.
    pub families: BTreeSet<Family>,
    /// Those of which it has told all that it had (End-of-RIB).
    pub complete: BTreeSet<Family>,
    /// Prefixes it has told us, those that the import rules refuse as well.
    pub received: Count,
    /// Those of them that the import rules take.
    pub accepted: Count,
    /// Prefixes we have told it.
    pub sent: Count,
    /// How often the session came up.
    pub established: u64,
    /// How often an established session was lost or ended by either side (flaps).
    pub lost: u64,
    /// UPDATE messages from it.
    pub updates: u64,
    /// How long ago the last of them came.
    pub last_update: Option<Duration>,
    /// Its routes are kept although the session is gone (graceful restart).
    pub stale: bool,
    /// What failed last.
    pub last_error: Option<String>,
}

/// A prefix and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RibEntry {
    /// The prefix.
    pub prefix: Prefix,
    /// Its paths, the best first.
    pub paths: Vec<RibPath>,
    /// The next hops in use.
    pub next_hops: Vec<IpAddr>,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RibPath {
    /// Where it came from.
    pub source: Source,
    /// Its next hop.
    pub next_hop: IpAddr,
    /// The AS numbers it has passed, sets without order.
    pub as_path: Vec<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// All its attributes.
    pub attributes: Attributes,
    /// Kept for an absent peer, if not fresh.
    pub age: Age,
    /// Why the import rules refuse it, if they do.
    pub refused: Option<&'static str>,
    /// It is in use: the best, or as good as the best.
    pub used: bool,
}

/// A route as a peer has been told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// The prefix.
    pub prefix: Prefix,
    /// Its next hop.
    pub next_hop: IpAddr,
    /// Its attributes.
    pub attributes: Attributes,
}
