//! What is known of the cluster: the pure index and the sources that feed it.

pub mod index;
pub mod objects;
pub mod selector;

pub use index::{Change, Delta, Event, Index, Object, ObjectKey};
