//! A BGP speaker (RFC 4271): sessions, routing information base, best paths. It knows neither Kubernetes nor the
//! kernel's routes.
//!
//! ```text
//!                 commands (SpeakerHandle)               RibEvent
//!                          │                               ▲
//!                          ▼                               │
//!  listeners ──accepted──► speaker task: peers, Adj-RIB-In, Loc-RIB, Adj-RIB-Out ◄──┐
//!                          │  ▲                                                      │
//!         SessionCommand   ▼  │ SessionEvent                                         │ one owner, no locks
//!                    session task, one a peer: Fsm (pure), timers, two connections ──┘
//!                          │  ▲
//!                   frames ▼  │ messages
//!                    reader and writer task of a connection (Network: TCP, or memory in tests)
//! ```
//!
//! | room | what it is |
//! | --- | --- |
//! | [`packet`] | the wire: framing, messages, RFC 7606 error handling. Only here the codec crate is known |
//! | [`fsm`] | the state machine of a peer: event in, actions out; pure |
//! | [`net`], [`clock`] | the seams to the world |
//! | [`bfd`] | paths that carry no packets are noticed before the hold time |
//! | [`session`] | the task that runs a state machine over connections and timers |
//! | [`rib`] | paths, their choice, what is announced to whom; pure |
//! | [`speaker`] | the task that owns all of it, and its handle |
//! | [`config`], [`policy`] | what it is told, as values |
//! | [`fuzzing`] | the reading of what peers send, for a fuzzer |

pub mod bfd;
mod chance;
pub mod clock;
pub mod config;
pub mod fsm;
pub mod fuzzing;
pub mod net;
pub mod packet;
pub mod policy;
pub mod rib;
pub mod session;
pub mod speaker;

pub use config::{
    Announcement, Audience, Communities, GracefulRestart, Password, PasswordError, PeerConfig, PeerError,
    PrefixLimit, Signature, SpeakerConfig, Start, Ttl,
};
pub use kernel::tcp::ao;
pub use policy::{ExportRules, ImportRules, Prepend, Verdict};
pub use rib::RibEvent;
pub use speaker::handle::{BlockingHandle, SpeakerGone, SpeakerHandle};
pub use speaker::status::{Advertised, ListenerStatus, PeerStatus, RibEntry, RibPath, SpeakerStatus};
pub use speaker::{ConfigError, ResetCause, Shutdown, Speaker};
