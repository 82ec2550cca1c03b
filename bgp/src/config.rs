//! What a speaker and its peers are told to be.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use prefix::Family;

use crate::packet::{Capabilities, RestartCapability};
use crate::policy::{LocalRoutes, Policy};

/// The TCP port of BGP.
pub const PORT: u16 = 179;
/// The hold time when nothing else is said, in seconds: as `kube-router` and RFC 4271 §10 have it.
pub const HOLD_TIME: u16 = 90;

/// Graceful restart (RFC 4724).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart {
    /// Seconds for which peers are asked to keep our routes while we are away; at most 4095.
    pub restart_time: u16,
    /// This start is a restart whose forwarding state has been kept.
    pub restarting: bool,
}

/// What the whole speaker is told.
#[derive(Clone)]
pub struct SpeakerConfig {
    /// Our AS.
    pub asn: u32,
    /// Our identifier, unique among all speakers of the AS.
    pub router_id: Ipv4Addr,
    /// Where to accept connections; an address that cannot be bound is tried again until it can.
    pub listen: Vec<SocketAddr>,
    /// Seconds after which a silent peer is given up; 0 for never, else at least 3.
    pub hold_time: u16,
    /// Whether peers keep our routes over a restart, and we theirs.
    pub graceful_restart: Option<GracefulRestart>,
    /// What is taken from peers and sent to them.
    pub policy: Arc<dyn Policy>,
}

impl SpeakerConfig {
    /// A speaker that listens nowhere, with the defaults for all else.
    pub fn new(asn: u32, router_id: Ipv4Addr) -> Self {
        Self {
            asn,
            router_id,
            listen: Vec::new(),
            hold_time: HOLD_TIME,
            graceful_restart: None,
            policy: Arc::new(LocalRoutes),
        }
    }
}

impl fmt::Debug for SpeakerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeakerConfig")
            .field("asn", &self.asn)
            .field("router_id", &self.router_id)
            .field("listen", &self.listen)
            .field("hold_time", &self.hold_time)
            .field("graceful_restart", &self.graceful_restart)
            .finish_non_exhaustive()
    }
}

/// A peer. Its address is its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where it is.
    pub address: IpAddr,
    /// The port it listens on.
    pub port: u16,
    /// Its AS.
    pub asn: u32,
    /// The address we connect from; the kernel's choice if not set.
    pub local_address: Option<IpAddr>,
    /// The families of routes to exchange; at least one.
    pub families: BTreeSet<Family>,
    /// A hold time of its own, in seconds.
    pub hold_time: Option<u16>,
    /// Wait for it to connect.
    pub passive: bool,
    /// Routes sent to it have our address of the session as next hop, where the family allows.
    pub next_hop_self: bool,
}

impl PeerConfig {
    /// A peer for both families, with the defaults for all else.
    pub fn new(address: IpAddr, asn: u32) -> Self {
        Self {
            address,
            port: PORT,
            asn,
            local_address: None,
            families: Family::BOTH.into(),
            hold_time: None,
            passive: false,
            next_hop_self: false,
        }
    }

    /// What we tell this peer we can do.
    pub(crate) fn capabilities(&self, speaker: &SpeakerConfig) -> Capabilities {
        Capabilities {
            families: self.families.clone(),
            four_octet_as: true,
            route_refresh: true,
            graceful_restart: speaker.graceful_restart.map(|restart| RestartCapability {
                restarting: restart.restarting,
                notification: false,
                seconds: restart.restart_time.min(4095),
                // Routes live in the kernel, which does not restart with us.
                families: self.families.iter().map(|family| (*family, true)).collect(),
            }),
            extended_next_hop: self.families.contains(&Family::V4) && self.address.is_ipv6(),
        }
    }
}

/// A prefix that we originate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The next hop that peers are to use.
    pub next_hop: IpAddr,
    /// LOCAL_PREF inside the AS; 100 if not set.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities (RFC 1997).
    pub communities: Vec<u32>,
}

impl Announcement {
    /// A prefix reached by `next_hop`.
    pub fn via(next_hop: IpAddr) -> Self {
        Self { next_hop, local_pref: None, med: None, communities: Vec::new() }
    }
}
