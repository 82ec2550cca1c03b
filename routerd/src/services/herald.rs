//! Tells which virtual addresses this node serves, for whoever announces them to others: an address is announced once
//! the kernel has it, and no longer than that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::sync::mpsc::UnboundedSender;

use super::plan::Extent;
use super::state::{Balanced, State, Tuple};
use crate::cluster::{ForceNews, InForce};

/// The way to the index. Without bounds, because a plane waits for nobody; there is never more in it than changes.
#[derive(Debug, Clone)]
pub struct Herald(UnboundedSender<InForce>);

impl Herald {
    /// One that tells it there.
    pub fn new(sender: UnboundedSender<InForce>) -> Self {
        Self(sender)
    }

    pub(super) fn tell(&self, plane: &'static str, news: ForceNews) {
        // Whoever listens ends only with the daemon.
        let _ = self.0.send(InForce { plane, news });
    }
}

/// What of the virtual addresses that a run may change is served.
pub(super) fn touched(extent: &Extent, known: &State, wanted: &State) -> BTreeMap<IpAddr, bool> {
    let Extent::Only(touched) = extent else { return BTreeMap::new() };
    let addresses: BTreeSet<IpAddr> = touched.tuples.iter().map(|tuple| tuple.address).collect();
    addresses.into_iter().map(|address| (address, serves(known, wanted, address))).collect()
}

/// All that is served.
pub(super) fn all(known: &State, wanted: &State) -> BTreeSet<IpAddr> {
    let mut addresses: Vec<IpAddr> = wanted.services.keys().map(|tuple| tuple.address).collect();
    addresses.dedup();
    addresses.into_iter().filter(|address| serves(known, wanted, *address)).collect()
}

/// True if the kernel, as far as is `known`, has the address where it is `wanted`, and behind one of its ports an endpoint
/// that takes new connections.
fn serves(known: &State, wanted: &State, address: IpAddr) -> bool {
    let (first, last) = Tuple::bounds(address);
    let at_its_place = wanted.vips.get(&address).is_none_or(|vip| known.vips.get(&address) == Some(vip));
    let balanced = |(tuple, wish): (&Tuple, &std::sync::Arc<Balanced>)| {
        let there = known.services.get(tuple).is_some_and(|there| takes_connections(there));
        // What is private serves this node's clients only.
        let private = wanted.packets.gates.private.contains(tuple);
        there && takes_connections(wish) && known.packets.tuples.contains(tuple) && !private
    };
    at_its_place && wanted.services.range(first..=last).any(balanced)
}

/// True if a destination gets new connections.
pub(super) fn takes_connections(balanced: &Balanced) -> bool {
    balanced.destinations.values().any(|weight| *weight != Some(0))
}
