//! Direct server return (annotation `kube-router.io/service.dsr: tunnel`): a pod answers the client itself, with the
//! external address of the Service as source, and no node sees the answer but the pod's own.
//!
//! ```text
//!  client ─► any node: mark (nf_tables) ─► rule, table 78: local ─► IPVS by mark ─► IP in IP ─► pod's tunnel device
//!  client ◄──────────────── the pod's eth0, the address of the Service as source ◄──────────────┘
//! ```
//!
//! desired.rs: what a Service wants, and which pods are here (pure); rivals.rs: who gets what several want; marks.rs, plan.rs (pure); apply.rs brings it in order:
//! pods, IPVS, marks; and takes it away in the other. node.rs is the node's side of the kernel, pod.rs the pod's, which is
//! reached by the namespace that the plugin has told us of: neither the container runtime nor host PIDs are needed, but
//! `CAP_SYS_ADMIN`, to enter it.
//!
//! The address must be no address of the node: the kernel throws away what comes from one of its own. So these addresses
//! are not on `kube-dummy-if`, and the plane `services` leaves them alone.

mod apply;
mod desired;
mod marks;
mod node;
mod plan;
mod pod;
mod rivals;
mod rules;
mod tend;
#[cfg(test)]
mod tests;
mod touched;

pub use apply::Applier;
pub use desired::{Dsr, Key, Pods, Value, Wish};
pub(crate) use node::{TABLE, own_marks};

use crate::cluster::DIRECT_RETURN;
use crate::cluster::objects::Service;

/// The plane's name.
pub const NAME: &str = "dsr";
/// The one value of the annotation [`DIRECT_RETURN`].
const TUNNEL: &str = "tunnel";

/// True if the external addresses of `service` are served by this plane.
pub(crate) fn takes(service: &Service) -> bool {
    service.annotations.get(DIRECT_RETURN).is_some_and(|method| method == TUNNEL)
}
