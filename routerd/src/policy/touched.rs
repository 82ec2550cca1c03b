//! Which pieces a change of the cluster touches. Pure.
//!
//! A piece too many costs a comparison, one too few would be a hole; so where old addresses are not known any more
//! (the index shows the state after the change) a piece counts as touched.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::key::{NamedPort, PeerGroup, PolicyKey, PortScope};
use crate::cluster::objects::{Attachment, ContainerPort, Namespace, NetworkPolicy, ObjectName, Pod};
use crate::cluster::{Change, Delta, Index, Uses};

/// The keys whose value `change` may have changed.
pub(super) fn keys(index: &Index, change: &Change) -> BTreeSet<PolicyKey> {
    let mut keys = BTreeSet::new();
    match change {
        Change::Node(delta) if delta.both().any(|node| node.name == index.node_name()) => {
            keys.insert(PolicyKey::Base);
        }
        Change::Namespace(delta) => namespace(index, delta, &mut keys),
        Change::Pod(delta) => pod(index, delta.old.as_deref(), delta.new.as_deref(), false, &mut keys),
        Change::NetworkPolicy(delta) => policy(index, delta, &mut keys),
        Change::Attachment(delta) => attachment(index, delta, &mut keys),
        _ => {}
    }
    keys
}

/// Groups that choose by the namespace's labels.
fn namespace(index: &Index, delta: &Delta<Namespace>, keys: &mut BTreeSet<PolicyKey>) {
    let labels = |namespace: Option<&Namespace>| namespace.map(|namespace| namespace.labels.clone());
    let (old, new) = (labels(delta.old.as_deref()), labels(delta.new.as_deref()));
    for (group, _) in index.groups() {
        if group.takes_namespace_labels(old.as_ref()) != group.takes_namespace_labels(new.as_ref()) {
            keys.insert(PolicyKey::Group(group.clone()));
        }
    }
}

/// The policy, what it names, and the pods it judges or has judged.
fn policy(index: &Index, delta: &Delta<NetworkPolicy>, keys: &mut BTreeSet<PolicyKey>) {
    for policy in delta.both() {
        with_policy(&policy.name, &Uses::of(policy), keys);
        let judged = index.local_pods_in(&policy.name.namespace);
        let judged = judged.filter(|pod| policy.pods.matches(&pod.labels));
        keys.extend(judged.map(|pod| PolicyKey::Pod(pod.name.clone())));
    }
}

/// A policy that becomes active, or ceases to be, brings or takes everything it names.
fn with_policy(name: &ObjectName, uses: &Uses, keys: &mut BTreeSet<PolicyKey>) {
    keys.insert(PolicyKey::Policy(name.clone()));
    keys.extend(uses.groups.iter().cloned().map(PolicyKey::Group));
    keys.extend(uses.ports.iter().cloned().map(PolicyKey::Ports));
}

/// The pod itself, the policies that begin or cease to judge it, the groups it enters or leaves, its named ports.
/// `moved` says that its addresses may have changed although its object has not.
fn pod(index: &Index, old: Option<&Pod>, new: Option<&Pod>, moved: bool, keys: &mut BTreeSet<PolicyKey>) {
    let Some(any) = new.or(old) else { return };
    let was_local = old.is_some_and(|pod| index.is_local(pod) || moved);
    let is_now_local = new.is_some_and(|pod| index.is_local(pod));
    if was_local || is_now_local {
        keys.insert(PolicyKey::Pod(any.name.clone()));
        let before = subjects(index, old.filter(|_| was_local));
        let after = subjects(index, new.filter(|_| is_now_local));
        for subject in before.union(&after) {
            // With an attachment the pod may have become local just now.
            let may_matter = before.contains(subject) != after.contains(subject) || moved;
            if may_matter && !others_speak(index, subject, any, after.contains(subject)) {
                for policy in index.judges(subject) {
                    index.uses(&policy.name).inspect(|uses| with_policy(&policy.name, uses, keys));
                }
            }
        }
    }
    let moved = moved || addresses_may_differ(old, new) || was_local != is_now_local;
    memberships(index, old, new, moved, keys);
    ports(index, old, new, moved, keys);
}

/// The subjects that the pod belongs to.
fn subjects(index: &Index, pod: Option<&Pod>) -> BTreeSet<PeerGroup> {
    let of = |pod: &Pod| index.subjects_of(&pod.name.namespace, &pod.labels).cloned().collect();
    pod.map(of).unwrap_or_default()
}

/// True if other pods of this node see to it that the subject's policies are touched, or need not be. The index may
/// show several pods that have joined at once, none of which was there before: the first of them by name speaks for all.
/// When a pod leaves, the policies stay active as long as anybody is left.
fn others_speak(index: &Index, subject: &PeerGroup, pod: &Pod, joins: bool) -> bool {
    index.local_pods_in(&pod.name.namespace).any(|other| {
        let counts = if joins { other.name < pod.name } else { other.name != pod.name };
        counts && subject.pods().matches(&other.labels)
    })
}

/// True unless both have the same addresses by what their objects say.
fn addresses_may_differ(old: Option<&Pod>, new: Option<&Pod>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    (&old.addresses, &old.uid, old.finished, old.host_network)
        != (&new.addresses, &new.uid, new.finished, new.host_network)
}

fn memberships(
    index: &Index,
    old: Option<&Pod>,
    new: Option<&Pod>,
    moved: bool,
    keys: &mut BTreeSet<PolicyKey>,
) {
    let of = |pod: Option<&Pod>| -> BTreeSet<PeerGroup> {
        pod.map(|pod| index.groups_of(pod).cloned().collect()).unwrap_or_default()
    };
    let (before, after) = (of(old), of(new));
    let touched =
        before.union(&after).filter(|group| moved || before.contains(group) != after.contains(group));
    keys.extend(touched.cloned().map(PolicyKey::Group));
}

fn ports(index: &Index, old: Option<&Pod>, new: Option<&Pod>, moved: bool, keys: &mut BTreeSet<PolicyKey>) {
    let of = |pod: Option<&Pod>| pod.map_or_else(Vec::new, |pod| pod.ports.clone());
    let (before, after) = (of(old), of(new));
    if !moved && before == after {
        return;
    }
    for ContainerPort { name, protocol, .. } in before.iter().chain(&after) {
        for scope in [PortScope::Node, PortScope::Cluster] {
            let port = NamedPort { scope, protocol: *protocol, name: name.clone() };
            if index.users_of_port(&port).next().is_some() {
                keys.insert(PolicyKey::Ports(port));
            }
        }
    }
}

/// The pod of the interface, and every pod that claims one of its addresses, by its status or by an attachment.
fn attachment(index: &Index, delta: &Delta<Attachment>, keys: &mut BTreeSet<PolicyKey>) {
    let addresses: BTreeSet<IpAddr> =
        delta.both().flat_map(|attachment| attachment.addresses.iter().copied()).collect();
    let mut names: BTreeSet<&ObjectName> = delta.both().map(|attachment| &attachment.pod).collect();
    names.extend(addresses.iter().flat_map(|address| index.holders(*address)));
    keys.extend(names.iter().map(|name| PolicyKey::Pod((*name).clone())));
    names.extend(addresses.iter().flat_map(|address| index.claimants(*address)).map(|pod| &pod.name));
    for other in names.into_iter().filter_map(|name| index.pods().get(name)) {
        pod(index, Some(other), Some(other), true, keys);
    }
}
