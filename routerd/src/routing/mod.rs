//! Routes to the pods of other nodes, and what pods need to leave the cluster.
//!
//! A key is one route, one member of an address set, or the node's own settings. Routes come from BGP through the
//! index; pod ranges and node addresses from the Node objects, so that a new node's pods are known the moment its
//! object is.

mod apply;
mod desired;
mod masquerade;
mod plan;
mod settings;
#[cfg(test)]
mod tests;

pub use apply::Applier;
pub use desired::{Key, Routing, Value};
pub use plan::{Plan, State};

/// The number (`RTPROT`) of the routes we make. Nothing in `/etc/iproute2/rt_protos` has it.
pub const PROTOCOL: u8 = 190;
