//! What the values say of one flow, as the rules made of them do. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::key::{PeerGroup, PolicyKey};
use super::value::{Admission, Direction, Isolation, PodVerdict, PolicyValue, Ports};
use crate::cluster::Side;
use crate::cluster::objects::ObjectName;

/// A flow by its first packet, as the judging chains see that: the destination is the real one, behind a Service too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct First {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// The destination's port; 0 for protocols without ports.
    pub(super) port: u16,
    /// The IP protocol number.
    pub(super) protocol: u8,
}

impl First {
    /// Who is on the other end, as the judged pod sees it.
    fn peer(&self, direction: Direction) -> IpAddr {
        match direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }
}

/// The values, with the pods by address.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    values: &'a BTreeMap<PolicyKey, PolicyValue>,
    refused: &'a BTreeMap<PolicyKey, String>,
    /// A pod that the kernel refused has no verdict that admits.
    pods: BTreeMap<IpAddr, Vec<Option<&'a PodVerdict>>>,
}

impl<'a> Judge<'a> {
    /// Over `values`, of which the kernel refused some.
    pub(super) fn new(
        values: &'a BTreeMap<PolicyKey, PolicyValue>,
        refused: &'a BTreeMap<PolicyKey, String>,
    ) -> Self {
        let mut pods: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, value) in values {
            let PolicyValue::Pod(pod) = value else { continue };
            let verdict = (!refused.contains_key(key)).then_some(pod);
            pod.addresses.iter().for_each(|address| pods.entry(*address).or_default().push(verdict));
            pod.closed.iter().for_each(|address| pods.entry(*address).or_default().push(None));
        }
        Self { values, refused, pods }
    }

    /// True if a pod of this node begins or answers the flow, so that it is judged here.
    pub(super) fn concerns(&self, first: &First) -> bool {
        [first.source, first.destination].iter().any(|address| self.pods.contains_key(address))
    }

    /// True if neither its source's egress nor its destination's ingress refuses the flow.
    pub(super) fn admits(&self, first: &First) -> bool {
        // A pod always reaches itself.
        first.source == first.destination
            || [(Direction::Egress, first.source), (Direction::Ingress, first.destination)]
                .into_iter()
                .all(|(direction, own)| self.direction(first, direction, own))
    }

    fn direction(&self, first: &First, direction: Direction, own: IpAddr) -> bool {
        // What several pods claim is open if it is for all of them.
        self.pods.get(&own).into_iter().flatten().all(|pod| {
            pod.is_some_and(|pod| match pod.isolation(direction) {
                Isolation::Open => true,
                Isolation::By(policies) => {
                    policies.iter().any(|policy| self.policy(first, direction, policy))
                        || pod.crowds_of(direction).any(|side| self.crowd(first, side))
                }
            })
        })
    }

    fn policy(&self, first: &First, direction: Direction, name: &ObjectName) -> bool {
        let key = PolicyKey::Policy(name.clone());
        let Some(PolicyValue::Policy(rules)) = self.held(&key) else { return false };
        let rules = rules.of(direction).unwrap_or_default();
        rules.iter().any(|rule| self.admission(first, direction, rule))
    }

    /// Policies that are taken together.
    fn crowd(&self, first: &First, side: &Side) -> bool {
        let Some(PolicyValue::Crowd(all)) = self.held(&PolicyKey::Crowd(side.clone())) else { return false };
        let peer = first.peer(side.direction);
        let member = match self.held(&PolicyKey::Member(side.clone(), peer)) {
            Some(PolicyValue::Member(classes)) => Some(classes),
            _ => None,
        };
        let mut classes = all.classes(member, |group| self.is_member(group, peer));
        all.admitting(peer).any(|ports| self.ports(first, ports))
            || classes.any(|class| match self.held(&PolicyKey::Class(side.clone(), class)) {
                Some(PolicyValue::Class(ports)) => self.ports(first, ports),
                _ => false,
            })
    }

    /// What the kernel refused admits nobody.
    fn held(&self, key: &PolicyKey) -> Option<&PolicyValue> {
        self.values.get(key).filter(|_| !self.refused.contains_key(key))
    }

    fn is_member(&self, group: &PeerGroup, peer: IpAddr) -> bool {
        let group = self.held(&PolicyKey::Group(group.clone()));
        matches!(group, Some(PolicyValue::Group(members)) if members.contains(&peer))
    }

    fn admission(&self, first: &First, direction: Direction, rule: &Admission) -> bool {
        let peer = first.peer(direction);
        rule.peers.takes(peer, |group| self.is_member(group, peer)) && self.ports(first, &rule.ports)
    }

    fn ports(&self, first: &First, ports: &Ports) -> bool {
        let place = (first.destination, first.protocol, first.port);
        ports.takes(first.protocol, first.port, |name| {
            let places = self.held(&PolicyKey::Ports(name.clone()));
            matches!(places, Some(PolicyValue::Ports(places)) if places.contains(&place))
        })
    }
}

/// True if a change from `old` to `new` may refuse what was admitted before.
pub(super) fn narrows(old: Option<&PolicyValue>, new: Option<&PolicyValue>) -> bool {
    fn is_less<T: Ord>(old: &BTreeSet<T>, new: &BTreeSet<T>) -> bool {
        !old.is_subset(new)
    }
    match (old, new) {
        (Some(PolicyValue::Pod(old)), Some(PolicyValue::Pod(new))) => {
            (&old.ingress, &old.egress, &old.crowds) != (&new.ingress, &new.egress, &new.crowds)
        }
        (Some(PolicyValue::Group(old)), Some(PolicyValue::Group(new))) => is_less(old, new),
        (Some(PolicyValue::Ports(old)), Some(PolicyValue::Ports(new))) => is_less(old, new),
        (Some(PolicyValue::Base(_)) | None, _) => false,
        (old, new) => old != new,
    }
}
