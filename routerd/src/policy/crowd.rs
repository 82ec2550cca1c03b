//! Many policies that judge the same pods, taken together: what they admit as a whole. Pure.
//!
//! Each policy alone is a chain, and a new connection goes through all of them until one admits it. Where there are many
//! that would cost with their number. So what they admit is turned round: for each peer the ports to which any of them
//! admits it. A new connection then costs a lookup of its peer and one of its port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::blocks::{Range, admitted, merged};
use super::desired::ports;
use super::key::{PeerGroup, PolicyKey, PortScope};
use super::segments::segments;
use super::value::{PolicyValue, Ports, Together};
use crate::cluster::objects::{PolicyPeer, PolicyRule};
use crate::cluster::{Index, Side};

/// What the policies of the side admit, but for pods by label.
pub(super) fn together(index: &Index, side: &Side) -> Option<PolicyValue> {
    if !index.is_crowd(side) || !index.is_subject_here(&side.subject) {
        return None;
    }
    let scope = PortScope::of(side.direction);
    let mut all = Together::default();
    let mut blocks: BTreeMap<Ports, Vec<Range>> = BTreeMap::new();
    for policy in index.judges(&side.subject).filter(|policy| policy.invalid.is_none()) {
        for rule in policy.rules(side.direction).unwrap_or_default() {
            if rule.peers.is_empty() {
                add(&mut all.everybody, ports(&rule.ports, scope));
            }
            let ranges = ranges(rule);
            if !ranges.is_empty() {
                blocks.entry(ports(&rule.ports, scope)).or_default().extend(ranges);
            }
        }
    }
    for group in index.groups_of_crowd(side).filter(|group| group.is_broad()) {
        let mut of_group = None;
        index.granted(side, group).for_each(|list| add(&mut of_group, ports(list, scope)));
        all.groups.extend(of_group.map(|ports| (group.clone(), ports)));
    }
    let blocks: Vec<_> = blocks.into_iter().map(|(ports, ranges)| (merged(ranges), ports)).collect();
    match without_overlaps(&blocks) {
        Some(cut) => all.blocks = cut,
        None => all.layers = blocks,
    }
    Some(PolicyValue::Crowd(Arc::new(all)))
}

fn ranges(rule: &PolicyRule) -> Vec<Range> {
    admitted(rule.peers.iter().filter_map(|peer| match peer {
        PolicyPeer::Block { cidr, except } => Some((cidr, except.as_slice())),
        PolicyPeer::Pods { .. } => None,
    }))
}

fn add(sum: &mut Option<Ports>, more: Ports) {
    match sum {
        Some(sum) => sum.add(more),
        None => *sum = Some(more),
    }
}

/// The same with each address in one range; `None` where that would be too much work.
fn without_overlaps(blocks: &[(Vec<Range>, Ports)]) -> Option<Vec<(Range, Ports)>> {
    let (mut ranges, mut owners) = (Vec::new(), Vec::new());
    for (of_ports, ports) in blocks {
        ranges.extend(of_ports);
        owners.extend(of_ports.iter().map(|_| ports));
    }
    let ports = |places: BTreeSet<usize>| {
        let mut sum = None;
        let covering = places.into_iter().filter_map(|place| owners.get(place));
        covering.for_each(|ports| add(&mut sum, (*ports).clone()));
        sum
    };
    let pieces = segments(&ranges)?;
    Some(pieces.into_iter().filter_map(|(range, places)| Some((range, ports(places)?))).collect())
}

/// The ports to which the policies of the side admit whoever has the address, as a pod by label.
pub(super) fn member(index: &Index, side: &Side, address: IpAddr) -> Option<PolicyValue> {
    if !index.is_crowd(side) || !index.is_subject_here(&side.subject) {
        return None;
    }
    let mut sum = None;
    for pod in index.owners(address) {
        for group in index.groups_of(pod).filter(|group| !group.is_broad()) {
            index
                .granted(side, group)
                .for_each(|list| add(&mut sum, ports(list, PortScope::of(side.direction))));
        }
    }
    sum.map(PolicyValue::Member)
}

/// Everything of a side whose policies are a crowd.
pub(super) fn keys(index: &Index, side: &Side, keys: &mut BTreeSet<PolicyKey>) {
    keys.insert(PolicyKey::Crowd(side.clone()));
    index.groups_of_crowd(side).for_each(|group| members(index, side, group, keys));
}

/// The members of a group, for a side.
pub(super) fn members(index: &Index, side: &Side, group: &PeerGroup, keys: &mut BTreeSet<PolicyKey>) {
    if group.is_broad() {
        return;
    }
    let addresses = index.members(group).flat_map(|pod| index.own_addresses(pod));
    keys.extend(addresses.map(|address| PolicyKey::Member(side.clone(), address)));
}
