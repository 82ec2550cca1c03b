//! A peer.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use prefix::Family;

use super::{PORT, Password, Start};
use crate::packet::{Capabilities, LongLived, RestartCapability};
use crate::policy::{ExportRules, ImportRules};

/// The longest restart time the capability can carry (12 bits, RFC 4724 §3).
pub(crate) const LONGEST_RESTART: u16 = 4095;
/// The longest long-lived stale time the capability can carry (24 bits, RFC 9494 §3.1).
pub(crate) const LONGEST_LIVED: u32 = 0x00ff_ffff;

/// Graceful restart of a session, both roles (RFC 4724).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart {
    /// Seconds for which the peer is asked to keep our routes while we are away; at most 4095.
    pub restart_time: u16,
    /// Seconds a peer that came back may take to send its routes again; what it has not repeated then goes.
    pub stale_time: u16,
    /// Routes are also kept when the session ends by a NOTIFICATION or the hold time (the N bit of RFC 8538), if the
    /// peer wants that too. A lost peer is then noticed a restart time later.
    pub notification: bool,
    /// Seconds for which routes are kept as a last resort after the restart time (RFC 9494), if the peer knows that
    /// too; at most 16777215.
    pub long_lived: Option<u32>,
}

impl Default for GracefulRestart {
    /// 90 s to come back and 120 s to repeat the routes, nothing more.
    fn default() -> Self {
        Self { restart_time: 90, stale_time: 120, notification: false, long_lived: None }
    }
}

/// How far away the peer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// On the same link for a peer of another AS (packets leave with a TTL of 1), anywhere for one of our own.
    #[default]
    Usual,
    /// Behind routers: packets leave with this TTL, at least 1 ("eBGP multihop").
    Multihop(u8),
    /// The kernel drops what comes from more than this many hops away, 1 for the same link (GTSM, RFC 5082). Both
    /// sides must use it: packets leave with a TTL of 255.
    Security(u8),
}

/// How many prefixes of one family a peer may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixLimit {
    /// The most; one more ends the session with Cease (RFC 4486).
    pub most: usize,
    /// How long the session then stays down.
    pub pause: Duration,
}

/// A peer. Its address is its identity.
///
/// What [`SpeakerHandle::set_peer`](crate::SpeakerHandle::set_peer) makes of a change: `import`, `export` and
/// `prefix_limit` take effect on the running session; everything else needs a new one with this peer. Where graceful restart
/// was agreed, the old one ends without a NOTIFICATION, and each end keeps the routes of the other over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Where it is.
    pub address: IpAddr,
    /// The port it listens on.
    pub port: u16,
    /// Its AS; equal to ours for an internal peer (iBGP).
    pub asn: u32,
    /// The address we connect from; the kernel's choice if not set.
    pub local_address: Option<IpAddr>,
    /// The families of routes to exchange; at least one. IPv4 over a session of IPv6 also takes and gives IPv6 next
    /// hops, if the peer does (RFC 8950).
    pub families: BTreeSet<Family>,
    /// A hold time of its own, in seconds; 0 for none, else at least 3.
    pub hold_time: Option<u16>,
    /// Wait for it to connect.
    pub passive: bool,
    /// The key of signatures (RFC 2385 or RFC 5925), without which the kernel then drops what comes.
    pub password: Option<Password>,
    /// How far away it may be.
    pub ttl: Ttl,
    /// It is a client of this reflector, in the cluster of this identifier (RFC 4456). Only for internal peers.
    pub reflector_client: Option<Ipv4Addr>,
    /// The most prefixes of each family it may tell.
    pub prefix_limit: Option<PrefixLimit>,
    /// Graceful restart; `None` for not at all.
    pub graceful_restart: Option<GracefulRestart>,
    /// What is taken from it.
    pub import: ImportRules,
    /// What is sent to it.
    pub export: ExportRules,
}

/// What a peer cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// RFC 7607, RFC 6793 §9.
    #[error("AS number {0} is reserved; give the peer its real one")]
    Asn(u32),
    /// No host.
    #[error("{0} is the address of no host; give the peer a unicast address")]
    Address(IpAddr),
    /// A connection has one family.
    #[error(
        "the local address {local} and the peer's address {peer} are of different families; give both of one"
    )]
    LocalAddress {
        /// Ours.
        local: IpAddr,
        /// The peer's.
        peer: IpAddr,
    },
    /// A session without routes.
    #[error("no family of routes is wanted; name IPv4, IPv6 or both")]
    Families,
    /// RFC 4271 §4.2.
    #[error("hold time {0} s is not allowed; it must be 0 (never) or at least 3 s")]
    HoldTime(u16),
    /// TCP port 0.
    #[error("port 0 does not exist; leave it out for {PORT}")]
    Port,
    /// A TTL of 0 reaches nobody.
    #[error("a TTL of 0 reaches nobody; it must be at least 1")]
    Ttl,
    /// Reflection is inside an AS.
    #[error("a peer of another AS ({0}) cannot be a reflector's client")]
    Client(u32),
    /// The capability has no room for it.
    #[error("a restart time of {0} s is too long; the most is {LONGEST_RESTART} s")]
    RestartTime(u16),
}

