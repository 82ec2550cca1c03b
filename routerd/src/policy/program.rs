//! The chains that all packets go through, whatever the policies.
//!
//! ```text
//!  prerouting (-300)  by IPv6, from a bridge of pods, with an address of this node? ─► drop
//!
//!  forward (0)    replies? ─► accept ┐
//!  output  (0)    replies, from this node itself, a pod to itself? ─► accept ┤
//!  input   (110)  replies? ─► accept ┤ else
//!                                    ▼
//!  policy-egress    by source: a pod of ours ─► its chain: an admitting policy goes on below, else drop
//!                   not isolated ─► goes on below;  in our pod networks without a verdict ─► drop;  others go on
//!                                    ▼
//!  policy-ingress   by destination: a pod of ours ─► its chain: an admitting policy accepts, else drop
//!                   not isolated ─► accept;  in our pod networks without a verdict ─► drop;  others ─► accept
//! ```
//!
//! A packet is judged by its source's egress and then by its destination's ingress. The two share nothing, so that one
//! direction of a policy cannot open the other.
//!
//! IPVS takes a packet to a Service at INPUT (priorities 98 and 99), gives it its real destination and sends it through
//! OUTPUT, where it is judged. Our INPUT chain stands behind IPVS: what IPVS takes never gets there, and what it hands
//! to this node itself is seen with its real destination.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use kernel::nft::{
    Chain, ChainType, Comparison, CtState, DataType, Element, Expression, Field, Hook, PayloadBase, Register,
    Rule, Set, address_type, priority,
};
use prefix::{Family, Prefix};

use super::names;
use super::refusal::{self, Reason};
use super::value::Direction;
use crate::ruleset::{Ruleset, table};

/// Behind IPVS' hooks at INPUT (`NF_IP_PRI_NAT_SRC - 2` and `- 1`) and source NAT.
const INPUT_PRIORITY: i32 = priority::SRCNAT + 10;
/// `IPPROTO_TCP`, and in its header the byte of flags (RFC 9293 section 3.1): SYN, and FIN, RST and ACK.
const TCP: u8 = 6;
const TCP_FLAGS_OFFSET: u32 = 13;
const SYN: u8 = 0x02;
const OTHERS: u8 = 0x15;
/// In the header of IPv6 (RFC 8200 section 3): the hop limit, and the destination's first byte, 0xff of a group.
const HOP_LIMIT_OFFSET: u32 = 7;
const IP6_DESTINATION_OFFSET: u32 = 24;
/// `NFPROTO_IPV6`.
const NFPROTO_IPV6: u8 = 10;
/// Link-local unicast addresses (RFC 4291 section 2.5.6).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
const LINK_LOCAL_LENGTH: u8 = 10;
/// MLD queries, reports and ends; router solicitations; neighbour solicitations and advertisements; MLDv2 reports
/// (RFC 4443, RFC 4861, RFC 3810). Connection tracking leaves them alone, and no policy can mean to forbid them.
const NEIGHBOUR_TYPES: [u8; 7] = [130, 131, 132, 133, 135, 136, 143];

/// The verdict map of a direction and family.
pub(super) fn verdict_map(direction: Direction, family: Family) -> Set {
    Set::new(table().set(names::verdicts(direction, family)), [DataType::address(family)]).verdicts()
}

/// The set of this node's pod networks.
pub(super) fn network_set(family: Family) -> Set {
    Set::new(table().set(names::networks(family)), [DataType::address(family)]).intervals()
}

/// The set of pairs of a pod with itself: a pod cannot be isolated from itself, and reaches itself by a Service.
pub(super) fn self_set(family: Family) -> Set {
    let kind = DataType::address(family);
    Set::new(table().set(names::selves(family)), [kind, kind])
}

