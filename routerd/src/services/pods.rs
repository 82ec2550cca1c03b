//! This node's pods whose addresses lie in none of its pod ranges, as other network plugins give them: known by their
//! status, as the plane of policies knows them. They are clients of this node all the same: their source stays.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::nft::{DataType, Field, Rule, Set, Transaction};
use prefix::Family;

use super::plan::PacketChange;
use super::program::elements_of;
use crate::cluster::objects::Pod;
use crate::cluster::{Delta, Index};
use crate::ruleset::table;

/// The addresses of such pods, of `family`.
pub(super) fn set(family: Family) -> Set {
    let name = match family {
        Family::V4 => "services-pods",
        Family::V6 => "services-pods6",
    };
    Set::new(table().set(name), [DataType::address(family)])
}

/// For what comes from one of them.
pub(super) fn from_one(family: Family) -> Rule {
    Rule::new().in_set(&[Field::source(family)], set(family).name.name)
}

/// The addresses of `pod` outside of this node's ranges.
fn outside<'a>(index: &'a Index, pod: &'a Pod) -> impl Iterator<Item = IpAddr> + 'a {
    let ranges = index.own_node().map_or(&[][..], |node| &node.pod_cidrs);
    let in_range = move |address: &IpAddr| ranges.iter().any(|range| range.contains(*address));
    pod.addresses.iter().copied().filter(move |address| !in_range(address))
}

/// All such addresses.
pub(super) fn of(index: &Index) -> BTreeSet<IpAddr> {
    index.local_pods().flat_map(|pod| outside(index, pod)).collect()
}

/// True if a pod's change may have changed them.
pub(super) fn concerns(index: &Index, delta: &Delta<Pod>) -> bool {
    let here = |pod: &Pod| pod.node.as_deref() == Some(index.node_name());
    delta.both().any(|pod| here(pod) && !pod.host_network && outside(index, pod).next().is_some())
}

/// Writes a change.
pub(super) fn transaction(out: &mut Transaction, change: &PacketChange, family: Family) {
    let set = set(family);
    out.delete_elements(&set, elements_of(&change.remove_pods, family))
        .add_elements(&set, elements_of(&change.add_pods, family));
}
