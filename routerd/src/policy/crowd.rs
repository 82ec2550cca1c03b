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
    if !is_asked(index, side) || !has_members(index, side, class) {
        return None;
    }
    let mut sum = None;
    for list in class.groups().iter().flat_map(|group| index.granted_to(side, group)) {
        add(&mut sum, ports(list, PortScope::of(side.direction)));
    }
    sum.map(PolicyValue::Class)
}

/// True if anybody is in the class; a broad group is one in any case. Its groups are gone through side by side: who is
/// in the class is in each of them, so the one with the fewest pods ends it.
fn has_members(index: &Index, side: &Side, class: &PeerClass) -> bool {
    let all = class.groups();
    if all.first().is_none_or(PeerGroup::is_broad) {
        return !all.is_empty();
    }
    let is_one = |pod| all.iter().all(|group| group.takes(index, pod)) && groups(index, side, pod) == *all;
    let mut members: Vec<_> = all.iter().map(|group| index.likely_members(group)).collect();
    loop {
        for of_group in &mut members {
            match of_group.next() {
                Some(pod) if is_one(pod) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }
}

/// Everything of a side whose policies are a crowd.
pub(super) fn keys(index: &Index, side: &Side, keys: &mut BTreeSet<PolicyKey>) {
    keys.insert(PolicyKey::Crowd(side.clone()));
    let groups = index.granted(side).filter_map(|(peer, _)| match peer {
        CrowdPeer::Group(group) => Some(group.clone()),
        _ => None,
    });
    members(index, side, groups.collect(), keys);
}

/// The classes that are in any of the groups, for a side.
pub(super) fn classes(
    index: &Index,
    side: &Side,
    groups: BTreeSet<PeerGroup>,
    keys: &mut BTreeSet<PolicyKey>,
) {
    each(index, side, groups, keys, |_, now, _, keys| with_class(side, now, keys));
}

/// The members of the groups, for a side, and the classes they are in. A broad group is a class, and its members are no
/// values of their own.
pub(super) fn members(
    index: &Index,
    side: &Side,
    groups: BTreeSet<PeerGroup>,
    keys: &mut BTreeSet<PolicyKey>,
) {
    each(index, side, groups, keys, |pod, now, _, keys| {
        with_addresses(index, side, pod, keys);
        with_class(side, now, keys);
    });
}

/// The same with the classes they were in before the policies of the side began to name these groups or ceased to.
pub(super) fn renamed(
    index: &Index,
    side: &Side,
    changed: BTreeSet<PeerGroup>,
    keys: &mut BTreeSet<PolicyKey>,
) {
    each(index, side, changed, keys, |pod, now, changed, keys| {
        with_addresses(index, side, pod, keys);
        with_class(side, &now ^ changed, keys);
        with_class(side, now, keys);
    });
}

/// Visits each pod that is in some of the groups once, with all groups of the side that it is in and with those.
fn each(
    index: &Index,
    side: &Side,
    of: BTreeSet<PeerGroup>,
    keys: &mut BTreeSet<PolicyKey>,
    visit: impl Fn(&Pod, BTreeSet<PeerGroup>, &BTreeSet<PeerGroup>, &mut BTreeSet<PolicyKey>),
) {
    let (broad, by_label): (BTreeSet<_>, BTreeSet<_>) = of.into_iter().partition(PeerGroup::is_broad);
    keys.extend(broad.into_iter().map(|group| PolicyKey::Class(side.clone(), PeerClass::one(group))));
    for (pod, among) in index.members_of_each(&by_label) {
        visit(pod, groups(index, side, pod), &among, keys);
    }
}

fn with_addresses(index: &Index, side: &Side, pod: &Pod, keys: &mut BTreeSet<PolicyKey>) {
    let addresses = index.own_addresses(pod);
    keys.extend(addresses.into_iter().map(|address| PolicyKey::Member(side.clone(), address)));
}

fn with_class(side: &Side, groups: BTreeSet<PeerGroup>, keys: &mut BTreeSet<PolicyKey>) {
    keys.extend(PeerClass::of(groups).map(|class| PolicyKey::Class(side.clone(), class)));
}
