//! What the values that the kernel's rules are rendered from say of one packet. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::answer::{Judgement, MOST_TOLD, Miss, Outcome, RuleName};
use super::crowd;
use crate::cluster::Side;
use crate::cluster::objects::{ObjectName, Protocol};
use crate::policy::{
    Admission, Direction, Isolation, NamedPorts, PeerGroup, Peers, PodVerdict, PolicyKey, PolicyValue, Ports,
    Rules,
};

/// Where values come from: what the plane of this node holds, or what another node's would.
pub(super) trait Values {
    /// The value of a key.
    fn value(&self, key: &PolicyKey) -> Option<PolicyValue>;
    /// Why the kernel refused it, if it did. It then admits nobody.
    fn refused(&self, key: &PolicyKey) -> Option<String>;
    /// The policies of a crowd, and values in which each of them has rules of its own, where there are such.
    fn each_of(&self, _side: &Side) -> Option<(Vec<ObjectName>, &dyn Values)> {
        None
    }
}

/// A packet as one direction of a pod's traffic.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// The direction, as the pod sees it.
    pub(super) direction: Direction,
    /// The pod that is judged.
    pub(super) pod: ObjectName,
    /// Its address.
    pub(super) own: IpAddr,
    /// The other address.
    pub(super) peer: IpAddr,
    /// The destination's port.
    pub(super) port: u16,
    /// The protocol.
    pub(super) protocol: Protocol,
    /// The node that decides.
    pub(super) node: Option<String>,
    /// It is this one.
    pub(super) here: bool,
}

impl Packet {
    fn destination(&self) -> IpAddr {
        match self.direction {
            Direction::Ingress => self.own,
            Direction::Egress => self.peer,
        }
    }

    fn judgement(&self, outcome: Outcome, why: impl Into<String>) -> Judgement {
        Judgement::new(outcome, self.node.clone(), self.here, why)
    }
}

/// Judges the packet.
pub(super) fn judge(packet: &Packet, values: &dyn Values) -> Judgement {
    let key = PolicyKey::Pod(packet.pod.clone());
    if let Some(why) = values.refused(&key) {
        return packet.judgement(Outcome::Refused, format!("the kernel refused the pod's verdict: {why}"));
    }
    let Some(PolicyValue::Pod(verdict)) = values.value(&key) else {
        return packet.judgement(
            Outcome::Refused,
            "the pod has no verdict yet, and what has none is dropped; wait until its address is known",
        );
    };
    if let Some(why) = closed(packet, &verdict) {
        return packet.judgement(Outcome::Refused, why);
    }
    match verdict.isolation(packet.direction) {
        Isolation::Open => {
            packet.judgement(Outcome::Admitted, "no policy isolates the pod in this direction")
        }
        Isolation::By(policies) => isolated(packet, &verdict, policies.iter(), values),
    }
}

fn closed(packet: &Packet, verdict: &PodVerdict) -> Option<String> {
    let own = packet.own;
    if verdict.closed.contains(&own) {
        return Some(format!(
            "{own} was given to a pod of this name that the cluster does not know (yet, or any more), so it is closed"
        ));
    }
    (!verdict.addresses.contains(&own)).then(|| {
        format!("{own} is not an address that the pod has by what the plugin said: another pod has it, or two claim it")
    })
}

fn isolated<'a>(
    packet: &Packet,
    verdict: &PodVerdict,
    policies: impl Iterator<Item = &'a ObjectName>,
    values: &dyn Values,
) -> Judgement {
    let mut judgement = packet.judgement(Outcome::Refused, "");
    for policy in policies {
        judgement.isolated_by.push(policy.to_string());
        ask_policy(packet, policy, values, &mut judgement);
    }
    for side in verdict.crowds_of(packet.direction) {
        crowd::ask(packet, side, values, &mut judgement);
    }
    if judgement.admitted_by.is_empty() {
        judgement.why = match judgement.isolated_by.len() {
            0 => "the pod is closed: the cluster does not know it".to_owned(),
            1 => "one policy isolates the pod in this direction and does not admit it".to_owned(),
            many => format!("{many} policies isolate the pod in this direction and none admits it"),
        };
    } else {
        judgement.outcome = Outcome::Admitted;
        judgement.why = match judgement.admitted_by.len() {
            count if count > MOST_TOLD => format!("{count} rules admit it; the first {MOST_TOLD} are told"),
            _ => "a policy admits it".to_owned(),
        };
        judgement.admitted_by.truncate(MOST_TOLD);
    }
    judgement.closest.sort_by_key(|miss| std::cmp::Reverse(u8::from(miss.peer) + u8::from(miss.port)));
    judgement.more = judgement.closest.len().saturating_sub(MOST_TOLD);
    judgement.closest.truncate(MOST_TOLD);
    judgement
}

