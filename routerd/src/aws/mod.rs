//! The source/destination check of an EC2 instance is switched off (`--disable-source-dest-check`): with it on, the network of
//! the cloud drops what an instance forwards for its pods.
//!
//! Only this node's own instance, once, on a thread of its own; what fails is a problem in the status and keeps nothing
//! else from working. kube-router's agents each change all instances, one after the other, before they start.
//!
//! ```text
//!   desired.rs   the instance in the Node's providerID          pure
//!   apply.rs     asks for credentials, changes the attribute
//!   imds.rs      the metadata service of the instance (IMDSv2)
//!   sign.rs      Signature Version 4                            pure
//!   http.rs      one request, one answer
//! ```
//!
//! Own code of some 300 lines, because the SDK of AWS is 40 crates and a minute of building for two requests. Credentials
//! are those of the environment or of the instance's role; others (web identity, profiles) are not looked for.

mod apply;
mod desired;
mod http;
mod imds;
mod sign;
#[cfg(test)]
mod tests;

pub use apply::{Applier, Endpoints};
pub use desired::{Instance, InstanceId};

/// The plane's name.
pub const NAME: &str = "aws";
