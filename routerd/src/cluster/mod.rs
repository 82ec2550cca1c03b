//! What is known of the cluster: the pure index and the sources that feed it.

pub mod index;
mod kind;
pub mod objects;
pub mod selector;
pub mod status;
pub mod wire;

pub use index::{Change, Delta, Event, Index, Object, ObjectKey};
pub use kind::Kind;
