//! What this node tells other nodes by BGP, and what it hears from them.
//!
//! The plane's "kernel" is the BGP speaker: it is told which peers there are and which prefixes are ours. What the
//! speaker learns goes the other way, into the cluster's index, from where the routing plane takes it.
//!
//! ```text
//!   index ──► Advertise (pure) ──► Applier ──► bgp::Speaker ──► other nodes
//!     ▲                                            │
//!     └────────── LearntRoute ◄── learnt.rs ◄──────┘ RibEvent
//! ```

pub mod admin;
mod annotations;
mod announce;
mod apply;
pub mod command;
mod desired;
mod drain;
mod earlier;
mod learnt;
mod link;
pub mod passwords;
mod peers;
mod plan;
mod router_id;
pub(crate) mod sessions;
mod start;
mod status;
#[cfg(test)]
mod tests;

pub use apply::Applier;
pub use desired::{Advertise, Identity, Key, Peer, Value};
pub use drain::Leaving;
pub use link::Link;
pub use plan::{Dirty, Model, Plan, State};
pub use start::{Advertising, Served, start};
