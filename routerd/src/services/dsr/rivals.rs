//! Who gets a tuple that several Services want: pure.
//!
//! Among those with direct return it is decided as among others: what a load balancer's controller gave comes before what
//! somebody wrote, and the older Service before the newer. A Service without direct return comes before all of them: its
//! address is the node's, and the kernel throws away what a pod sends from there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::desired::{Virtual, Wish, tuple};
use super::takes;
use crate::cluster::Index;
use crate::cluster::objects::{ObjectName, Service};
use crate::services::desired::is_ours;
use crate::services::state::Tuple;
use crate::services::{Settings, external};

/// Each tuple with the Service that gets it and what that wants there, and the Services that do not get it.
pub(super) type Claims<'a> = BTreeMap<Tuple, (&'a ObjectName, &'a Virtual, Vec<&'a ObjectName>)>;

/// Decides for each tuple of `wishes`.
pub(super) fn decide(wishes: &BTreeMap<ObjectName, Wish>) -> Claims<'_> {
    let mut all: BTreeMap<Tuple, BTreeMap<_, &Virtual>> = BTreeMap::new();
    for (name, wish) in wishes {
        for (tuple, wanted) in &wish.tuples {
            all.entry(*tuple).or_default().insert((wanted.origin, wish.since, name), wanted);
        }
    }
    let mut decided = Claims::new();
    for (tuple, claims) in all {
        let mut names = claims.keys().map(|(_, _, name)| *name);
        if let Some((winner, wanted)) = names.next().zip(claims.values().next()) {
            decided.insert(tuple, (winner, wanted, names.collect()));
        }
    }
    decided
}

/// All addresses that a Service names.
pub(super) fn addresses(service: &Service) -> impl Iterator<Item = &IpAddr> {
    service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips)
}

/// Those of `tuples` that a Service has without direct return, with its name.
pub(super) fn taken(
    index: &Index,
    settings: &Settings,
    tuples: &BTreeMap<Tuple, Virtual>,
) -> BTreeMap<Tuple, ObjectName> {
    let wanted: BTreeSet<&IpAddr> = tuples.keys().map(|tuple| &tuple.address).collect();
    let concerned = |one: &&Service| addresses(one).any(|address| wanted.contains(address));
    let mut taken = BTreeMap::new();
    for one in index.services().values().map(AsRef::as_ref).filter(concerned).filter(|one| is_ours(one)) {
        let mut own = one.cluster_ips.clone();
        if !takes(one) {
            let external = external::addresses(settings, index, one, &mut Vec::new());
            own.extend(external.balancers.into_iter().chain(external.others));
        }
        let all = own.into_iter().flat_map(|address| one.ports.iter().map(move |port| tuple(address, port)));
        taken.extend(all.filter(|tuple| tuples.contains_key(tuple)).map(|tuple| (tuple, one.name.clone())));
    }
    taken
}
