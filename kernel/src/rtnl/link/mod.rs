//! Links: reading, making, changing and deleting them.

mod change;
mod create;
mod family;
mod read;

pub use change::LinkChange;
pub use create::{BridgeOptions, NewLink, NewLinkKind, VethPeer};
pub use read::{BridgePort, Link, LinkKind, OperState};
pub(crate) use read::{decode, look_up_named};
