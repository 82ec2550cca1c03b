//! The protocol between plugin and daemon, on the unix socket `/run/routerd/cni.sock`.
//!
//! One request and one reply a connection. Each is a frame: its length as four bytes, big-endian, then that many bytes
//! of JSON, `{"version": 1, "body": …}`. The version is read before the body, so that a plugin and a daemon of
//! different releases tell each other so instead of guessing. Both sides look at the other's credentials: only root, or
//! the user they run as themselves, is listened to.

//!
//! A connection that is closed without an answer means "ask again": the daemon was ended or replaced meanwhile.

mod client;
mod frame;
mod message;

use std::time::Duration;

pub use client::{Client, ClientError};
pub use frame::{FrameError, HEADER, MOST_BYTES, decode, encode, frame_length, read_frame};
pub use message::{Attach, DaemonError, Detach, Reply, Request, VERSION};

/// How long an ADD waits for the daemon in all, unless the network configuration says otherwise (`routerd.timeoutMs`).
pub const ADD_WAITS: Duration = Duration::from_secs(20);
/// The daemon answers an attach within this, one way or the other. The rest of [`ADD_WAITS`] is for a daemon that is being
/// restarted when the ADD begins.
pub const ATTACH_ANSWERED: Duration = Duration::from_secs(15);

/// True if a peer with the user id `uid` may speak to us.
pub fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

/// Nanoseconds since the machine's start, sleep included: a clock that plugin and daemon share and nobody sets. 0 if the
/// kernel does not tell, which means "unknown" to both.
pub fn moment() -> u64 {
    let now =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(0)
}
