//! The network as a seam: TCP in production, memory in tests.

#[cfg(test)]
pub mod memory;
pub mod tcp;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{Password, PeerConfig, Ttl};

/// The passwords of the peers that have one, by the peer's address.
pub type Passwords = BTreeMap<IpAddr, Password>;

/// How far packets of a connection go and come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Distance {
    /// The TTL (hop limit) of what is sent; the system's if not set.
    pub ttl: Option<u8>,
    /// What comes with less is dropped.
    pub least: Option<u8>,
}

impl Distance {
    /// As the peer's configuration wants it; `internal` says whether it is of our own AS.
    pub fn of(peer: &PeerConfig, internal: bool) -> Self {
        match peer.ttl {
            Ttl::Usual if internal => Self::default(),
            Ttl::Usual => Self { ttl: Some(1), least: None },
            Ttl::Multihop(ttl) => Self { ttl: Some(ttl), least: None },
            // RFC 5082 §3: 255 from a neighbour, one less for each router on the way.
            Ttl::Security(hops) => Self { ttl: Some(255), least: Some(255 - hops.saturating_sub(1)) },
        }
    }
}

/// How to connect to a peer.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where it listens.
    pub peer: SocketAddr,
    /// Our address, if it must be a certain one.
    pub local: Option<IpAddr>,
    /// The key of the signatures.
    pub password: Option<Password>,
    /// How far it may be.
    pub distance: Distance,
}

/// A connection to a peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// Our address on it.
    fn local_address(&self) -> Option<IpAddr>;
    /// Asks for an early end when the peer is silent: what the hold time cannot see (a peer whose machine is gone
    /// while we have much to send) shows within `hold_time` seconds. 0 asks for nothing.
    fn watch(&self, hold_time: u16) -> io::Result<()>;
    /// Holds a connection that the peer has made to `distance`.
    fn limit(&self, distance: Distance) -> io::Result<()>;
}

/// Something that accepts connections.
pub trait Listener: Send + Sync + 'static {
    /// What it accepts.
    type Stream: Stream;

    /// The next connection and the address of its maker, an IPv4 one as such and not mapped into IPv6.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, IpAddr)>> + Send;

    /// Makes the keys of the peers from `old` into `new`. A key of a family the listener does not serve is passed over.
    /// Each is tried; those that failed are told, with the reason.
    fn sign(&self, old: &Passwords, new: &Passwords) -> BTreeMap<IpAddr, io::Error>;
}

/// Where connections come from.
pub trait Network: Clone + Send + Sync + 'static {
    /// Its connections.
    type Stream: Stream;
    /// Its listeners.
    type Listener: Listener<Stream = Self::Stream>;

    /// Listens at `address`.
    fn listen(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Connects to a peer.
    fn connect(&self, way: &Way) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_how_far() {
        let peer = |ttl| PeerConfig { ttl, ..PeerConfig::new("192.0.2.1".parse().unwrap(), 65001) };
        let of = |ttl, internal| {
            let distance = Distance::of(&peer(ttl), internal);
            (distance.ttl, distance.least)
        };
        assert_eq!(of(Ttl::Usual, true), (None, None));
        assert_eq!(of(Ttl::Usual, false), (Some(1), None));
        assert_eq!(of(Ttl::Multihop(4), false), (Some(4), None));
        assert_eq!(of(Ttl::Security(1), true), (Some(255), Some(255)));
        assert_eq!(of(Ttl::Security(2), false), (Some(255), Some(254)));
    }
}
