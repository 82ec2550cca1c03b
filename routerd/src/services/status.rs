//! What the plane counts and how its problems are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prefix::Family;

use super::NAME;
use super::desired::{At, VirtualService, Wish};
use super::state::Tuple;
use super::wanted::Wanted;
use crate::cluster::objects::ObjectName;
use crate::runner::Problem;

/// How many objects the plane holds, by kind.
pub(super) fn counts(wanted: &Wanted) -> BTreeMap<&'static str, u64> {
    let state = wanted.state();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    BTreeMap::from([
        ("services", count(wanted.services())),
        ("virtual services", count(state.services.len())),
        ("backends", count(wanted.backends())),
        ("virtual addresses", count(state.vips.len())),
        ("without backends", count(state.packets.refused.len())),
    ])
}

/// The item that problems of a Service are told under.
pub(super) fn item(name: &ObjectName) -> String {
    format!("Service {name}")
}

/// A problem of the plane as a whole.
pub(super) fn of_plane(message: impl Into<String>, retry: bool) -> Problem {
    Problem { item: NAME.to_owned(), message: message.into(), retry }
}

/// A problem of what all Services share that does not stop the plane.
pub(super) fn of_part(message: impl Into<String>, retry: bool) -> Problem {
    Problem { item: format!("{NAME} on this node"), message: message.into(), retry }
}

/// The kernel lets no virtual address of the family have its route.
pub(super) fn without_source(source: IpAddr) -> Problem {
    let family = Family::of(source);
    let message = format!(
        "virtual addresses of {family} cannot be reached from this node: their routes name {source} as the source, the first \
         {family} address of the Node object, and no device of this node has it; give a device the address, or the kubelet \
         one that is there (--node-ip)"
    );
    Problem { item: format!("{NAME} of {family} on this node"), message, retry: true }
}

/// What is wrong with the object of a Service; trying again does not help.
pub(super) fn of_object(name: &ObjectName, wish: &Wish, wanted: &Wanted) -> Vec<Problem> {
    let problem = |message| Problem { item: item(name), message, retry: false };
    let all = wish.problems.iter().cloned().chain(of_the_node(wish, wanted)).chain(lost(name, wanted));
    all.map(problem).collect()
}

/// Addresses that devices of the node have.
fn of_the_node(wish: &Wish, wanted: &Wanted) -> BTreeSet<String> {
    let told = |one: &VirtualService| {
        match one.at {
        At::Virtual(address) => wanted.device_of(address).map(|device| {
            format!("{address} is not programmed: device {device} of this node has it as its own; use another address")
        }),
        _ => None,
    }
    };
    wish.virtuals.iter().filter_map(told).collect()
}

/// What other Services have, one sentence for each of them: a node port can be at many addresses.
fn lost(name: &ObjectName, wanted: &Wanted) -> Vec<String> {
    let mut by_owner: BTreeMap<&ObjectName, (&Tuple, usize)> = BTreeMap::new();
    for (tuple, owner) in wanted.lost(name) {
        by_owner.entry(owner).or_insert((tuple, 0)).1 += 1;
    }
    let sentence = |(owner, (tuple, count))| {
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        format!(
            "{tuple}{more} is not programmed: Service {owner} has the same address and port, and what the API server \
             gives comes first, then what is older; give one of them another"
        )
    };
    by_owner.into_iter().map(sentence).collect()
}
