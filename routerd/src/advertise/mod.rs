//! What this node tells other nodes by BGP, and what it hears from them.
//!
//! The plane's "kernel" is the BGP speaker: it is told which peers there are and which prefixes are ours. What the
//! speaker learns goes the other way, into the cluster's index, from where the routing plane takes it.
//!
//! ```text
//!   index ──► Advertise (pure) ──► Applier ──► bgp::Speaker ──► other nodes
//!     ▲                                            │
//!     └────────── LearntRoute ◄── link task ◄──────┘ RibEvent
//! ```

mod apply;
mod desired;
mod link;
mod plan;
mod router_id;
mod start;
mod status;
#[cfg(test)]
mod tests;

pub use apply::Applier;
pub use desired::{Advertise, Identity, Key, Value};
pub use link::Link;
pub use plan::{Plan, State};
pub use start::{Advertising, start};
