//! Addresses for Services of type LoadBalancer (`--run-loadbalancer`).
//!
//! ```text
//!  Service, Node ──► desired.rs: what a Service claims and has                      (pure)
//!  all claims    ──► plan.rs, pool.rs: who gets which address, who gives one back   (pure)
//!                ──► apply.rs: only on the node with the Lease; memory.rs: what the watch does not show yet
//!                ──► cluster/balancing: the API server
//! ```
//!
//! As kube-router's: of the ranges of `--loadbalancer-ip-range`, the next free address after the one given last, so that
//! one that was given back comes round late. Two Services never get the same one: what was written counts as used before
//! the watch shows it, and a new leader asks the API server for all Services before it gives the first. Nothing is
//! announced or served by this; that is up to the planes `services` and `advertise`.

mod apply;
mod desired;
mod memory;
mod plan;
mod pool;
#[cfg(test)]
mod tests;

use std::io;

use prefix::Prefix;
use tokio::runtime::Handle as Runtime;

pub use apply::{Api, Applier};
pub use desired::{Claim, Key, LoadBalancer, Standing, Value};

use crate::cluster::balancing::{Handle, Term};
use crate::runner::{self, Spawned};

/// The plane's name.
pub const NAME: &str = "loadbalancer";

/// What flags say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--loadbalancer-ip-range`: where addresses are taken from, in this order.
    pub ranges: Vec<Prefix>,
    /// `--service-cluster-ip-range`: no address of these is given.
    pub cluster_ranges: Vec<Prefix>,
    /// `--loadbalancer-default-class`: Services that name no class, or `default`, are served too.
    pub default_class: bool,
}

/// Starts the plane. It does nothing but in terms of `handle`.
pub fn start(
    settings: &Settings,
    handle: Handle,
    runtime: &Runtime,
    times: runner::Settings,
) -> io::Result<Spawned> {
    let mut terms = handle.terms();
    let plane = runner::spawn(LoadBalancer::new(settings.clone()), Applier::new(handle, settings), times)?;
    let poker = plane.poker.clone();
    runtime.spawn(async move {
        let mut last = None;
        // The campaign ends with the daemon.
        while terms.changed().await.is_ok() {
            let number = terms.borrow_and_update().map(|term: Term| term.number);
            if std::mem::replace(&mut last, number) != number {
                poker.poke();
            }
        }
    });
    Ok(plane)
}
