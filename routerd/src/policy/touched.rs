//! Which pieces a change of the cluster touches. Pure.
//!
//! A piece too many costs a comparison, one too few would be a hole; so where old addresses are not known any more
//! (the index shows the state after the change) a piece counts as touched.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::key::{PeerGroup, PolicyKey, peer_means};
use super::select::{self, groups, is_local, named_ports, pods_in, policies_in};
use crate::cluster::objects::{Attachment, Namespace, NetworkPolicy, Pod, PolicyPeer, PolicyRule};
use crate::cluster::{Change, Delta, Index};

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
    let (old, new) = (delta.old.as_deref(), delta.new.as_deref());
    for policy in index.policies().values() {
        for peer in peers(policy) {
            let PolicyPeer::Pods { namespaces: Some(selector), .. } = peer else { continue };
            let takes =
                |namespace: Option<&Namespace>| namespace.is_some_and(|n| selector.matches(&n.labels));
            if takes(old) != takes(new) {
                keys.extend(PeerGroup::of_peer(&policy.name.namespace, peer).map(PolicyKey::Group));
            }
        }
    }
}

/// The policy, what it names, and the pods it judges or has judged.
fn policy(index: &Index, delta: &Delta<NetworkPolicy>, keys: &mut BTreeSet<PolicyKey>) {
    for policy in delta.both() {
        with_policy(policy, keys);
        let judged = pods_in(index, &policy.name.namespace)
            .filter(|pod| policy.pods.matches(&pod.labels) && is_local(index, pod));
        keys.extend(judged.map(|pod| PolicyKey::Pod(pod.name.clone())));
    }
}

/// A policy that becomes active, or ceases to be, brings or takes everything it names.
fn with_policy(policy: &NetworkPolicy, keys: &mut BTreeSet<PolicyKey>) {
    keys.insert(PolicyKey::Policy(policy.name.clone()));
    keys.extend(groups(policy).map(PolicyKey::Group));
    keys.extend(named_ports(policy).map(PolicyKey::Ports));
}

/// The pod itself, the policies that begin or cease to judge it, the groups it enters or leaves, its named ports.
/// `moved` says that its addresses may have changed although its object has not.
fn pod(index: &Index, old: Option<&Pod>, new: Option<&Pod>, moved: bool, keys: &mut BTreeSet<PolicyKey>) {
    let Some(any) = new.or(old) else { return };
    let was_local = old.is_some_and(|pod| is_local(index, pod) || moved);
    let is_now_local = new.is_some_and(|pod| is_local(index, pod));
    if was_local || is_now_local {
        keys.insert(PolicyKey::Pod(any.name.clone()));
        for policy in policies_in(index, &any.name.namespace) {
            let judged = was_local && old.is_some_and(|pod| policy.pods.matches(&pod.labels));
            let judges = is_now_local && new.is_some_and(|pod| policy.pods.matches(&pod.labels));
            // With an attachment the pod may have become local just now.
            let may_matter = judged != judges || (moved && judges);
            if may_matter && !others_are_judged(index, policy, any) {
                with_policy(policy, keys);
            }
        }
    }
    let moved = moved || addresses_may_differ(old, new) || was_local != is_now_local;
    memberships(index, old, new, moved, keys);
    ports(index, old, new, moved, keys);
}

/// True if the policy judges a pod of this node besides `pod`, so that it is active whatever becomes of that one.
fn others_are_judged(index: &Index, policy: &NetworkPolicy, pod: &Pod) -> bool {
    pods_in(index, &policy.name.namespace)
        .any(|other| other.name != pod.name && select::judges(index, policy, other))
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
    for policy in index.policies().values() {
        let namespace = &policy.name.namespace;
        for peer in peers(policy) {
            let takes = |pod: Option<&Pod>| pod.is_some_and(|pod| peer_means(index, namespace, peer, pod));
            let (before, after) = (takes(old), takes(new));
            if before != after || (moved && after) {
                keys.extend(PeerGroup::of_peer(namespace, peer).map(PolicyKey::Group));
            }
        }
    }
}

fn ports(index: &Index, old: Option<&Pod>, new: Option<&Pod>, moved: bool, keys: &mut BTreeSet<PolicyKey>) {
    let of = |pod: Option<&Pod>| pod.map_or_else(Vec::new, |pod| pod.ports.clone());
    let (before, after) = (of(old), of(new));
    if before.is_empty() && after.is_empty() || !moved && before == after {
        return;
    }
    for policy in index.policies().values() {
        for port in named_ports(policy) {
            let has = |pod: &crate::cluster::objects::ContainerPort| {
                pod.name == port.name && pod.protocol == port.protocol
            };
            if before.iter().chain(&after).any(has) {
                keys.insert(PolicyKey::Ports(port));
            }
        }
    }
}

/// The pod of the interface, and every pod that claims one of its addresses, by its status or by an attachment.
fn attachment(index: &Index, delta: &Delta<Attachment>, keys: &mut BTreeSet<PolicyKey>) {
    let addresses: BTreeSet<IpAddr> =
        delta.both().flat_map(|attachment| attachment.addresses.iter().copied()).collect();
    let claims = |claimed: &[IpAddr]| claimed.iter().any(|address| addresses.contains(address));
    let mut names: BTreeSet<_> = delta.both().map(|attachment| &attachment.pod).collect();
    names.extend(index.attachments().values().filter(|one| claims(&one.addresses)).map(|one| &one.pod));
    keys.extend(names.iter().map(|name| PolicyKey::Pod((*name).clone())));
    for other in index.pods().values().filter(|pod| names.contains(&pod.name) || claims(&pod.addresses)) {
        pod(index, Some(other), Some(other), true, keys);
    }
}

fn peers(policy: &NetworkPolicy) -> impl Iterator<Item = &PolicyPeer> {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    rules.flat_map(|rule: &PolicyRule| &rule.peers)
}
