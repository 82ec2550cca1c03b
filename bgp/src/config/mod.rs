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
    /// What this start is to its peers: they are told for two minutes, and each of them only until its first session is up.
    pub start: Start,
}

/// What the start of a speaker says of the machine that it speaks for (RFC 4724 §3, RFC 9494 §3.1). Routes live in the kernel, which
/// does not restart with the speaker, but may have booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Nothing of an earlier run was there: what a peer has kept of one leads nowhere (neither the R nor the F bit).
    Empty,
    /// A restart over which the machine has forwarded all the time (both bits).
    Restart,
    /// No restart, or none that a peer need hear of: the machine forwards (the F bit alone).
    #[default]
    Past,
}

impl SpeakerConfig {
    /// A speaker that listens nowhere, with the defaults for all else.
    pub fn new(asn: u32, router_id: Ipv4Addr) -> Self {
        Self { asn, router_id, listen: Vec::new(), hold_time: HOLD_TIME, start: Start::default() }
    }
}
