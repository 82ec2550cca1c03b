//! The state machine of a peer (RFC 4271 §8): an event goes in, actions come out. No clock, no socket, no task.
//!
//! A peer has up to two connections at a time, one from each side, until collision detection (§6.8) leaves one. Each
//! has a state of its own; the peer's state is that of the connection that is further on.

mod crossing;
mod machine;
mod negotiate;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use prefix::Family;

use crate::packet::{
    Capabilities, Context, LongLived, Message, Notification, Open, Refresh, RestartCapability, Update,
};

pub use machine::Fsm;

/// How long a TCP connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the peer may take to send its OPEN. RFC 4271 §8.2.2 suggests four minutes, in which a peer that hangs
/// after accepting would block every new attempt.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The wait after the first failure; it doubles with each further one that the peer had a part in.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two attempts to connect.
pub const RETRY_LAST: Duration = Duration::from_secs(16);

/// How long after a session has come up a connection of the peer is taken for one that it began meanwhile, and not for a restart.
pub const SETTLE: Duration = Duration::from_secs(2);

/// A state of RFC 4271 §8.2.2, in the order in which a session comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Stopped.
    Idle,
    /// A TCP connection is being made.
    Connect,
    /// Waiting, for the next attempt or for the peer to connect.
    Active,
    /// Our OPEN is sent.
    OpenSent,
    /// Both OPENs are there.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one we made.
    Outgoing,
    /// The one the peer made.
    Incoming,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Side::Outgoing => Side::Incoming,
            Side::Incoming => Side::Outgoing,
        }
    }
}

/// A timer. Its owner varies connect and keepalive times as RFC 4271 §10 asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Limits an attempt to connect, or says when the next is due.
    Connect,
    /// The peer has been silent for too long.
    Hold(Side),
    /// A KEEPALIVE is due.
    Keepalive(Side),
    /// The peer was to show what becomes of the other one of two connections.
    Crossing,
    /// What the peer began while the session came up has arrived by now.
    Settle,
}

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is wanted.
    Start,
    /// It is no longer wanted; the notification is sent, if there is one.
    Stop(Option<Notification>),
    /// Its session is not to go on, and not to come back before a pause.
    Reset(Reset),
    /// It has connected to us.
    Offered,
    /// We have connected to it.
    Connected,
    /// The attempt to connect was refused, or is impossible here.
    ConnectFailed(String),
    /// Nobody answered the attempt to connect: there is no way to the peer at the moment.
    Unanswered(String),
    /// A message came.
    Received(Side, Message),
    /// Something came that is no message; the notification answers it.
    Invalid(Side, Notification),
    /// A connection ended by itself.
    Lost(Side, String),
    /// A timer ran out.
    Expired(Timer),
}

/// A forced end of a session that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// What the peer is told.
    pub notification: Notification,
    /// Why, for the status.
    pub reason: String,
    /// How long the peer then stays away; what it offers meanwhile is refused.
    pub pause: Duration,
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect to the peer.
    Connect,
    /// Give the attempt to connect up.
    CancelConnect,
    /// Take the connection the peer offers, as [`Side::Incoming`].
    Accept,
    /// Close the connection the peer offers.
    Refuse,
    /// Send an OPEN.
    SendOpen(Side, Open),
    /// Send a KEEPALIVE.
    SendKeepalive(Side),
    /// Send a NOTIFICATION.
    SendNotification(Side, Notification),
    /// Close a connection, after what was sent on it.
    Close(Side),
    /// Set a timer, in place of an earlier setting.
    Arm(Timer, Duration),
    /// Stop a timer.
    Disarm(Timer),
    /// The session is up.
    Up(Side, Box<Agreed>),
    /// The session has ended.
    Down(Down),
    /// Routes came.
    Deliver(Box<Update>),
    /// The peer wants our routes of a family again, or marks where it tells its own again.
    Refresh(Family, Refresh),
    /// Something failed; to be shown as the last error.
    Report(String),
}

/// What the machine needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// The AS the peer must be of.
    pub peer_asn: u32,
    /// The hold time we propose, in seconds.
    pub hold_time: u16,
    /// What we can do.
    pub capabilities: Capabilities,
    /// Do not connect, wait for the peer.
    pub passive: bool,
}

impl Settings {
    /// True for a peer of our own AS.
    pub fn internal(&self) -> bool {
        self.asn == self.peer_asn
    }
}

/// What both sides of an established session have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The peer's identifier.
    pub router_id: Ipv4Addr,
    /// The hold time in seconds; 0 for none.
    pub hold_time: u16,
    /// The families of routes.
    pub families: BTreeSet<Family>,
    /// How messages are read and written.
    pub context: Context,
    /// The peer takes ROUTE-REFRESH.
    pub route_refresh: bool,
    /// Both mark where routes that are told again begin and end (RFC 7313).
    pub enhanced_refresh: bool,
    /// Graceful restart as the peer announced it, if we do too.
    pub graceful_restart: Option<RestartCapability>,
    /// Its families of long-lived graceful restart (RFC 9494), if we do that too.
    pub long_lived: Vec<LongLived>,
}

impl Agreed {
    /// Notifications and the hold time do not end what is kept, because both sides want it so (RFC 8538).
    pub fn survives_notifications(&self, ours: &Capabilities) -> bool {
        let wants =
            |restart: &Option<RestartCapability>| restart.as_ref().is_some_and(|one| one.notification);
        wants(&self.graceful_restart) && wants(&ours.graceful_restart)
    }
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Why.
    pub reason: String,
    /// The peer's routes are to be kept for a while (RFC 4724 §4.2).
    pub retain: bool,
}
