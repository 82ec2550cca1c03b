//! Many policies that judge the same pods, taken together: what they admit as a whole. Pure.
//!
//! Each policy alone is a chain, and a new connection goes through all of them until one admits it. Where there are many
//! that would cost with their number. So what they admit is turned round: pods fall into classes by the groups that the
//! policies name, and for each class there are the ports to which any of them admits it. A new connection then costs a
//! lookup of its peer's class and one of its port, and a policy that changes costs the classes it names, whatever number
//! of pods they have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::blocks::{Range, admitted, merged};
use super::desired::ports;
use super::key::{PeerClass, PeerGroup, PolicyKey, PortScope};
use super::segments::segments;
use super::value::{PolicyValue, Ports, Together};
use crate::cluster::objects::Pod;
use crate::cluster::{CrowdPeer, Index, Side};

/// What the policies of the side admit, but for pods by label.
pub(super) fn together(index: &Index, side: &Side) -> Option<PolicyValue> {
    if !is_asked(index, side) {
        return None;
    }
    let scope = PortScope::of(side.direction);
    let mut all = Together::default();
    let mut blocks: BTreeMap<Ports, Vec<Range>> = BTreeMap::new();
    for (peer, lists) in index.granted(side) {
        match peer {
            CrowdPeer::Everybody => lists.each().for_each(|list| add(&mut all.everybody, ports(list, scope))),
            CrowdPeer::Block(cidr, except) => {
                let ranges = admitted([(cidr, except.as_slice())]);
                let of_ports = |list| blocks.entry(ports(list, scope)).or_default().extend(&ranges);
                lists.each().for_each(of_ports);
            }
            CrowdPeer::Group(group) if group.is_broad() => _ = all.groups.insert(group.clone()),
            CrowdPeer::Group(_) => {}
        }
    }
    let blocks: Vec<_> = blocks.into_iter().map(|(ports, ranges)| (merged(ranges), ports)).collect();
    match without_overlaps(&blocks) {
        Some(cut) => all.blocks = cut,
        None => all.layers = blocks,
    }
    Some(PolicyValue::Crowd(Arc::new(all)))
}

/// True if the policies of the side are a crowd, and judge a pod of this node.
fn is_asked(index: &Index, side: &Side) -> bool {
    index.is_crowd(side) && index.is_subject_here(&side.subject)
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

/// The groups by label that policies of the side name and the pod is in.
fn groups(index: &Index, side: &Side, pod: &Pod) -> BTreeSet<PeerGroup> {
    let named = |group: &&PeerGroup| !group.is_broad() && index.names_group(side, group);
    index.groups_of(pod).filter(named).cloned().collect()
}

/// The classes of those who have the address.
pub(super) fn member(index: &Index, side: &Side, address: IpAddr) -> Option<PolicyValue> {
    if !is_asked(index, side) {
        return None;
    }
    let class = |pod| PeerClass::of(groups(index, side, pod));
    let classes: BTreeSet<PeerClass> = index.owners(address).filter_map(|pod| class(pod)).collect();
    (!classes.is_empty()).then_some(PolicyValue::Member(classes))
}

/// The ports to which the policies of the side admit the class, if there is anybody in it.
pub(super) fn class(index: &Index, side: &Side, class: &PeerClass) -> Option<PolicyValue> {
    let first = class.groups().first()?;
    let is_one = |pod| groups(index, side, pod) == *class.groups();
    if !is_asked(index, side) || !(first.is_broad() || index.members(first).any(|pod| is_one(pod))) {
        return None;
    }
    let mut sum = None;
    for list in class.groups().iter().flat_map(|group| index.granted_to(side, group)) {
        add(&mut sum, ports(list, PortScope::of(side.direction)));
    }
    sum.map(PolicyValue::Class)
}

/// Everything of a side whose policies are a crowd.
pub(super) fn keys(index: &Index, side: &Side, keys: &mut BTreeSet<PolicyKey>) {
    keys.insert(PolicyKey::Crowd(side.clone()));
    for (peer, _) in index.granted(side) {
        if let CrowdPeer::Group(group) = peer {
            members(index, side, group, &BTreeSet::new(), keys);
        }
    }
}

/// The classes that are in the group, for a side.
pub(super) fn classes(index: &Index, side: &Side, group: &PeerGroup, keys: &mut BTreeSet<PolicyKey>) {
    if group.is_broad() {
        keys.insert(PolicyKey::Class(side.clone(), PeerClass::one(group.clone())));
        return;
    }
    let all: BTreeSet<_> = index.members(group).map(|pod| groups(index, side, pod)).collect();
    keys.extend(all.into_iter().filter_map(PeerClass::of).map(|class| PolicyKey::Class(side.clone(), class)));
}

/// The members of a group, for a side, and the classes they are in and were in before the policies of the side began to
/// name the groups of `changed` or ceased to. A broad group is a class, and its members are no values of their own.
pub(super) fn members(
    index: &Index,
    side: &Side,
    group: &PeerGroup,
    changed: &BTreeSet<PeerGroup>,
    keys: &mut BTreeSet<PolicyKey>,
) {
    if group.is_broad() {
        return classes(index, side, group, keys);
    }
    for pod in index.members(group) {
        let addresses = index.own_addresses(pod);
        keys.extend(addresses.into_iter().map(|address| PolicyKey::Member(side.clone(), address)));
        let changed =
            changed.iter().filter(|group| !group.is_broad() && group.takes(index, pod)).cloned().collect();
        both_classes(side, groups(index, side, pod), &changed, keys);
    }
}

/// The class of who is in these groups, and of who was before the `changed` ones were left or entered.
fn both_classes(
    side: &Side,
    groups: BTreeSet<PeerGroup>,
    changed: &BTreeSet<PeerGroup>,
    keys: &mut BTreeSet<PolicyKey>,
) {
    let before = (!changed.is_empty()).then(|| &groups ^ changed);
    let classes = [Some(groups), before].into_iter().flatten().filter_map(PeerClass::of);
    keys.extend(classes.map(|class| PolicyKey::Class(side.clone(), class)));
}
