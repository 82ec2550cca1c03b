//! The task of one peer: it runs the peer's state machine over timers and connections.

mod jitter;
mod link;
mod task;

use std::net::IpAddr;

use prefix::Family;

use crate::fsm::{Agreed, Down, Reset, State};
use crate::packet::{Notification, Refresh, Update};

pub use task::{Wiring, spawn};

/// What the speaker tells a session.
#[derive(Debug)]
pub enum Command<S> {
    /// The peer has connected.
    Offer(S),
    /// Messages to send, one behind the other; answered by [`Event::Written`] when all have been given to the network. The number
    /// is that of [`Event::Up`]: what was made for an earlier session is not sent on a later one.
    Send(u64, Vec<u8>),
    /// Ask the peer for all routes of a family again.
    Refresh(Family),
    /// End the connection with a notification, and come back later.
    Reset(Reset),
    /// End, with a notification or without.
    Stop(Option<Notification>),
}

/// What a session tells the speaker.
#[derive(Debug)]
pub enum Event {
    /// The state has changed.
    State(State),
    /// The session is up.
    Up {
        /// Counts the sessions with this peer.
        epoch: u64,
        /// What was agreed.
        agreed: Box<Agreed>,
        /// Our address on the connection.
        local_address: Option<IpAddr>,
    },
    /// The session has ended.
    Down(Down),
    /// Routes came, in this order.
    Updates(Vec<Update>),
    /// The peer wants our routes of a family again.
    Refresh(Family, Refresh),
    /// The last [`Command::Send`] is done.
    Written,
    /// Something failed.
    Report(String),
}
