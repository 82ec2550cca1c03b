//! Everything of this workspace that speaks to Linux, and nothing else does.
//!
//! All of it is synchronous: the CNI plugin must not start a runtime, and the daemon's planes have a thread of
//! their own each. No Kubernetes word is known here.

pub mod aside;
pub mod conntrack;
pub mod error;
mod forwarding;
pub mod fou;
pub mod genl;
pub mod ipvs;
pub mod memory;
pub mod monitor;
pub mod netlink;
pub mod netns;
pub mod nflog;
pub mod nft;
pub mod presence;
pub mod rtnl;
pub mod sysctl;
pub mod sysfs;
pub mod tc;
pub mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use aside::aside;
pub use error::{KernelError, Result};
pub use forwarding::forward;
pub use netns::NetNs;
pub use presence::Presence;
pub use rtnl::{MacAddress, Rtnl};