/// Chains and empty sets of the program.
pub(super) fn program() -> Ruleset {
    let types = Set::new(table().set(names::NEIGHBOUR_TYPES), [DataType::Icmp6Type]);
    let mut ruleset = Ruleset::default().set(types, NEIGHBOUR_TYPES.map(Element::new).into());
    for family in Family::BOTH {
        let sets = [
            verdict_map(Direction::Ingress, family),
            verdict_map(Direction::Egress, family),
            network_set(family),
            self_set(family),
        ];
        ruleset = sets.into_iter().fold(ruleset, |ruleset, set| ruleset.set(set, BTreeSet::new()));
    }
    let base = |name, hook, priority| Chain::base(table().chain(name), ChainType::Filter, hook, priority);
    let dispatch = |direction| Chain::new(table().chain(names::dispatch(direction)));
    refusal::add_to(ruleset)
        .chain(base(names::PREROUTING, Hook::Prerouting, priority::RAW), neighbours().into())
        .chain(base(names::FORWARD, Hook::Forward, priority::FILTER), entry(&[]))
        .chain(base(names::INPUT, Hook::Input, INPUT_PRIORITY), entry(&[]))
        .chain(base(names::OUTPUT, Hook::Output, priority::FILTER), entry(&own_traffic()))
        .chain(dispatch(Direction::Egress), dispatch_rules(Direction::Egress))
        .chain(dispatch(Direction::Ingress), dispatch_rules(Direction::Ingress))
}

/// A base chain: what needs no judgement, and then the judges.
fn entry(more: &[Rule]) -> Vec<Rule> {
    let mut rules = vec![Rule::new().state(CtState::ESTABLISHED | CtState::RELATED).accept()];
    rules.extend(neighbours());
    rules.extend_from_slice(more);
    rules.push(Rule::new().goto(names::dispatch(Direction::Egress)));
    rules
}

/// What neighbours on a link say to each other: no router has handed it on (RFC 4861 section 7.1), or it goes to a group,
/// which this node hands on for nobody. Else an isolated pod could talk with anybody in packets of these types.
fn neighbours() -> [Rule; 2] {
    let in_header = |offset, value| {
        let (base, to) = (PayloadBase::Network, Register::FIRST);
        Rule::new()
            .in_set(&[Field::Icmp6Type], names::NEIGHBOUR_TYPES)
            .then(Expression::Payload { base, offset, length: 1, to })
            .then(Expression::Compare { from: to, comparison: Comparison::Equal, data: vec![value] })
            .accept()
    };
    [in_header(HOP_LIMIT_OFFSET, 255), in_header(IP6_DESTINATION_OFFSET, 0xff)]
}

/// Link-local addresses of pods are nobody's: the cluster does not show which pod has which, so no policy could name
/// them. By its own an isolated pod would be reached by the others on the bridge, and with its own it would reach them and
/// the node. Other links of the node live by such addresses, so only these devices, the bridges of the pods, are meant.
pub(super) fn refuse_link_local(ruleset: &mut Ruleset, bridges: &BTreeSet<&str>) {
    let Ok(prefix) = Prefix::new(LINK_LOCAL.into(), LINK_LOCAL_LENGTH) else { return };
    let rule = |bridge: &str, direction: Direction| {
        let from_pods = Rule::new().equals(Field::InputName, bridge);
        match direction {
            Direction::Egress => from_pods.source(&prefix),
            Direction::Ingress => from_pods.destination(&prefix),
        }
        .verdict(refusal::verdict(Reason::Orphan, direction))
        .comment("a pod's link-local address")
    };
    for (chain, directions) in [(names::FORWARD, &Direction::BOTH[..]), (names::INPUT, &[Direction::Egress])]
    {
        let all =
            bridges.iter().flat_map(|bridge| directions.iter().map(|direction| rule(bridge, *direction)));
        before_judges(ruleset, chain, all.collect());
    }
}

