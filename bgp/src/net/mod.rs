//! The network as a seam: TCP in production, memory in tests.

#[cfg(test)]
pub mod memory;
pub mod tcp;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// Our address on it.
    fn local_address(&self) -> Option<IpAddr>;
    /// Asks for an early end when the peer is silent: what the hold time cannot see (a peer whose machine is gone
    /// while we have much to send) shows within `hold_time` seconds. 0 asks for nothing.
    fn watch(&self, hold_time: u16) -> io::Result<()>;
}

/// Something that accepts connections.
pub trait Listener: Send + 'static {
    /// What it accepts.
    type Stream: Stream;

    /// The next connection and the address of its maker, an IPv4 one as such and not mapped into IPv6.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, IpAddr)>> + Send;
}

/// Where connections come from.
pub trait Network: Clone + Send + Sync + 'static {
    /// Its connections.
    type Stream: Stream;
    /// Its listeners.
    type Listener: Listener<Stream = Self::Stream>;

    /// Listens at `address`.
    fn listen(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Connects to `peer`, from `local` if it is set.
    fn connect(
        &self,
        peer: SocketAddr,
        local: Option<IpAddr>,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}
