//! NetworkPolicies by nf_tables.
//!
//! ```text
//!  Pod, Attachment, NetworkPolicy, Namespace, own Node
//!      ──► touched.rs   which pieces a change touches                        (pure)
//!      ──► desired.rs   values: verdicts of pods, rules, groups, named ports (pure)
//!          crowd.rs     … of many policies of the same pods, taken together  (pure)
//!      ──► render.rs    what each value puts into the kernel                 (pure)
//!      ──► model.rs     all of them together, shared objects counted         (pure)
//!  kernel ──► observed ──► plan.rs   Plan::between(observed, desired)        (pure)
//!      ──► apply.rs     one transaction
//!      ──► refused.rs   what the kernel does not take is kept to its own object    (pure)
//!      ──► flows.rs     tracked flows that have no ground any more are forgotten; admits.rs judges them (pure)
//! ```
//!
//! What a packet meets is drawn in `program.rs`. Every pod of this node has an element in the verdict maps of both
//! directions; what is in the node's pod networks and has none is dropped, by rules in the kernel, so with the daemon
//! dead too. Who a policy admits is in sets that all policies with the same selector share: a pod that changes a label
//! is a few elements, whatever the number of policies.

mod admit;
mod admits;
pub mod apply;
pub mod blocks;
mod bridges;
mod crowd;
pub mod desired;
mod flows;
mod key;
mod model;
mod names;
pub mod plan;
mod program;
mod refusal;
mod refused;
mod render;
mod render_crowd;
mod segments;
mod select;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod touched;
mod value;

pub use apply::{PolicyApplier, cleanup};
pub use desired::PolicyPlane;
pub use key::{NamedPorts, PeerClass, PeerGroup, PolicyKey, PortScope};
pub use plan::Plan;
pub use refusal::{LOG_GROUP, LOGGED_BYTES, Reason, all_counters, orphans};
pub(crate) use select::is_isolated;
pub use value::{Admission, Direction, Isolation, Peers, PodVerdict, PolicyValue, Ports, Rules, Together};

/// The plane's name.
pub const NAME: &str = "policy";
