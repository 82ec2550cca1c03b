//! Questions to the index that the plane asks.

use super::key::{NamedPort, PeerGroup};
use crate::cluster::objects::{NetworkPolicy, Pod};
use crate::cluster::{Index, Uses};

/// True if `policy` judges any pod of this node; the others need not be in its kernel.
pub(super) fn is_active(index: &Index, policy: &NetworkPolicy) -> bool {
    index.uses(&policy.name).is_some_and(|uses| index.is_subject_here(&uses.subject))
}

/// The policies that judge `pod`, if it is a pod of this node.
pub(super) fn judging<'a>(index: &'a Index, pod: &'a Pod) -> impl Iterator<Item = &'a NetworkPolicy> {
    let local = index.is_local(pod).then_some(pod);
    let subjects = local.into_iter().flat_map(|pod| index.subjects_of(&pod.name.namespace, &pod.labels));
    subjects.flat_map(|subject| index.judges(subject)).map(AsRef::as_ref)
}

/// True if the rules of an active policy name the group.
pub(super) fn is_group_used(index: &Index, group: &PeerGroup) -> bool {
    index.users_of_group(group).any(|subject| index.is_subject_here(subject))
}

/// True if the rules of an active policy name the port.
pub(super) fn is_port_used(index: &Index, port: &NamedPort) -> bool {
    index.users_of_port(port).any(|subject| index.is_subject_here(subject))
}

/// What the policies of this node's pods name, subject by subject.
pub(super) fn active(index: &Index) -> impl Iterator<Item = (&NetworkPolicy, &Uses)> {
    let here = index.subjects().filter(|subject| index.is_subject_here(subject));
    let policies = here.flat_map(|subject| index.judges(subject));
    policies.filter_map(|policy| Some((policy.as_ref(), index.uses(&policy.name)?)))
}
