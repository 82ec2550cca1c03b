//! The chains and maps of policies that are taken together. Pure.
//!
//! ```text
//!   policy-many-…        everybody's ports · whole namespaces ─► their class · the two maps · back to the judgement
//!   policy-peer4-…       address of a pod   ─► its class
//!   policy-class-…       the ports that a class of pods is admitted to, with the set of their numbers
//!   policy-range4-…      range of addresses ─► admitted, or its ports
//!   policy-ports-…       admits some ports, named by them: all ranges with the same ports share it
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::nft::{Chain, DataType, Element, Field, Rule, Set, Verdict};
use prefix::Family;

use super::admit::Admit;
use super::key::PeerClass;
use super::names;
use super::render::{Fragment, insert};
use super::value::{Admission, Direction, Peers, Ports, Together};
use crate::cluster::Side;
use crate::ruleset::{FilledChain, table};

fn peer_map(side: &Side, family: Family) -> Set {
    let name = names::crowd_peers(side, family);
    Set::new(table().set(name), [DataType::address(family)]).verdicts().comment(&side.to_string())
}

fn range_map(side: &Side, family: Family) -> Set {
    let name = names::crowd_ranges(side, family);
    Set::new(table().set(name), [DataType::address(family)]).verdicts().intervals().comment(&side.to_string())
}

/// The chain of a crowd, with its maps; peers by label come from values of their own.
pub(super) fn crowd(side: &Side, all: &Together) -> Fragment {
    let mut fragment = Fragment::default();
    let direction = side.direction;
    let mut admit = Admit::new(direction);
    if let Some(ports) = &all.everybody {
        admit.add(&Admission { peers: Peers::Everybody, ports: ports.clone() });
    }
    for family in Family::BOTH {
        let field = match direction {
            Direction::Ingress => Field::source(family),
            Direction::Egress => Field::destination(family),
        };
        for group in &all.groups {
            let chain = names::class(side, &PeerClass::one(group.clone()));
            fragment.needs.insert(chain.clone());
            admit.rules.push(Rule::new().in_set(&[field], names::group(group.id(), family)).jump(chain));
        }
        let map = |name| Rule::new().verdict_map(&[field], name);
        admit.rules.push(map(names::crowd_peers(side, family)));
        admit.rules.push(map(names::crowd_ranges(side, family)));
        declare(&mut fragment, peer_map(side, family));
        declare(&mut fragment, range_map(side, family));
    }
    for (ranges, ports) in &all.layers {
        let peers = Peers::Any { groups: BTreeSet::new(), ranges: ranges.clone() };
        admit.add(&Admission { peers, ports: ports.clone() });
    }
    for (range, ports) in &all.blocks {
        let verdict = ports_verdict(&mut fragment, direction, ports);
        let element = Element::range(range.first, range.last).verdict(verdict);
        insert(&mut fragment.objects, range_map(side, range.family()), element);
    }
    fill(&mut fragment, names::crowd(side), &format!("many policies: {side}"), admit);
    fragment
}

/// One peer of a crowd.
pub(super) fn member(side: &Side, address: IpAddr, classes: &BTreeSet<PeerClass>) -> Fragment {
    let mut fragment = Fragment::default();
    let chains: Vec<String> = classes.iter().map(|class| names::class(side, class)).collect();
    let chain = match chains.as_slice() {
        [one] => one.clone(),
        several => {
            let rules: Vec<Rule> = several.iter().map(|chain| Rule::new().jump(chain.clone())).collect();
            let name = names::ports(side.direction, &format!("{rules:?}"));
            let chain = Chain::new(table().chain(name.clone()));
            fragment.objects.chains.insert(name.clone(), FilledChain { chain, rules });
            name
        }
    };
    let element = Element::new(address).verdict(Verdict::Jump(chain));
    insert(&mut fragment.objects, peer_map(side, Family::of(address)), element);
    fragment.needs.extend(chains);
    fragment
}

/// The ports of a class of peers; `None` admits nothing.
pub(super) fn class(side: &Side, class: &PeerClass, ports: Option<&Ports>) -> Fragment {
    let mut fragment = Fragment::default();
    let mut admit = Admit::new(side.direction).with_numbers_in(names::class_numbers(side, class));
    if let Some(ports) = ports {
        admit.add(&Admission { peers: Peers::Everybody, ports: ports.clone() });
    }
    fill(&mut fragment, names::class(side, class), &format!("many policies, {class}: {side}"), admit);
    fragment
}

/// What admits the ports, with the chain that does.
fn ports_verdict(fragment: &mut Fragment, direction: Direction, ports: &Ports) -> Verdict {
    let mut admit = Admit::new(direction);
    if *ports == Ports::All {
        return admit.verdict();
    }
    admit.add(&Admission { peers: Peers::Everybody, ports: ports.clone() });
    let name = names::ports(direction, &format!("{:?}", admit.rules));
    if !fragment.objects.chains.contains_key(&name) {
        fill(fragment, name.clone(), "", admit);
    }
    Verdict::Jump(name)
}

fn declare(fragment: &mut Fragment, set: Set) {
    fragment.objects = std::mem::take(&mut fragment.objects).set(set, BTreeSet::new());
}

fn fill(fragment: &mut Fragment, name: String, comment: &str, mut admit: Admit) {
    let chain = Chain::new(table().chain(name.clone()));
    let chain = if comment.is_empty() { chain } else { chain.comment(comment) };
    fragment.objects.sets.append(&mut admit.sets);
    fragment.objects.chains.insert(name, FilledChain { chain, rules: admit.rules });
}