/// A pod that takes an address of this node for its own would be judged as this node, which reaches all its pods. Linux drops
/// such IPv4 packets itself, and no IPv6 ones. It has to be before IPVS, behind which nobody sees where a packet came in. What
/// this node sends to a group comes back to it with its own address.
pub(super) fn refuse_own_addresses(ruleset: &mut Ruleset, bridges: &BTreeSet<&str>) {
    let Some(chain) = ruleset.chains.get_mut(names::PREROUTING) else { return };
    let (base, offset, to) = (PayloadBase::Network, IP6_DESTINATION_OFFSET, Register::FIRST);
    chain.rules.extend(bridges.iter().map(|bridge| {
        Rule::new()
            .equals(Field::InputName, *bridge)
            .equals(Field::NfProto, NFPROTO_IPV6)
            .then(Expression::Payload { base, offset, length: 1, to })
            .then(Expression::Compare { from: to, comparison: Comparison::NotEqual, data: vec![0xff] })
            .equals(Field::SourceType, address_type::LOCAL)
            .verdict(refusal::verdict(Reason::Orphan, Direction::Egress))
            .comment("a pod with an address of this node")
    }));
}

/// Adds rules to a base chain behind what needs no judgement.
fn before_judges(ruleset: &mut Ruleset, chain: &str, rules: Vec<Rule>) {
    let Some(filled) = ruleset.chains.get_mut(chain) else { return };
    let judges = filled.rules.len().saturating_sub(1);
    filled.rules.splice(judges..judges, rules);
}

/// Refuses TCP packets that belong to no tracked connection and begin none, wherever connections enter the judges.
///
/// Connection tracking would take up such a connection in its middle, in the direction of the packet it happens to see
/// first: a flow that was cut would live on if only the other direction is admitted.
pub(super) fn refuse_middles(ruleset: &mut Ruleset) {
    let (flags, register) = (TCP_FLAGS_OFFSET, Register::FIRST);
    let middle = Rule::new()
        .state(CtState::NEW)
        .protocol(TCP)
        .then(Expression::Payload { base: PayloadBase::Transport, offset: flags, length: 1, to: register })
        .then(Expression::Bitwise { from: register, to: register, mask: vec![SYN | OTHERS], xor: vec![0] })
        .then(Expression::Compare { from: register, comparison: Comparison::NotEqual, data: vec![SYN] })
        .goto(names::MIDDLE);
    refusal::add_middle(ruleset);
    for chain in [names::FORWARD, names::INPUT, names::OUTPUT] {
        before_judges(ruleset, chain, vec![middle.clone()]);
    }
}

/// Only in OUTPUT: what IPVS forwards has a pod or an outside address for its source there.
fn own_traffic() -> Vec<Rule> {
    let this_node = Rule::new().equals(Field::SourceType, address_type::LOCAL).accept();
    let itself = Family::BOTH.map(|family| {
        Rule::new()
            .in_set(&[Field::source(family), Field::destination(family)], names::selves(family))
            .accept()
    });
    [this_node.comment("this node reaches its pods: probes of the kubelet")]
        .into_iter()
        .chain(itself)
        .collect()
}

fn dispatch_rules(direction: Direction) -> Vec<Rule> {
    let field = |family| match direction {
        Direction::Ingress => Field::destination(family),
        Direction::Egress => Field::source(family),
    };
    let kind = match direction {
        Direction::Ingress => Field::DestinationType,
        Direction::Egress => Field::SourceType,
    };
    let mut rules: Vec<Rule> = Family::BOTH
        .map(|family| Rule::new().verdict_map(&[field(family)], names::verdicts(direction, family)))
        .into();
    // The bridge's own address lies in the pod network too.
    rules.extend(Family::BOTH.map(|family| {
        Rule::new()
            .in_set(&[field(family)], names::networks(family))
            .differs(kind, address_type::LOCAL)
            .verdict(refusal::verdict(Reason::Orphan, direction))
            .comment("a pod address without a verdict")
    }));
    rules.push(match direction {
        Direction::Egress => Rule::new().goto(names::dispatch(Direction::Ingress)),
        Direction::Ingress => Rule::new().accept(),
    });
    rules
}
