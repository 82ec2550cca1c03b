//! Questions to the index that the plane asks.

use super::key::{NamedPorts, PeerGroup};
use super::value::Direction;
use crate::cluster::objects::{NetworkPolicy, Pod};
use crate::cluster::{Index, Side};

/// True if `policy` judges any pod of this node; the others need not be in its kernel.
pub(super) fn is_active(index: &Index, policy: &NetworkPolicy) -> bool {
    index.uses(&policy.name).is_some_and(|uses| index.is_subject_here(&uses.subject))
}

/// The sides of a pod of this node that policies speak of.
pub(super) fn sides<'a>(
    index: &'a Index,
    pod: &'a Pod,
    direction: Direction,
) -> impl Iterator<Item = Side> + 'a {
    let local = index.is_local(pod).then_some(pod);
    let subjects = local.into_iter().flat_map(|pod| index.subjects_of(&pod.name.namespace, &pod.labels));
    let sides = subjects.map(move |subject| Side { subject: subject.clone(), direction });
    sides.filter(|side| index.speaks_of(side))
}

/// True if policies say who may reach the pod, which is one of this node.
pub(crate) fn is_isolated(index: &Index, pod: &Pod) -> bool {
    sides(index, pod, Direction::Ingress).next().is_some()
}

/// True if the rules of an active policy ask for the group as a whole. A crowd knows its peers one by one.
pub(super) fn is_group_used(index: &Index, group: &PeerGroup) -> bool {
    let mut sides = index.users_of_group(group);
    sides.any(|side| (group.is_broad() || !index.is_crowd(side)) && index.is_subject_here(&side.subject))
}

/// True if a rule of an active policy names the ports.
pub(super) fn is_port_used(index: &Index, ports: &NamedPorts) -> bool {
    index.users_of_ports(ports).any(|side| index.is_subject_here(&side.subject))
}
