//! Health checks for load balancers in front of the nodes.
//!
//! ```text
//!  Service (externalTrafficPolicy Local), EndpointSlice, own Node ──► desired.rs: a check each     (pure)
//!  servers that run ──► plan.rs: what to open, tell, close                                          (pure)
//!                   ──► apply.rs: ports;  answer.rs: what is answered                               (pure)
//! ```
//!
//! - The `healthCheckNodePort` of a Service answers 200 on a node with ready endpoints of it and 503 on one without, with
//!   kube-proxy's JSON, so that a load balancer sends where nobody has to send on.
//! - `/healthz` of the node (kube-proxy's port 10256) is for load balancers of Services that any node serves: 503 also when
//!   the node is about to go (KEP-3836). `/livez` beside it does not look at that.
//!
//! What is asked is answered from what was told last: nothing is computed for a request.

mod answer;
mod apply;
mod desired;
mod plan;
#[cfg(test)]
mod tests;

pub use apply::Applier;
pub use desired::{Check, HealthChecks, Key};

/// The plane's name.
pub const NAME: &str = "health-checks";
