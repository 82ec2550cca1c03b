//! What a speaker and its peers are told to be. All of it are values: two that are equal mean the same, and what
//! differs between two is what changes when one takes the other's place.

mod announcement;
mod password;
mod peer;

use std::net::{Ipv4Addr, SocketAddr};

pub use announcement::{Announcement, Audience, Communities};
pub use password::{Password, PasswordError, Signature};
pub use peer::{GracefulRestart, PeerConfig, PeerError, PrefixLimit, Ttl};

/// The TCP port of BGP.
pub const PORT: u16 = 179;
/// The hold time when nothing else is said, in seconds: as `kube-router` and RFC 4271 §10 have it.
pub const HOLD_TIME: u16 = 90;

/// What the whole speaker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our AS.
    pub asn: u32,
    /// Our identifier, unique among all speakers of the AS.
    pub router_id: Ipv4Addr,
    /// Where to accept connections; an address that cannot be bound is tried again until it can. Changed later by
    /// [`SpeakerHandle::listen`](crate::SpeakerHandle::listen).
    pub listen: Vec<SocketAddr>,
    /// Seconds after which a silent peer is given up; 0 for never, else at least 3. A peer may have its own.
    pub hold_time: u16,
    /// This start is a restart whose forwarding state has been kept: peers are told so (the R bit of RFC 4724 §3) for
    /// two minutes from the start, and each of them only until its first session is up.
    pub restarting: bool,
}

impl SpeakerConfig {
    /// A speaker that listens nowhere, with the defaults for all else.
    pub fn new(asn: u32, router_id: Ipv4Addr) -> Self {
        Self { asn, router_id, listen: Vec::new(), hold_time: HOLD_TIME, restarting: false }
    }
}
