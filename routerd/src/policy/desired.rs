//! From the index to what should be, piece by piece. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::blocks::admitted;
use super::key::{NamedPorts, PeerGroup, PolicyKey, PortScope};
use super::select::{is_active, is_group_used, is_port_used, sides};
use super::value::{Admission, Direction, Isolation, Peers, PodVerdict, PolicyValue, Ports, Rules};
use super::{crowd, touched};
use crate::cluster::objects::{
    NetworkPolicy, ObjectName, Pod, PolicyPeer, PolicyPort, PolicyRule, PortMatch,
};
use crate::cluster::{Change, Index, Side};
use crate::runner::Plane;

/// The pure half of the plane.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyPlane;

impl Plane for PolicyPlane {
    const NAME: &'static str = super::NAME;
    type Key = PolicyKey;
    type Value = PolicyValue;

    fn keys(&self, index: &Index) -> BTreeSet<PolicyKey> {
        let mut keys = BTreeSet::from([PolicyKey::Base]);
        keys.extend(index.attachments().values().map(|attachment| PolicyKey::Pod(attachment.pod.clone())));
        keys.extend(index.local_pods().map(|pod| PolicyKey::Pod(pod.name.clone())));
        for subject in index.subjects().filter(|subject| index.is_subject_here(subject)) {
            touched::with_subject(index, subject, &mut keys);
        }
        keys
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<PolicyKey> {
        touched::keys(index, change)
    }

    fn desired(&self, index: &Index, key: &PolicyKey) -> Option<PolicyValue> {
        match key {
            PolicyKey::Base => {
                Some(PolicyValue::Base(index.own_node().map(|node| node.pod_cidrs.iter().copied().collect())))
            }
            PolicyKey::Pod(name) => pod(index, name).map(PolicyValue::Pod),
            PolicyKey::Policy(name) => {
                let policy = index.policies().get(name).filter(|policy| is_active(index, policy))?;
                let subject = &index.uses(name)?.subject;
                Some(PolicyValue::Policy(policy_rules(index, policy, subject)))
            }
            PolicyKey::Group(group) => is_group_used(index, group).then(|| members(index, group)),
            PolicyKey::Ports(ports) => is_port_used(index, ports).then(|| places(index, ports)),
            PolicyKey::Crowd(side) => crowd::together(index, side),
            PolicyKey::Member(side, address) => crowd::member(index, side, *address),
            PolicyKey::Class(side, class) => crowd::class(index, side, class),
        }
    }
}

fn pod(index: &Index, name: &ObjectName) -> Option<PodVerdict> {
    let pod = index.pods().get(name).filter(|pod| index.is_local(pod));
    let judged: BTreeSet<_> =
        pod.map(|pod| index.own_addresses(pod).into_iter().collect()).unwrap_or_default();
    let attached = index.attachments_of(name).flat_map(|attachment| attachment.addresses.iter().copied());
    let closed: BTreeSet<_> = attached.filter(|address| !judged.contains(address)).collect();
    if judged.is_empty() && closed.is_empty() {
        return None;
    }
    let isolation =
        |direction| pod.map_or(Isolation::By(BTreeSet::new()), |pod| isolation(index, pod, direction));
    Some(PodVerdict {
        holders: judged.iter().map(|address| (*address, holders(index, name, *address))).collect(),
        addresses: judged,
        closed,
        ingress: isolation(Direction::Ingress),
        egress: isolation(Direction::Egress),
        crowds: pod.map(|pod| crowds(index, pod)).unwrap_or_default(),
    })
}

fn holders(index: &Index, name: &ObjectName, address: IpAddr) -> BTreeSet<String> {
    let attached = index.attachments_of(name).filter(|attachment| attachment.addresses.contains(&address));
    let containers: BTreeSet<_> = attached.map(|attachment| attachment.container.clone()).collect();
    if !containers.is_empty() {
        return containers;
    }
    index.pods().get(name).map(|pod| pod.uid.clone()).into_iter().collect()
}

fn crowds(index: &Index, pod: &Pod) -> BTreeSet<Side> {
    let all = Direction::BOTH.into_iter().flat_map(|direction| sides(index, pod, direction));
    all.filter(|side| index.is_crowd(side)).collect()
}

fn isolation(index: &Index, pod: &Pod, direction: Direction) -> Isolation {
    let mut names = BTreeSet::new();
    let mut is_open = true;
    for side in sides(index, pod, direction) {
        if index.is_crowd(&side) {
            is_open = false;
            continue;
        }
        let speaking = index.judges(&side.subject).filter(|policy| policy.rules(direction).is_some());
        names.extend(speaking.map(|policy| policy.name.clone()));
    }
    if is_open && names.is_empty() { Isolation::Open } else { Isolation::By(names) }
}

fn policy_rules(index: &Index, policy: &NetworkPolicy, subject: &PeerGroup) -> Rules {
    let of = |direction| {
        let rules = policy.rules(direction)?;
        if index.is_crowd(&Side { subject: subject.clone(), direction }) {
            return None;
        }
        if policy.invalid.is_some() {
            return Some(Vec::new());
        }
        let scope = PortScope::of(direction);
        Some(rules.iter().map(|rule| admission(index, &policy.name.namespace, rule, scope)).collect())
    };
    Rules { ingress: of(Direction::Ingress), egress: of(Direction::Egress), invalid: policy.invalid.clone() }
}

fn admission(index: &Index, namespace: &str, rule: &PolicyRule, scope: PortScope) -> Admission {
    Admission { peers: peers(index, namespace, rule), ports: ports(&rule.ports, scope) }
}

fn peers(index: &Index, namespace: &str, rule: &PolicyRule) -> Peers {
    if rule.peers.is_empty() {
        return Peers::Everybody;
    }
    let blocks = rule.peers.iter().filter_map(|peer| match peer {
        PolicyPeer::Block { cidr, except } => Some((cidr, except.as_slice())),
        PolicyPeer::Pods { .. } => None,
    });
    let groups = rule.peers.iter().filter_map(|peer| PeerGroup::of_peer(namespace, peer));
    Peers::Any { groups: groups.map(|group| index.known_group(group)).collect(), ranges: admitted(blocks) }
}

/// The ports of a rule's list; none of them is all.
pub(super) fn ports(list: &[PolicyPort], scope: PortScope) -> Ports {
    if list.is_empty() {
        return Ports::All;
    }
    let numbers = list.iter().filter_map(|entry| match entry.port {
        PortMatch::Any => Some((entry.protocol, 0, u16::MAX)),
        PortMatch::Range(first, last) => Some((entry.protocol, first, last)),
        PortMatch::Name(_) => None,
    });
    let names = NamedPorts::of_list(scope, list);
    Ports::Any { numbers: numbers.collect(), names: names.into_iter().collect() }
}

fn members(index: &Index, group: &PeerGroup) -> PolicyValue {
    let addresses: BTreeSet<_> = index.members(group).flat_map(|pod| index.own_addresses(pod)).collect();
    PolicyValue::Group(addresses.into())
}

fn places(index: &Index, ports: &NamedPorts) -> PolicyValue {
    let mut found = BTreeSet::new();
    for port in ports.each() {
        for pod in index.pods_with_port(port.protocol, &port.name) {
            if port.scope == PortScope::Node && !index.is_local(pod) {
                continue;
            }
            let wanted =
                pod.ports.iter().filter(|has| has.protocol == port.protocol && has.name == port.name);
            for number in wanted.map(|has| has.number) {
                let place = |address| (address, port.protocol.number(), number);
                found.extend(index.own_addresses(pod).into_iter().map(place));
            }
        }
    }
    PolicyValue::Ports(found.into())
}