/// Notes which rules of the policy admit the packet and what the others lack.
pub(super) fn ask_policy(
    packet: &Packet,
    policy: &ObjectName,
    values: &dyn Values,
    judgement: &mut Judgement,
) {
    let key = PolicyKey::Policy(policy.clone());
    let nobody = |lacks: String| Miss {
        rule: RuleName { policy: policy.to_string(), rule: 0, admits: "nobody".to_owned() },
        peer: false,
        port: false,
        lacks,
    };
    if let Some(why) = values.refused(&key) {
        return judgement
            .closest
            .push(nobody(format!("the kernel refused the policy, so it is closed: {why}")));
    }
    let rules = match values.value(&key) {
        Some(PolicyValue::Policy(rules)) => rules,
        _ => Rules::default(),
    };
    if let Some(why) = &rules.invalid {
        return judgement.closest.push(nobody(format!("the policy is invalid, so it is closed: {why}")));
    }
    let admissions = rules.of(packet.direction).unwrap_or_default();
    if admissions.is_empty() {
        judgement.closest.push(nobody("it has no rule for this direction".to_owned()));
    }
    for (place, admission) in admissions.iter().enumerate() {
        let peer = admission.peers.takes(packet.peer, |group| takes_group(packet, group, values));
        let port = takes_port(packet, &admission.ports, values);
        let rule = RuleName { policy: policy.to_string(), rule: place + 1, admits: describe(admission) };
        match (peer, port) {
            (true, true) => judgement.admitted_by.push(rule),
            _ => judgement.closest.push(Miss { rule, peer, port, lacks: lacks(packet, peer, port) }),
        }
    }
}

/// True if the packet's peer is a member of the group.
pub(super) fn takes_group(packet: &Packet, group: &PeerGroup, values: &dyn Values) -> bool {
    let key = PolicyKey::Group(group.clone());
    match values.value(&key) {
        Some(PolicyValue::Group(addresses)) => {
            addresses.contains(&packet.peer) && values.refused(&key).is_none()
        }
        _ => false,
    }
}

/// True if the packet goes to one of the ports.
pub(super) fn takes_port(packet: &Packet, ports: &Ports, values: &dyn Values) -> bool {
    let place = (packet.destination(), packet.protocol.number(), packet.port);
    ports.takes(packet.protocol.number(), packet.port, |names| {
        let key = PolicyKey::Ports(names.clone());
        match values.value(&key) {
            Some(PolicyValue::Ports(known)) => known.contains(&place) && values.refused(&key).is_none(),
            _ => false,
        }
    })
}

fn lacks(packet: &Packet, peer: bool, port: bool) -> String {
    let who = match packet.direction {
        Direction::Ingress => format!("{} is not among those it admits", packet.peer),
        Direction::Egress => format!("{} is not among those it leads to", packet.peer),
    };
    let what = format!("{} {} is not among its ports", packet.protocol, packet.port);
    match (peer, port) {
        (false, true) => format!("the port is right, but {who}"),
        (true, false) => format!("the peer is right, but {what}"),
        _ => format!("{who}, and {what}"),
    }
}

/// Whom a rule admits to which ports, in words.
fn describe(admission: &Admission) -> String {
    let mut text = String::new();
    match &admission.peers {
        Peers::Everybody => text.push_str("everybody"),
        Peers::Any { groups, ranges } => {
            let groups = groups.iter().map(ToString::to_string);
            let ranges = ranges.iter().map(|range| format!("{} to {}", range.first, range.last));
            text.push_str(&shortened(groups.chain(ranges)));
        }
    }
    match &admission.ports {
        Ports::All => text.push_str(", all ports"),
        Ports::Any { numbers, names } => {
            let numbers = numbers.iter().map(|(protocol, first, last)| match (*first, *last) {
                (0, u16::MAX) => format!("all of {protocol}"),
                (first, last) if first == last => format!("{protocol} {first}"),
                (first, last) => format!("{protocol} {first} to {last}"),
            });
            let names = names.iter().flat_map(NamedPorts::each);
            let names = names.map(|name| format!("{} named {}", name.protocol, name.name));
            // Writing to a text cannot fail.
            let _ = write!(text, ", {}", shortened(numbers.chain(names)));
        }
    }
    text
}

/// The first few, and how many more.
fn shortened(parts: impl Iterator<Item = String>) -> String {
    const MOST: usize = 4;
    let all: Vec<String> = parts.collect();
    match all.len() {
        0 => "nobody".to_owned(),
        count if count > MOST => format!("{} and {} more", all[..MOST].join(" or "), count - MOST),
        _ => all.join(" or "),
    }
}
