//! The rules that admit: from who and which ports to matches and lookups.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kernel::nft::{DataType, Element, Field, Rule, Set, Verdict};
use prefix::Family;

use super::blocks::Range;
use super::key::NamedPorts;
use super::names;
use super::render::tuple;
use super::value::{Admission, Direction, Peers, Ports};
use crate::cluster::objects::Protocol;
use crate::ruleset::{FilledSet, table};

/// Collects the rules of one direction of a policy and the sets that they look into.
///
/// A rule of a policy is every kind of its peers (each group, the address blocks) times every kind of its ports (the
/// numbers together, the names together), for each family that the two leave possible.
#[derive(Debug)]
pub(super) struct Admit {
    direction: Direction,
    /// The set of all numbers, if it has a name whatever is in it.
    numbers: Option<String>,
    pub(super) rules: Vec<Rule>,
    /// The rules that [`Admit::add`] has added: two that admit the same are one.
    known: HashSet<Rule>,
    pub(super) sets: BTreeMap<String, FilledSet>,
}

impl Admit {
    pub(super) fn new(direction: Direction) -> Self {
        Self { direction, numbers: None, rules: Vec::new(), known: HashSet::new(), sets: BTreeMap::new() }
    }

    /// The same for one admission, with a set of its own for the numbers of ports: what is added to many there costs what
    /// is added, but nobody else can use it.
    pub(super) fn with_numbers_in(self, set: String) -> Self {
        Self { numbers: Some(set), ..self }
    }

    /// Admitted egress goes on to the destination's ingress; admitted ingress is through.
    pub(super) fn verdict(&self) -> Verdict {
        match self.direction {
            Direction::Egress => Verdict::Goto(names::dispatch(Direction::Ingress).to_owned()),
            Direction::Ingress => Verdict::Accept,
        }
    }

    /// Adds what a rule of the policy admits.
    pub(super) fn add(&mut self, admission: &Admission) {
        let peers = self.peers(&admission.peers);
        let ports = self.ports(&admission.ports);
        for (peer_family, peer) in &peers {
            for (port_family, port) in &ports {
                if peer_family.is_some() && port_family.is_some() && peer_family != port_family {
                    continue;
                }
                let rule = port.apply(peer.apply(Rule::new())).verdict(self.verdict());
                if self.known.insert(rule.clone()) {
                    self.rules.push(rule);
                }
            }
        }
    }

    fn peer_field(&self, family: Family) -> Field {
        match self.direction {
            Direction::Ingress => Field::source(family),
            Direction::Egress => Field::destination(family),
        }
    }

    fn peers(&mut self, peers: &Peers) -> Vec<(Option<Family>, Match)> {
        let Peers::Any { groups, ranges } = peers else { return vec![(None, Match::All)] };
        let mut matches = Vec::new();
        for family in Family::BOTH {
            let field = self.peer_field(family);
            for group in groups {
                let set = names::group(group.id(), family);
                matches.push((Some(family), Match::InSet(vec![field], set)));
            }
            let ranges: Vec<Range> =
                ranges.iter().filter(|range| range.family() == family).copied().collect();
            if ranges.first().is_some_and(Range::is_everything) {
                matches.push((Some(family), Match::Family(family)));
            } else if !ranges.is_empty() {
                let set = self.block_set(family, &ranges);
                matches.push((Some(family), Match::InSet(vec![field], set)));
            }
        }
        matches
    }

    fn block_set(&mut self, family: Family, ranges: &[Range]) -> String {
        let name = names::content("blocks", &format!("{ranges:?}"));
        let set = Set::new(table().set(name.clone()), [DataType::address(family)]).intervals();
        let elements = ranges.iter().map(|range| Element::range(range.first, range.last)).collect();
        self.sets.insert(name.clone(), FilledSet { set, elements });
        name
    }

    fn ports(&mut self, ports: &Ports) -> Vec<(Option<Family>, Match)> {
        let Ports::Any { numbers, names } = ports else { return vec![(None, Match::All)] };
        let mut matches = Vec::new();
        match Vec::from_iter(numbers).as_slice() {
            [] => {}
            [(protocol, first, last)] => matches.push((None, Match::Ports(*protocol, *first, *last))),
            _ => {
                let set = self.number_set(numbers);
                matches.push((None, Match::InSet(vec![Field::L4Proto, Field::DestinationPort], set)));
            }
        }
        for name in names {
            matches.extend(Family::BOTH.map(|family| (Some(family), named(name, family))));
        }
        matches
    }

    fn number_set(&mut self, numbers: &BTreeSet<(Protocol, u16, u16)>) -> String {
        let merged = without_overlaps(numbers);
        let name = self.numbers.clone().unwrap_or_else(|| names::content("numbers", &format!("{merged:?}")));
        let set = Set::new(table().set(name.clone()), [DataType::Protocol, DataType::Port]).intervals();
        let element = |(protocol, first, last): &(Protocol, u16, u16)| {
            Element::range((protocol.number(), *first), (protocol.number(), *last))
        };
        self.sets.insert(name.clone(), FilledSet { set, elements: merged.iter().map(element).collect() });
        name
    }
}

fn named(ports: &NamedPorts, family: Family) -> Match {
    Match::InSet(tuple(family).to_vec(), names::named_ports(ports, family))
}

/// The kernel refuses overlapping ranges.
fn without_overlaps(numbers: &BTreeSet<(Protocol, u16, u16)>) -> Vec<(Protocol, u16, u16)> {
    let mut merged: Vec<(Protocol, u16, u16)> = Vec::new();
    for (protocol, first, last) in numbers {
        match merged.last_mut() {
            Some(before) if before.0 == *protocol && *first <= before.2.saturating_add(1) => {
                before.2 = before.2.max(*last);
            }
            _ => merged.push((*protocol, *first, *last)),
        }
    }
    merged
}

/// One condition of a rule.
#[derive(Debug)]
enum Match {
    All,
    Family(Family),
    InSet(Vec<Field>, String),
    Ports(Protocol, u16, u16),
}

impl Match {
    fn apply(&self, rule: Rule) -> Rule {
        match self {
            Match::All => rule,
            Match::Family(family) => rule.family(*family),
            Match::InSet(fields, set) => rule.in_set(fields, set.clone()),
            Match::Ports(protocol, 0, u16::MAX) => rule.protocol(protocol.number()),
            Match::Ports(protocol, first, last) if first == last => rule.to_port(protocol.number(), *first),
            Match::Ports(protocol, first, last) => {
                rule.protocol(protocol.number()).between(Field::DestinationPort, *first, *last)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ports_that_overlap_or_touch_are_one() {
        let numbers = [
            (Protocol::Tcp, 80, 80),
            (Protocol::Tcp, 1, 65535),
            (Protocol::Udp, 10, 20),
            (Protocol::Udp, 21, 30),
            (Protocol::Udp, 15, 16),
            (Protocol::Sctp, 15, 16),
        ];
        assert_eq!(
            without_overlaps(&numbers.into()),
            [(Protocol::Tcp, 1, 65535), (Protocol::Udp, 10, 30), (Protocol::Sctp, 15, 16)]
        );
    }
}
