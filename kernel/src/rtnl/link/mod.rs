//! Links: reading, making, changing and deleting them.

mod change;
mod create;
mod decode;
mod family;
mod read;

pub use change::LinkChange;
pub use create::{BridgeOptions, NewLink, NewLinkKind, VethPeer};
pub(crate) use decode::decode;
pub(crate) use read::look_up_named;
pub use read::{Among, BridgePort, Link, LinkKind, OperState};
