//! Bidirectional forwarding detection (RFC 5880) in asynchronous mode, for neighbours on a link (RFC 5881) and further away
//! (RFC 5883): a path that carries no packets is noticed in a fraction of a second, where BGP needs its hold time.
//!
//! | file | what it is |
//! | --- | --- |
//! | `packet` | control packets |
//! | `session` | the state machine and its timers; pure |
//! | `socket` | UDP |
//! | `task` | the task that owns the sessions and sockets. One of its own, because a speaker that works through a full table must not miss a packet |

mod packet;
mod session;
mod socket;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub use packet::{Control, Diagnostic, Malformed, State};
pub use session::{Change, Session, Timing};

use crate::clock::Clock;

/// The UDP port of neighbours on the same link (RFC 5881 §4).
pub const PORT: u16 = 3784;
/// The UDP port of neighbours further away (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;

/// How a neighbour is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfdConfig {
    /// How often, and how many packets may be lost.
    pub timing: Timing,
    /// The UDP port at both ends.
    pub port: u16,
    /// It is further than one hop, so its packets may have passed routers. Those of a neighbour on the link must not have:
    /// their TTL is 255, which nobody further away can make (RFC 5881 §5).
    pub multihop: bool,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdStatus {
    /// Its state.
    pub state: State,
    /// Why it was left last.
    pub diagnostic: Diagnostic,
    /// How often it came up.
    pub ups: u64,
    /// How long silence lasts until the neighbour is lost; zero before it was heard.
    pub detection_time: Duration,
    /// How often we send; `None` if the neighbour wants nothing.
    pub interval: Option<Duration>,
    /// Why packets cannot be sent or received.
    pub error: Option<String>,
}

/// Something has changed for a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfdEvent {
    /// The neighbour.
    pub peer: IpAddr,
    /// What.
    pub change: Change,
}

/// What the task is asked for.
#[derive(Debug, Clone, Copy)]
enum Command {
    Set { peer: IpAddr, local: Option<IpAddr>, config: BfdConfig },
    Remove(IpAddr),
}

/// The handle to the task; it ends with its last handle and tells the neighbours so.
#[derive(Debug, Clone)]
pub struct Bfd {
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<BTreeMap<IpAddr, BfdStatus>>,
}

impl Bfd {
    /// Starts it in the current tokio runtime. Events must be taken: the task waits for room.
    pub fn start<C: Clock>(clock: C) -> (Self, mpsc::Receiver<BfdEvent>) {
        let (commands, command_queue) = mpsc::unbounded_channel();
        let (events, event_queue) = mpsc::channel(256);
        let (publisher, status) = watch::channel(BTreeMap::new());
        tokio::spawn(task::Task::new(clock, events, publisher).run(command_queue));
        (Self { commands, status }, event_queue)
    }

    /// Watches a neighbour as `config` says, from `local` if it is set. Other timing of a session that is there is agreed with
    /// the neighbour, and the session stays up; another port or address begins it anew.
    pub fn set(&self, peer: IpAddr, local: Option<IpAddr>, config: BfdConfig) {
        // A task that has ended has nobody to watch.
        let _ = self.commands.send(Command::Set { peer, local, config });
    }

    /// Watches it no longer; the neighbour is told that this is no failure.
    pub fn remove(&self, peer: IpAddr) {
        let _ = self.commands.send(Command::Remove(peer));
    }

    /// Watches nobody any longer; returns when all neighbours have been told, or after a second.
    pub async fn remove_all(&self) {
        for peer in self.status().into_keys() {
            self.remove(peer);
        }
        let mut status = self.status.clone();
        // A task that has ended watches nobody either.
        let _ = tokio::time::timeout(Duration::from_secs(1), status.wait_for(BTreeMap::is_empty)).await;
    }

    /// The sessions.
    pub fn status(&self) -> BTreeMap<IpAddr, BfdStatus> {
        self.status.borrow().clone()
    }

    /// That of one neighbour.
    pub fn status_of(&self, peer: IpAddr) -> Option<BfdStatus> {
        self.status.borrow().get(&peer).cloned()
    }
}
