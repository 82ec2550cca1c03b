//! What is known of the cluster: the pure index and the sources that feed it.

pub mod api;
pub mod balancing;
pub mod direction;
pub mod events;
pub mod group;
pub mod index;
#[cfg(test)]
mod index_tests;
mod kind;
pub mod manifests;
pub mod name;
pub mod named_port;
pub mod objects;
pub mod selector;
pub mod source;
pub mod status;
pub mod task;
pub mod wire;

pub(crate) use index::pack;
pub use index::{
    Change, CrowdPeer, DIRECT_RETURN, Delta, Event, ForceNews, InForce, Index, Object, ObjectKey, Passwords,
    PolicyDelta, PortLists, Side, Uses,
};
pub use kind::Kind;
