//! The protocol between plugin and daemon, on the unix socket `/run/routerd/cni.sock`.
//!
//! One request and one reply a connection. Each is a frame: its length as four bytes, big-endian, then that many bytes
//! of JSON, `{"version": 1, "body": …}`. The version is read before the body, so that a plugin and a daemon of
//! different releases tell each other so instead of guessing. Both sides look at the other's credentials: only root, or
//! the user they run as themselves, is listened to.

mod client;
mod frame;
mod message;

pub use client::{Client, ClientError};
pub use frame::{FrameError, HEADER, MOST_BYTES, decode, encode, frame_length, read_frame};
pub use message::{Attach, DaemonError, Detach, Reply, Request, VERSION};

/// True if a peer with the user id `uid` may speak to us.
pub fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}
