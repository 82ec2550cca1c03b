//! What policies that the plane takes together say of one packet. Pure.
//!
//! The kernel does not tell them apart, and what it holds decides. Which of them it is, is told by the same plane over the
//! same objects with each policy for itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::answer::{Judgement, Miss, Outcome, RuleName};
use super::judge::{Packet, Values, ask_policy, takes_group, takes_port};
use crate::cluster::Side;
use crate::policy::{NamedPorts, PeerClass, PeerGroup, PolicyKey, PolicyValue, Ports, Together};

/// Notes whether the policies of the side admit the packet.
pub(super) fn ask(packet: &Packet, side: &Side, values: &dyn Values, judgement: &mut Judgement) {
    let name = format!("the many policies for {side}");
    judgement.isolated_by.push(name.clone());
    let rule = |admits: &str| RuleName { policy: name.clone(), rule: 0, admits: admits.to_owned() };
    let key = PolicyKey::Crowd(side.clone());
    let refused = values.refused(&key);
    let Some(PolicyValue::Crowd(all)) = values.value(&key).filter(|_| refused.is_none()) else {
        let lacks = refused.map_or_else(
            || "the plane does not hold them yet".to_owned(),
            |why| format!("the kernel refused them, so they are closed: {why}"),
        );
        judgement.closest.push(Miss { rule: rule("nobody"), peer: false, port: false, lacks });
        return;
    };
    let classes = classes(packet, side, &all, values);
    let each = each(packet, side, values);
    let admitting: Vec<&Ports> = all.admitting(packet.peer).chain(&classes).collect();
    if admitting.iter().any(|ports| takes_port(packet, ports, values)) {
        if each.admitted_by.is_empty() {
            judgement.admitted_by.push(rule("it, one of them or more"));
        }
        judgement.admitted_by.extend(each.admitted_by);
        return;
    }
    judgement.closest.extend(each.closest);
    let peer = !admitting.is_empty();
    let lacks = if peer {
        format!("they admit {}, but not to {} {}", packet.peer, packet.protocol, packet.port)
    } else {
        format!("none of them names {}", packet.peer)
    };
    judgement.closest.push(Miss { rule: rule("its peers to their ports"), peer, port: false, lacks });
}

/// What the packet's peer is admitted to as a pod by label.
fn classes(packet: &Packet, side: &Side, all: &Together, values: &dyn Values) -> Vec<Ports> {
    let held = |key: PolicyKey| values.value(&key).filter(|_| values.refused(&key).is_none());
    let member = match held(PolicyKey::Member(side.clone(), packet.peer)) {
        Some(PolicyValue::Member(classes)) => Some(classes),
        _ => None,
    };
    let is_member = |group: &PeerGroup| takes_group(packet, group, values);
    let ports = |class| match held(PolicyKey::Class(side.clone(), class)) {
        Some(PolicyValue::Class(ports)) => Some(ports),
        _ => None,
    };
    all.classes(member.as_ref(), is_member).filter_map(ports).collect()
}

/// What each policy of the side says for itself.
fn each(packet: &Packet, side: &Side, values: &dyn Values) -> Judgement {
    let mut all = Judgement::new(Outcome::Refused, None, true, "");
    if let Some((policies, values)) = values.each_of(side) {
        for policy in &policies {
            ask_policy(packet, policy, values, &mut all);
        }
    }
    all
}

/// The keys of what a crowd's rules lead to, but for its members.
pub(super) fn led_to(all: &Together) -> Vec<PolicyKey> {
    let groups = all.groups.iter().cloned().map(PolicyKey::Group);
    groups.chain(all.every_port().flat_map(names).map(PolicyKey::Ports)).collect()
}

/// The lists of named ports among `ports`.
pub(super) fn names(ports: &Ports) -> Vec<NamedPorts> {
    match ports {
        Ports::All => Vec::new(),
        Ports::Any { names, .. } => names.iter().cloned().collect(),
    }
}

/// The keys of the side's members and classes among `values`.
pub(super) fn peers<'a>(
    side: &'a Side,
    values: &'a BTreeMap<PolicyKey, PolicyValue>,
) -> impl Iterator<Item = &'a PolicyKey> {
    // These come before all others of the side, in the order of keys.
    let first = [
        PolicyKey::Member(side.clone(), IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        PolicyKey::Class(side.clone(), PeerClass::default()),
    ];
    let is_of_side = move |key: &&PolicyKey| match key {
        PolicyKey::Member(of, _) | PolicyKey::Class(of, _) => of == side,
        _ => false,
    };
    first.into_iter().flat_map(move |first| values.range(first..).map(|(key, _)| key).take_while(is_of_side))
}