impl PeerConfig {
    /// A peer for both families with graceful restart and the default rules.
    pub fn new(address: IpAddr, asn: u32) -> Self {
        Self {
            address,
            port: PORT,
            asn,
            local_address: None,
            families: Family::BOTH.into(),
            hold_time: None,
            passive: false,
            password: None,
            ttl: Ttl::Usual,
            reflector_client: None,
            prefix_limit: None,
            graceful_restart: Some(GracefulRestart::default()),
            import: ImportRules::default(),
            export: ExportRules::default(),
        }
    }

    /// Whether there can be such a peer of a speaker with AS `asn`.
    pub fn check(&self, asn: u32) -> Result<(), PeerError> {
        if matches!(self.asn, 0 | 23456 | u32::MAX) {
            return Err(PeerError::Asn(self.asn));
        }
        if self.address.is_unspecified() || self.address.is_multicast() {
            return Err(PeerError::Address(self.address));
        }
        if let Some(local) = self.local_address
            && Family::of(local) != Family::of(self.address)
        {
            return Err(PeerError::LocalAddress { local, peer: self.address });
        }
        if self.families.is_empty() {
            return Err(PeerError::Families);
        }
        if let Some(seconds @ (1 | 2)) = self.hold_time {
            return Err(PeerError::HoldTime(seconds));
        }
        if self.port == 0 {
            return Err(PeerError::Port);
        }
        if matches!(self.ttl, Ttl::Multihop(0) | Ttl::Security(0)) {
            return Err(PeerError::Ttl);
        }
        if self.reflector_client.is_some() && self.asn != asn {
            return Err(PeerError::Client(self.asn));
        }
        match self.graceful_restart {
            Some(restart) if restart.restart_time > LONGEST_RESTART => {
                Err(PeerError::RestartTime(restart.restart_time))
            }
            _ => Ok(()),
        }
    }

    /// True if a session made by `self` can go on as one of `other`.
    pub(crate) fn same_session(&self, other: &Self) -> bool {
        let live = |config: &Self| Self {
            import: ImportRules::default(),
            export: ExportRules::default(),
            prefix_limit: None,
            ..config.clone()
        };
        live(self) == live(other)
    }

    /// What we tell this peer we can do.
    pub(crate) fn capabilities(&self, start: Start) -> Capabilities {
        let (restart, forwarding) = (self.graceful_restart, start != Start::Empty);
        let long_lived = restart.and_then(|restart| restart.long_lived).map(|time| time.min(LONGEST_LIVED));
        Capabilities {
            families: self.families.clone(),
            four_octet_as: true,
            route_refresh: true,
            enhanced_refresh: true,
            graceful_restart: restart.map(|restart| RestartCapability {
                restarting: start == Start::Restart,
                notification: restart.notification,
                seconds: restart.restart_time.min(LONGEST_RESTART),
                families: self.families.iter().map(|family| (*family, forwarding)).collect(),
            }),
            long_lived: long_lived
                .map(|seconds| {
                    let one = |family: &Family| LongLived { family: *family, forwarding, seconds };
                    self.families.iter().map(one).collect()
                })
                .unwrap_or_default(),
            extended_next_hop: self.families.contains(&Family::V4) && self.address.is_ipv6(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_cannot_be_is_named_with_the_reason() {
        let good = PeerConfig::new("192.0.2.1".parse().unwrap(), 65001);
        assert_eq!(good.check(64512), Ok(()));
        let cases = [
            (PeerConfig { asn: 0, ..good.clone() }, "AS number 0"),
            (PeerConfig { address: "224.0.0.5".parse().unwrap(), ..good.clone() }, "no host"),
            (PeerConfig { local_address: Some("::1".parse().unwrap()), ..good.clone() }, "families"),
            (PeerConfig { families: BTreeSet::new(), ..good.clone() }, "no family"),
            (PeerConfig { hold_time: Some(2), ..good.clone() }, "hold time 2 s"),
            (PeerConfig { port: 0, ..good.clone() }, "port 0"),
            (PeerConfig { ttl: Ttl::Security(0), ..good.clone() }, "TTL of 0"),
            (PeerConfig { reflector_client: Some(Ipv4Addr::LOCALHOST), ..good.clone() }, "client"),
            (
                PeerConfig {
                    graceful_restart: Some(GracefulRestart { restart_time: 5000, ..Default::default() }),
                    ..good.clone()
                },
                "restart time",
            ),
        ];
        for (config, expected) in cases {
            let error = config.check(64512).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn rules_and_limits_change_on_a_running_session() {
        let old = PeerConfig::new("192.0.2.1".parse().unwrap(), 65001);
        let limit = Some(PrefixLimit { most: 5, pause: Duration::ZERO });
        let live = PeerConfig { prefix_limit: limit, export: ExportRules::transit(), ..old.clone() };
        assert!(old.same_session(&live));
        assert!(!old.same_session(&PeerConfig { hold_time: Some(30), ..old.clone() }));
        assert!(!old.same_session(&PeerConfig { password: Password::new("x").ok(), ..old.clone() }));
    }
}
