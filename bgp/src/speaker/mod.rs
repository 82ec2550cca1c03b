//! The speaker: one task that owns peers and routes, and the handle to it.

mod core;
mod graceful;
pub mod handle;
mod listen;
mod peer;
mod peers;
mod refresh;
mod replace;
mod routes;
mod show;
pub mod status;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prefix::Prefix;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, SystemClock};
use crate::config::{Announcement, PeerConfig, SpeakerConfig};
use crate::net::{Network, tcp::Tcp};
use crate::rib::RibEvent;
use crate::session;
use handle::SpeakerHandle;
use status::{Advertised, RibEntry, SpeakerStatus};

/// How a speaker ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shutdown {
    /// Peers are told, with these words (RFC 9003; 255 octets at most), and drop our routes at once, also where
    /// graceful restart was agreed.
    Cease(String),
    /// Connections are closed without a word: peers that agreed on graceful restart keep our routes until we are back.
    Quiet,
}

/// Why a running session is ended from outside. It comes back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResetCause {
    /// Packets no longer pass (RFC 5880; the peer hears of it by RFC 9384). Its routes go at once.
    BfdDown,
    /// An administrator wants it, with these words.
    Administrator(String),
}

/// What a speaker cannot be told to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// AS 0 is reserved (RFC 7607).
    #[error("AS number 0 is reserved; give the speaker one from 1 to 4294967295")]
    Asn,
    /// RFC 4271 §4.2.
    #[error("router ID {0} is no unicast address; give the speaker one that no other speaker has")]
    RouterId(std::net::Ipv4Addr),
    /// RFC 4271 §4.2.
    #[error("hold time {0} s is not allowed; it must be 0 (never) or at least 3 s")]
    HoldTime(u16),
}

/// How many batches of events may wait for a consumer that is busy. What changes meanwhile is told by prefix, as it is then.
const BATCHES: usize = 2;

/// What the handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    SetPeer(Box<PeerConfig>),
    RemovePeer(IpAddr),
    Announce(Prefix, Announcement),
    Withdraw(Prefix),
    Protect(Prefix, bool),
    ResetPeer(IpAddr, ResetCause, Duration),
    RefreshPeer(IpAddr),
    Listen(Vec<SocketAddr>),
    ViewComplete,
    Status(oneshot::Sender<SpeakerStatus>),
    Rib(oneshot::Sender<Vec<RibEntry>>),
    Route(Prefix, oneshot::Sender<Option<RibEntry>>),
    Advertised(IpAddr, oneshot::Sender<Option<Vec<Advertised>>>),
    Shutdown(Shutdown, oneshot::Sender<()>),
}

/// A BGP speaker.
#[derive(Debug, Clone, Copy)]
pub struct Speaker;

impl Speaker {
    /// Starts a speaker over TCP, in the current tokio runtime. It ends with [`SpeakerHandle::shutdown`] or when all
    /// handles are gone. What it chooses is told many prefixes at once, in the order in which it changed.
    pub fn start(
        config: SpeakerConfig,
    ) -> Result<(SpeakerHandle, mpsc::Receiver<Vec<RibEvent>>), ConfigError> {
        Self::start_with(config, Tcp, SystemClock::default())
    }

    /// Starts a speaker over another network or by another clock.
    pub fn start_with<N: Network, C: Clock>(
        config: SpeakerConfig,
        network: N,
        clock: C,
    ) -> Result<(SpeakerHandle, mpsc::Receiver<Vec<RibEvent>>), ConfigError> {
        if config.asn == 0 {
            return Err(ConfigError::Asn);
        }
        let id = config.router_id;
        if id.is_unspecified() || id.is_multicast() || id.is_broadcast() {
            return Err(ConfigError::RouterId(id));
        }
        if matches!(config.hold_time, 1 | 2) {
            return Err(ConfigError::HoldTime(config.hold_time));
        }
        let (commands, command_queue) = mpsc::channel(1024);
        let (events, event_queue) = mpsc::channel(BATCHES);
        tokio::spawn(core::Core::new(config, network, clock, events).run(command_queue));
        Ok((SpeakerHandle::new(commands), event_queue))
    }
}
