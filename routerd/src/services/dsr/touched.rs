//! Which keys a change concerns: pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::desired::Key;
use super::rivals;
use crate::cluster::objects::{ObjectName, Pod, Service};
use crate::cluster::{Change, DIRECT_RETURN, Delta, Index};

/// The keys whose value `change` may have changed; `None` are all.
pub(super) fn by(index: &Index, change: &Change) -> Option<BTreeSet<Key>> {
    let keys = match change {
        Change::Service(delta) => by_service(index, delta),
        Change::EndpointSlice(delta) => {
            let names = delta.both().filter_map(|slice| slice.service.clone());
            // That a Service asks for it, or no longer, is a change of its own.
            names.filter(|name| index.returning().contains_key(name)).map(Key::Service).collect()
        }
        Change::Node(_) => return None,
        Change::Attachment(_) => [Key::Pods].into(),
        // It may isolate a backend of this node, or no longer; a policy speaks of pods of its own namespace.
        Change::NetworkPolicy(change) => {
            let policy = change.delta.any();
            policy.map(|policy| asking_in(index, &policy.name.namespace)).unwrap_or_default()
        }
        Change::Pod(delta) => by_pod(index, delta),
        _ => BTreeSet::new(),
    };
    Some(keys)
}

fn by_pod(index: &Index, delta: &Delta<Pod>) -> BTreeSet<Key> {
    let labels = |pod: &Option<Arc<Pod>>| pod.as_ref().map(|pod| pod.labels.clone());
    let is_other = labels(&delta.old) != labels(&delta.new);
    let here = delta.any().filter(|pod| is_other && pod.node.as_deref() == Some(index.node_name()));
    here.map(|pod| asking_in(index, &pod.name.namespace)).unwrap_or_default()
}

/// Itself if it asks for it, and those that it may take a tuple from or leave one to.
fn by_service(index: &Index, delta: &Delta<Service>) -> BTreeSet<Key> {
    let asks = |service: &Service| service.annotations.contains_key(DIRECT_RETURN);
    let own = delta.any().filter(|_| delta.both().any(asks)).map(|service| service.name.clone());
    if index.returning().is_empty() {
        return own.map(Key::Service).into_iter().collect();
    }
    let addresses: BTreeSet<&IpAddr> = delta.both().flat_map(rivals::addresses).collect();
    let shares = |one: &Service| rivals::addresses(one).any(|address| addresses.contains(address));
    let rivals = index.returning().values().filter(|one| shares(one)).map(|one| one.name.clone());
    own.into_iter().chain(rivals).map(Key::Service).collect()
}

/// The Services of a namespace that ask for direct return.
fn asking_in(index: &Index, namespace: &str) -> BTreeSet<Key> {
    let all = index.returning().range(ObjectName::new(namespace, "")..);
    let all = all.take_while(|(name, _)| name.namespace == namespace);
    all.map(|(name, _)| Key::Service(name.clone())).collect()
}
