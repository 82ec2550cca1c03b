//! Which Services a change concerns: pure.

use std::collections::BTreeSet;

use super::desired::Key;
use super::{external, pods, topology};
use crate::cluster::objects::{EndpointSlice, Node};
use crate::cluster::{Change, Delta, Index};

/// The keys whose value `change` may have changed; `None` are all.
pub(super) fn by(index: &Index, change: &Change) -> Option<BTreeSet<Key>> {
    match change {
        Change::Service(delta) => {
            Some(delta.any().map(|service| Key::Service(service.name.clone())).into_iter().collect())
        }
        Change::EndpointSlice(delta) => {
            Some(delta.both().filter_map(|slice| slice.service.clone()).map(Key::Service).collect())
        }
        Change::Node(delta) => by_node(index, delta),
        Change::Pod(delta) => Some(pods::concerns(index, delta).then_some(Key::Pods).into_iter().collect()),
        _ => Some(BTreeSet::new()),
    }
}

fn by_node(index: &Index, delta: &Delta<Node>) -> Option<BTreeSet<Key>> {
    let own = delta.any().is_some_and(|node| node.name == index.node_name());
    let network = |node: &Node| (node.addresses().collect::<Vec<_>>(), node.pod_cidrs.clone());
    let is_moved = delta.old.as_deref().map(network) != delta.new.as_deref().map(network);
    match (own, is_moved) {
        // Node ports are at its addresses, and endpoints may be told by its pod ranges.
        (true, true) => None,
        (true, false) => Some(by_zone(index, delta)),
        (false, true) => Some(by_other_node(index, delta)),
        (false, false) => Some(BTreeSet::new()),
    }
}

/// Only hints for zones are read by the node's zone.
fn by_zone(index: &Index, delta: &Delta<Node>) -> BTreeSet<Key> {
    let zone =
        |node: &Option<std::sync::Arc<Node>>| node.as_deref().and_then(topology::zone).map(str::to_owned);
    if zone(&delta.old) == zone(&delta.new) {
        return BTreeSet::new();
    }
    let is_hinted =
        |slice: &&EndpointSlice| slice.endpoints.iter().any(|endpoint| !endpoint.zone_hints().is_empty());
    let hinted = index.slices().values().map(AsRef::as_ref).filter(is_hinted);
    hinted.filter_map(|slice| slice.service.clone()).map(Key::Service).collect()
}

/// External addresses must not be those of a node or its pods.
fn by_other_node(index: &Index, delta: &Delta<Node>) -> BTreeSet<Key> {
    let services = index.services().values();
    let concerned = services.filter(|service| delta.both().any(|node| external::concerns(node, service)));
    concerned.map(|service| Key::Service(service.name.clone())).collect()
}
