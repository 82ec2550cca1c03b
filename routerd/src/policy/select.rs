//! Questions to the index that the plane asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::key::{NamedPort, PeerGroup, PortScope};
use crate::cluster::Index;
use crate::cluster::objects::{NetworkPolicy, ObjectName, Pod, PolicyPort, PolicyRule, PortMatch};

/// True if the pod's traffic is judged on this node.
pub(super) fn is_local(index: &Index, pod: &Pod) -> bool {
    let here = || pod.node.as_deref() == Some(index.node_name());
    let attached = || index.attachments_of(&pod.name).next().is_some();
    !pod.host_network && !pod.finished && (here() || attached())
}

/// True if `policy` judges `pod` on this node.
pub(super) fn judges(index: &Index, policy: &NetworkPolicy, pod: &Pod) -> bool {
    policy.name.namespace == pod.name.namespace && is_local(index, pod) && policy.pods.matches(&pod.labels)
}

/// True if `policy` judges any pod of this node; the others need not be in its kernel.
pub(super) fn is_active(index: &Index, policy: &NetworkPolicy) -> bool {
    pods_in(index, &policy.name.namespace).any(|pod| judges(index, policy, pod))
}

/// The pods of a namespace.
pub(super) fn pods_in<'a>(index: &'a Index, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
    from_namespace(index.pods(), namespace)
}

/// The policies of a namespace.
pub(super) fn policies_in<'a>(
    index: &'a Index,
    namespace: &'a str,
) -> impl Iterator<Item = &'a Arc<NetworkPolicy>> {
    from_namespace(index.policies(), namespace)
}

fn from_namespace<'a, T>(
    objects: &'a BTreeMap<ObjectName, Arc<T>>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a Arc<T>> {
    let first = ObjectName::new(namespace, "");
    objects.range(first..).take_while(move |(name, _)| name.namespace == namespace).map(|(_, object)| object)
}

/// Which pod holds an address by the word of the plugin, which is newer than any status. `None` if two do: one of the
/// attachments is stale, and until it is known which one the address is nobody's.
pub(super) type Holders<'a> = BTreeMap<IpAddr, Option<&'a ObjectName>>;

/// The holders of all addresses of this node's attachments.
pub(super) fn holders(index: &Index) -> Holders<'_> {
    let mut holders = Holders::new();
    for attachment in index.attachments().values() {
        for address in &attachment.addresses {
            let holder = holders.entry(*address).or_insert(Some(&attachment.pod));
            if *holder != Some(&attachment.pod) {
                *holder = None;
            }
        }
    }
    holders
}

/// The addresses that are the pod's own: a recycled one belongs to the pod that the plugin gave it to.
pub(super) fn addresses(index: &Index, pod: &Pod, holders: &Holders<'_>) -> BTreeSet<IpAddr> {
    let own = |address: &IpAddr| holders.get(address).is_none_or(|holder| *holder == Some(&pod.name));
    index.pod_addresses(pod).into_iter().filter(own).collect()
}

/// Every rule of the policy with its direction as the scope of the names of ports in it.
fn rules(policy: &NetworkPolicy) -> impl Iterator<Item = (PortScope, &PolicyRule)> {
    let ingress = policy.ingress.iter().flatten().map(|rule| (PortScope::Node, rule));
    let egress = policy.egress.iter().flatten().map(|rule| (PortScope::Cluster, rule));
    ingress.chain(egress)
}

/// The groups of pods that the policy's rules name.
pub(super) fn groups(policy: &NetworkPolicy) -> impl Iterator<Item = PeerGroup> {
    let peers = rules(policy).flat_map(|(_, rule)| &rule.peers);
    peers.filter_map(|peer| PeerGroup::of_peer(&policy.name.namespace, peer))
}

/// The named ports that the policy's rules name.
pub(super) fn named_ports(policy: &NetworkPolicy) -> impl Iterator<Item = NamedPort> {
    rules(policy).flat_map(|(scope, rule)| rule.ports.iter().filter_map(move |port| named_port(scope, port)))
}

/// The named port of a rule's entry; `None` for numbers.
pub(super) fn named_port(scope: PortScope, port: &PolicyPort) -> Option<NamedPort> {
    match &port.port {
        PortMatch::Name(name) => Some(NamedPort { scope, protocol: port.protocol, name: name.clone() }),
        _ => None,
    }
}

/// True if the rules of an active policy name the group.
pub(super) fn is_group_used(index: &Index, group: &PeerGroup) -> bool {
    let names_it = |policy: &NetworkPolicy| {
        let mut peers = rules(policy).flat_map(|(_, rule)| &rule.peers);
        peers.any(|peer| group.is_meant_by(&policy.name.namespace, peer))
    };
    index.policies().values().any(|policy| names_it(policy) && is_active(index, policy))
}

/// True if the rules of an active policy name the port.
pub(super) fn is_port_used(index: &Index, port: &NamedPort) -> bool {
    let names_it = |policy: &NetworkPolicy| named_ports(policy).any(|other| other == *port);
    index.policies().values().any(|policy| names_it(policy) && is_active(index, policy))
}
