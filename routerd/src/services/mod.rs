//! Services by IPVS.
//!
//! ```text
//!  Service, EndpointSlice, own Node ──► desired.rs, endpoints.rs: virtual services of one Service     (pure)
//!                                  ──► wanted.rs: all Services in one state, who may have a tuple     (pure)
//!  kernel ──► observed State  ─────►── plan.rs: Plan::between(observed, desired)                      (pure)
//!                                  ──► apply.rs, linux/: IPVS, kube-dummy-if, nf_tables, conntrack
//! ```
//!
//! A virtual address lies on `kube-dummy-if`, so that packets to it come to INPUT, where IPVS takes them. What makes a
//! virtual service ours is its tuple in the set `services-tuples` of our nft table: it goes in before the service is
//! made and comes out after it is gone, so that a restart knows what an earlier run has made.

pub mod apply;
pub mod desired;
mod draining;
pub mod dsr;
mod early;
mod effect;
mod endpoints;
mod execute;
mod external;
mod few;
mod firewall;
pub mod gates;
pub mod health;
mod herald;
pub mod linux;
mod outlook;
pub mod plan;
mod pods;
pub mod program;
mod roll;
mod scheduling;
pub mod state;
pub mod status;
mod tend;
#[cfg(test)]
mod tests;
mod topology;
mod touched;
pub mod wanted;

pub use few::Few;
pub use herald::Herald;
pub use roll::Roll;

pub(crate) use desired::local_policies;
pub(crate) use endpoints::backends;

use kernel::ipvs::Timeouts;
use prefix::{Family, Prefix};

/// The plane's name.
pub const NAME: &str = "services";
/// The device that carries virtual addresses.
pub const DUMMY_DEVICE: &str = "kube-dummy-if";

/// What flags say of Services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--nodeport-bindon-all-ip`: node ports at every address of the node.
    pub node_port_on_all_addresses: bool,
    /// `--enable-ipv4=false`, `--enable-ipv6=false`: families in which no Service has an address here.
    pub switched_off: Vec<Family>,
    /// `--nodeport-addresses`: node ports at the node's addresses in these prefixes, for the families they are of.
    pub node_port_ranges: Vec<Prefix>,
    /// `--ipvs-permit-all`: a virtual address exposes its Services and nothing of the node.
    pub firewall: bool,
    /// `--ipvs-graceful-termination` and `--ipvs-graceful-period`: how long at most a backend that is no longer wanted
    /// keeps its connections; `None`: they end at once.
    pub grace: Option<std::time::Duration>,
    /// `--masquerade-all`: the source of all balanced traffic is rewritten, also that of this node's pods.
    pub masquerade_all: bool,
    /// `--run-router=false`: the ways to pods of other nodes are another program's, so a source that is rewritten becomes
    /// that of the device which the packet leaves by.
    pub foreign_ways: bool,
    /// `--excluded-cidrs`: virtual services here that are not wanted by a Service are somebody else's.
    pub excluded: Vec<Prefix>,
    /// `--service-cluster-ip-range`: no external address may lie here.
    pub cluster_ranges: Vec<Prefix>,
    /// `--service-external-ip-range`: where `spec.externalIPs` may lie.
    pub external_ranges: Vec<Prefix>,
    /// `--loadbalancer-ip-range`: where load balancer addresses may lie.
    pub load_balancer_ranges: Vec<Prefix>,
    /// `--strict-external-ip-validation=false`: external addresses may lie anywhere.
    pub any_external_address: bool,
    /// `--service-tcp-timeout` and its like, in seconds; 0 keeps the kernel's.
    pub timeouts: Timeouts,
}

impl Settings {
    /// True if Services have no addresses of the family here.
    pub(crate) fn is_off(&self, family: Family) -> bool {
        self.switched_off.contains(&family)
    }

    /// True if `address` is of those that we leave to others.
    pub(crate) fn is_excluded(&self, address: std::net::IpAddr) -> bool {
        self.excluded.iter().any(|prefix| prefix.contains(address))
    }
}
