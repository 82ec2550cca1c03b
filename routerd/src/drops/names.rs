//! Who has an address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use crate::cluster::Index;
use crate::cluster::objects::ObjectName;
use crate::cluster::task::Handle;

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Name {
    /// A pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A node, and so perhaps a pod in its network.
    Node {
        /// Its name.
        node: String,
    },
}

impl From<&ObjectName> for Name {
    fn from(pod: &ObjectName) -> Self {
        Name::Pod { namespace: pod.namespace.to_string(), name: pod.name.to_string() }
    }
}

/// Names by address; an address that nobody is known to have is left out.
pub(super) type Names = BTreeMap<IpAddr, Name>;

/// Asks the task that owns the index. Nothing before the first complete view.
pub(super) async fn ask(cluster: &Handle, addresses: BTreeSet<IpAddr>) -> Names {
    if addresses.is_empty() {
        return Names::new();
    }
    cluster.look(move |index| look(index, &addresses)).await.unwrap_or_default()
}

pub(super) fn look(index: &Index, addresses: &BTreeSet<IpAddr>) -> Names {
    addresses.iter().filter_map(|address| Some((*address, name(index, *address)?))).collect()
}

/// The pod that the plugin gave the address to, else the one whose status has it, else the node. What several have is
/// nobody's.
fn name(index: &Index, address: IpAddr) -> Option<Name> {
    if let Some((holder, others)) = index.holders(address).split_first() {
        return others.iter().all(|other| other == holder).then(|| holder.into());
    }
    let mut claimants = index.claimants(address).filter(|pod| !pod.host_network && !pod.finished);
    match (claimants.next(), claimants.next()) {
        (Some(pod), None) => Some((&pod.name).into()),
        (Some(_), Some(_)) => None,
        (None, _) => node(index, address),
    }
}

fn node(index: &Index, address: IpAddr) -> Option<Name> {
    let has = |addresses: &[IpAddr]| addresses.contains(&address);
    let found =
        index.nodes().values().find(|node| has(&node.internal_addresses) || has(&node.external_addresses))?;
    Some(Name::Node { node: found.name.clone() })
}
