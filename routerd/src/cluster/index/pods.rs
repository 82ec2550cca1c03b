//! From labels, ports and addresses to the pods that have them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::objects::{Attachment, ObjectName, Pod, Protocol};
use super::by_name::{ByName, Set};

/// The pods by what is asked for.
#[derive(Debug, Default)]
pub(super) struct PodsBy {
    /// By label: only keys that somebody asks for.
    labels: BTreeMap<String, ByLabel>,
    /// By named port.
    ports: BTreeMap<(Protocol, String), Set<Pod>>,
    /// By the addresses of their status.
    addresses: BTreeMap<IpAddr, Vec<ByName<Pod>>>,
    /// By the addresses that the plugin gave them, once for each attachment.
    attached: BTreeMap<IpAddr, Vec<ObjectName>>,
    /// The pods whose traffic is judged on this node.
    pub(super) local: BTreeSet<ObjectName>,
}

/// The pods that have a label, by its value.
#[derive(Debug, Default)]
struct ByLabel {
    users: usize,
    values: BTreeMap<String, Set<Pod>>,
}

impl ByLabel {
    fn put(&mut self, key: &str, pod: &Arc<Pod>, add: bool) {
        let Some(value) = pod.labels.get(key) else { return };
        relink(&mut self.values, value, pod, add);
    }
}

fn relink<K: Ord + Clone>(map: &mut BTreeMap<K, Set<Pod>>, key: &K, pod: &Arc<Pod>, add: bool) {
    if add {
        map.entry(key.clone()).or_default().insert(ByName(Arc::clone(pod)));
    } else if let Some(pods) = map.get_mut(key) {
        pods.remove(&pod.name);
        if pods.is_empty() {
            map.remove(key);
        }
    }
}

impl PodsBy {
    /// Takes in a pod, or takes it out as it was taken in.
    pub(super) fn put(&mut self, pod: &Arc<Pod>, add: bool) {
        for (key, labelled) in &mut self.labels {
            labelled.put(key, pod, add);
        }
        for port in &pod.ports {
            relink(&mut self.ports, &(port.protocol, port.name.clone()), pod, add);
        }
        for address in &pod.addresses {
            let claimants = self.addresses.entry(*address).or_default();
            claimants.retain(|other| other.0.name != pod.name);
            if add {
                claimants.push(ByName(Arc::clone(pod)));
            }
            if claimants.is_empty() {
                self.addresses.remove(address);
            }
        }
    }

    /// Takes in an attachment, or takes it out.
    pub(super) fn attach(&mut self, attachment: &Attachment, add: bool) {
        for address in &attachment.addresses {
            let holders = self.attached.entry(*address).or_default();
            if add {
                holders.push(attachment.pod.clone());
            } else if let Some(at) = holders.iter().position(|holder| *holder == attachment.pod) {
                holders.swap_remove(at);
            }
            if holders.is_empty() {
                self.attached.remove(address);
            }
        }
    }

    /// Somebody asks for the pods with the label `key`, or does so no more. `pods` is all of them.
    pub(super) fn ask<'a>(&mut self, key: &str, more: bool, pods: impl Iterator<Item = &'a Arc<Pod>>) {
        if let Some(labelled) = self.labels.get_mut(key) {
            labelled.users = if more { labelled.users + 1 } else { labelled.users.saturating_sub(1) };
            if labelled.users == 0 {
                self.labels.remove(key);
            }
        } else if more {
            let mut labelled = ByLabel { users: 1, values: BTreeMap::new() };
            pods.for_each(|pod| labelled.put(key, pod, true));
            self.labels.insert(key.to_owned(), labelled);
        }
    }

    /// True if pods with the label `key` can be told without a look at all.
    pub(super) fn is_asked(&self, key: &str) -> bool {
        self.labels.contains_key(key)
    }

    /// The pods with the label `key`, a set for each value that is asked for; `None` asks for all values.
    pub(super) fn labelled<'a>(
        &'a self,
        key: &str,
        values: Option<&'a [String]>,
    ) -> impl Iterator<Item = &'a Set<Pod>> {
        let labelled = self.labels.get(key);
        let all = labelled.filter(|_| values.is_none()).into_iter().flat_map(|by| by.values.values());
        let some = values.unwrap_or_default().iter();
        all.chain(some.filter_map(move |value| labelled.and_then(|by| by.values.get(value))))
    }

    /// The pods with a port of this name.
    pub(super) fn with_port(&self, protocol: Protocol, name: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.ports.get(&(protocol, name.to_owned())).into_iter().flatten().map(|pod| &pod.0)
    }

    /// The pods whose status has the address.
    pub(super) fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Pod>> {
        self.addresses.get(&address).into_iter().flatten().map(|pod| &pod.0)
    }

    /// The pods that the plugin gave the address to.
    pub(super) fn holders(&self, address: IpAddr) -> &[ObjectName] {
        self.attached.get(&address).map_or(&[], Vec::as_slice)
    }
}
