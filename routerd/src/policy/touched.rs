//! Which pieces a change of the cluster touches. Pure.
//!
//! A piece too many costs a comparison, one too few would be a hole; so where old addresses are not known any more
//! (the index shows the state after the change) a piece counts as touched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::crowd;
use super::key::{NamedPort, PeerClass, PeerGroup, PolicyKey, PortScope};
use super::value::Direction;
use crate::cluster::objects::{Attachment, ContainerPort, Namespace, ObjectName, Pod};
use crate::cluster::{Change, Delta, Index, PolicyDelta, Side, Uses};

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
    let Some(name) = delta.any().map(|namespace| &namespace.name) else { return };
    let differs = |group: &&PeerGroup| {
        group.takes_namespace_labels(old.as_ref()) != group.takes_namespace_labels(new.as_ref())
    };
    let changed: BTreeSet<&PeerGroup> = index.groups().filter(differs).collect();
    keys.extend(changed.iter().map(|group| PolicyKey::Group((*group).clone())));
    for pod in index.pods_in(name) {
        let by_label = index.groups_by_label(pod);
        let changed: BTreeSet<PeerGroup> =
            by_label.filter(|group| changed.contains(group)).cloned().collect();
        if !changed.is_empty() {
            let now: BTreeSet<PeerGroup> = index.groups_of(pod).cloned().collect();
            let addresses = index.own_addresses(pod).into_iter().collect();
            in_crowds(index, &(&now ^ &changed), &now, &addresses, keys);
        }
    }
}

/// The policy, what it names, and the pods it judges or has judged.
fn policy(index: &Index, PolicyDelta { delta, crowds, named }: &PolicyDelta, keys: &mut BTreeSet<PolicyKey>) {
    let mut in_crowd: BTreeMap<Side, BTreeSet<PeerGroup>> = BTreeMap::new();
    for policy in delta.both() {
        let uses = Uses::of(policy);
        keys.insert(PolicyKey::Policy(policy.name.clone()));
        keys.extend(uses.ports.iter().cloned().map(PolicyKey::Ports));
        let judged = index.local_pods_in(&policy.name.namespace);
        let judged = judged.filter(|pod| policy.pods.matches(&pod.labels));
        keys.extend(judged.map(|pod| PolicyKey::Pod(pod.name.clone())));
        for direction in Direction::BOTH {
            let side = Side { subject: uses.subject.clone(), direction };
            if index.is_crowd(&side) || crowds.contains(&side) {
                in_crowd.entry(side).or_default().extend(of_direction(&uses, direction));
            }
        }
    }
    for (side, groups) in in_crowd {
        keys.insert(PolicyKey::Crowd(side.clone()));
        let changed: BTreeSet<_> =
            named.iter().filter(|(of, _)| *of == side).map(|(_, group)| group.clone()).collect();
        crowd::classes(index, &side, &groups - &changed, keys);
        crowd::renamed(index, &side, changed, keys);
    }
    // Of a group that others of the side name too, nothing but who uses it has changed.
    keys.extend(named.iter().map(|(_, group)| PolicyKey::Group(group.clone())));
    // Whether they are a crowd or are none any more, all policies of the side are now somewhere else.
    for side in crowds {
        if !index.is_crowd(side) {
            let judges = index.judges(&side.subject).filter_map(|policy| index.uses(&policy.name));
            let groups = judges.flat_map(|uses| of_direction(uses, side.direction));
            crowd::members(index, side, groups.collect(), keys);
        }
    }
    let subjects: BTreeSet<&PeerGroup> = crowds.iter().map(|side| &side.subject).collect();
    for subject in subjects {
        with_subject(index, subject, keys);
    }
}

/// The groups that the rules of a direction admit.
fn of_direction(uses: &Uses, direction: Direction) -> impl Iterator<Item = PeerGroup> {
    uses.groups.iter().filter(move |(of, _)| *of == direction).map(|(_, group)| group.clone())
}

/// All that the policies of a subject put into the kernel, but for the verdicts of pods.
pub(super) fn with_subject(index: &Index, subject: &PeerGroup, keys: &mut BTreeSet<PolicyKey>) {
    for policy in index.judges(subject) {
        index.uses(&policy.name).inspect(|uses| with_policy(&policy.name, uses, keys));
    }
    for side in Direction::BOTH.map(|direction| Side { subject: subject.clone(), direction }) {
        if index.is_crowd(&side) {
            crowd::keys(index, &side, keys);
        }
    }
}

/// A pod that was in some groups and is in others now, in what crowds know of their peers.
fn in_crowds(
    index: &Index,
    before: &BTreeSet<PeerGroup>,
    after: &BTreeSet<PeerGroup>,
    addresses: &BTreeSet<IpAddr>,
    keys: &mut BTreeSet<PolicyKey>,
) {
    let by_label = |group: &&PeerGroup| !group.is_broad();
    let users = before.union(after).filter(by_label).flat_map(|group| index.users_of_group(group));
    let sides: BTreeSet<&Side> = users.filter(|side| index.is_crowd(side)).collect();
    for side in sides {
        keys.extend(addresses.iter().map(|address| PolicyKey::Member(side.clone(), *address)));
        for groups in [before, after] {
            let named = groups.iter().filter(by_label).filter(|group| index.names_group(side, group));
            let class = PeerClass::of(named.cloned().collect());
            keys.extend(class.map(|class| PolicyKey::Class(side.clone(), class)));
        }
    }
}

/// A policy that becomes active, or ceases to be, brings or takes everything it names.
fn with_policy(name: &ObjectName, uses: &Uses, keys: &mut BTreeSet<PolicyKey>) {
    keys.insert(PolicyKey::Policy(name.clone()));
    keys.extend(uses.groups.iter().map(|(_, group)| PolicyKey::Group(group.clone())));
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
                with_subject(index, subject, keys);
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
    let changed =
        before.union(&after).filter(|group| moved || before.contains(group) != after.contains(group));
    keys.extend(changed.map(|group| PolicyKey::Group(group.clone())));
    if moved || before != after {
        in_crowds(index, &before, &after, &possible_addresses(index, old, new), keys);
    }
}

/// Every address that the pod may have or may have had.
fn possible_addresses(index: &Index, old: Option<&Pod>, new: Option<&Pod>) -> BTreeSet<IpAddr> {
    let objects = old.into_iter().chain(new);
    let attached = new.or(old).into_iter().flat_map(|pod| index.attachments_of(&pod.name));
    let attached = attached.flat_map(|attachment| attachment.addresses.iter().copied());
    objects.flat_map(|pod| pod.addresses.iter().copied()).chain(attached).collect()
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
            keys.extend(index.lists_with(&port).cloned().map(PolicyKey::Ports));
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
    for side in index.crowds() {
        keys.extend(addresses.iter().map(|address| PolicyKey::Member(side.clone(), *address)));
    }
    names.extend(addresses.iter().flat_map(|address| index.claimants(*address)).map(|pod| &pod.name));
    for other in names.into_iter().filter_map(|name| index.pods().get(name)) {
        pod(index, Some(other), Some(other), true, keys);
    }
}
