//! Routes and tunnels to the pods of other nodes, and what pods need to leave the cluster.
//!
//! A key is one route, one other node, one member of an address set, or the node's own settings. Routes come from BGP through
//! the index; pod ranges and node addresses from the Node objects, so that a new node's pods are known the moment its
//! object is. Tunnels follow the Node objects, too: a session that ends takes no tunnel away, and a removed node does.
//!
//! ```text
//!   desired.rs   index ─► values                          pure
//!   wanted.rs    values + what is around ─► state         pure
//!   observe.rs   kernel ─► what is around, state
//!   plan.rs      state, state ─► plan                     pure
//!   apply.rs     plan ─► kernel, with devices.rs for tunnels and ports
//! ```

mod apply;
mod desired;
mod devices;
mod foreign;
mod masquerade;
mod names;
mod observe;
mod overlay;
mod plan;
mod segments;
mod settings;
#[cfg(test)]
mod tests;
mod wanted;

pub use apply::Applier;
pub use desired::{Key, NextHop, Own, Routing, Settings, Value};
pub use names::is_name_of;
pub use observe::{are_routes_left, carried};
pub use overlay::{Overlay, Reach};
pub use plan::{Hop, Path, Place, Plan, State, Tunnelled};

/// The number (`RTPROT`) of the routes and rules we make, that of BGP's port. Neither the kernel's headers nor iproute2 nor a routing daemon has
/// it: FRR, which may run on a node, takes away at its start what has one of its own (186 to 198).
pub const PROTOCOL: u8 = 179;
/// The number that kube-router's routes have (`unix.RTPROT_MROUTED`, 17): what it left is taken over.
pub const KUBE_ROUTER_PROTOCOL: u8 = 17;
/// kube-router's table `kube-router`: what pods of this node send to the addresses of nodes behind a tunnel.
pub const POD_TABLE: u32 = 77;
