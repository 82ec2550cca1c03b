//! From values to chains, sets and elements. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::nft::{Chain, DataType, Element, Field, Rule, Set, Verdict};
use prefix::Family;

use super::admit::Admit;
use super::key::PolicyKey;
use super::program::{network_set, self_set, verdict_map};
use super::refusal::{self, Reason};
use super::value::{Direction, Isolation, PodVerdict, PolicyValue, Rules, Together};
use super::{names, program, render_crowd};
use crate::cluster::Side;
use crate::cluster::objects::ObjectName;
use crate::ruleset::{FilledChain, Ruleset, table, without_overlaps};

/// What one value puts into the kernel. Several values may put the same object there: sets that are named by their
/// content, the chain of pods that the same policies judge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Chains with their rules, sets with their elements.
    pub(super) objects: Ruleset,
    /// Chains that rules here lead to and another value fills. Should it not, they are empty and admit nothing.
    pub(super) needs: BTreeSet<String>,
}

/// What `value` puts into the kernel.
pub(super) fn fragment(key: &PolicyKey, value: &PolicyValue) -> Fragment {
    match (key, value) {
        (PolicyKey::Base, PolicyValue::Base(networks)) => {
            let mut objects = program::program();
            for network in without_overlaps(networks.iter().flatten()) {
                insert(&mut objects, network_set(network.family()), Element::prefix(&network));
            }
            Fragment { objects, needs: BTreeSet::new() }
        }
        (PolicyKey::Pod(_), PolicyValue::Pod(verdict)) => pod(verdict),
        (PolicyKey::Policy(name), PolicyValue::Policy(rules)) => policy(name, rules),
        (PolicyKey::Group(group), PolicyValue::Group(addresses)) => {
            let mut objects = Ruleset::default();
            for family in Family::BOTH {
                let name = names::group(group.id(), family);
                let set =
                    Set::new(table().set(name), [DataType::address(family)]).comment(&group.to_string());
                let members = addresses.iter().filter(|address| Family::of(**address) == family);
                objects = objects.set(set, members.map(|address| Element::new(*address)).collect());
            }
            Fragment { objects, needs: BTreeSet::new() }
        }
        (PolicyKey::Ports(ports), PolicyValue::Ports(places)) => {
            let mut objects = Ruleset::default();
            for family in Family::BOTH {
                let key = [DataType::address(family), DataType::Protocol, DataType::Port];
                let set =
                    Set::new(table().set(names::named_ports(ports, family)), key).comment(&ports.to_string());
                let of_family = places.iter().filter(|(address, ..)| Family::of(*address) == family);
                objects = objects.set(set, of_family.map(|place| Element::new(*place)).collect());
            }
            Fragment { objects, needs: BTreeSet::new() }
        }
        (PolicyKey::Crowd(side), PolicyValue::Crowd(all)) => render_crowd::crowd(side, all),
        (PolicyKey::Member(side, address), PolicyValue::Member(classes)) => {
            render_crowd::member(side, *address, classes)
        }
        (PolicyKey::Class(side, class), PolicyValue::Class(ports)) => {
            render_crowd::class(side, class, Some(ports))
        }
        // A value under a key of another kind is nobody's.
        _ => Fragment::default(),
    }
}

/// Adds an element to a set, and the set if it is not there.
pub(super) fn insert(objects: &mut Ruleset, set: Set, element: Element) {
    let name = set.name.name.clone();
    if !objects.sets.contains_key(&name) {
        *objects = std::mem::take(objects).set(set, BTreeSet::new());
    }
    if let Some(filled) = objects.sets.get_mut(&name) {
        filled.elements.insert(element);
    }
}

fn pod(verdict: &PodVerdict) -> Fragment {
    let mut fragment = Fragment::default();
    for direction in Direction::BOTH {
        let what = judgement(&mut fragment, verdict, direction);
        let judged = verdict.addresses.iter().map(|address| (address, what.clone()));
        let unknown = refusal::verdict(Reason::Unknown, direction);
        let closed = verdict.closed.iter().map(|address| (address, unknown.clone()));
        for (address, verdict) in judged.chain(closed) {
            let family = Family::of(*address);
            let map = verdict_map(direction, family);
            insert(&mut fragment.objects, map, Element::new(*address).verdict(verdict));
            insert(&mut fragment.objects, refusal::counters(direction, family), Element::new(*address));
        }
    }
    for address in &verdict.addresses {
        let set = self_set(Family::of(*address));
        insert(&mut fragment.objects, set, Element::new((*address, *address)));
    }
    fragment
}

/// What happens to a pod's packets of a direction, with the chain that says it.
fn judgement(fragment: &mut Fragment, pod: &PodVerdict, direction: Direction) -> Verdict {
    let crowds: Vec<&Side> = pod.crowds_of(direction).collect();
    let policies = match pod.isolation(direction) {
        Isolation::Open => return Admit::new(direction).verdict(),
        Isolation::By(policies) if policies.is_empty() && crowds.is_empty() => {
            return refusal::verdict(Reason::Failed, direction);
        }
        Isolation::By(policies) => policies,
    };
    let name = names::judgement(policies, crowds.iter().copied(), direction);
    let alone = policies.iter().map(|policy| names::policy(policy, direction));
    let chains: Vec<String> = alone.chain(crowds.into_iter().map(names::crowd)).collect();
    let mut rules: Vec<Rule> = chains.iter().map(|chain| Rule::new().jump(chain.clone())).collect();
    rules.push(Rule::new().jump(names::refusal(Reason::NotAdmitted, direction)));
    rules.push(Rule::new().counter().drop().comment("no policy admits it"));
    fragment
        .objects
        .chains
        .insert(name.clone(), FilledChain { chain: Chain::new(table().chain(name.clone())), rules });
    fragment.needs.extend(chains);
    Verdict::Goto(name)
}

fn policy(name: &ObjectName, rules: &Rules) -> Fragment {
    let mut fragment = Fragment::default();
    for direction in Direction::BOTH {
        let Some(admissions) = rules.of(direction) else { continue };
        let mut admit = Admit::new(direction);
        for admission in admissions {
            admit.add(admission);
        }
        let chain_name = names::policy(name, direction);
        let side = match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let chain = Chain::new(table().chain(chain_name.clone())).comment(&format!("{side} of {name}"));
        fragment.objects.sets.append(&mut admit.sets);
        fragment.objects.chains.insert(chain_name, FilledChain { chain, rules: admit.rules });
    }
    fragment
}

/// Old and new without what both have, where a value may be large: a peer more or less in a group of thousands is then
/// rendered alone. The sets themselves are in both.
pub(super) fn trimmed(old: &PolicyValue, new: &PolicyValue) -> Option<(PolicyValue, PolicyValue)> {
    fn less<T: Ord + Clone>(one: &BTreeSet<T>, other: &BTreeSet<T>) -> Arc<BTreeSet<T>> {
        Arc::new(one.difference(other).cloned().collect())
    }
    Some(match (old, new) {
        (PolicyValue::Group(old), PolicyValue::Group(new)) => {
            (PolicyValue::Group(less(old, new)), PolicyValue::Group(less(new, old)))
        }
        (PolicyValue::Ports(old), PolicyValue::Ports(new)) => {
            (PolicyValue::Ports(less(old, new)), PolicyValue::Ports(less(new, old)))
        }
        _ => return None,
    })
}

/// What is left of a value that the kernel refuses: nobody is admitted by it.
pub(super) fn closed(key: &PolicyKey, value: &PolicyValue) -> Fragment {
    match (key, value) {
        (PolicyKey::Policy(name), PolicyValue::Policy(rules)) => policy(name, &rules.without_admissions()),
        (_, PolicyValue::Pod(verdict)) => pod(&verdict.closed()),
        (PolicyKey::Crowd(side), PolicyValue::Crowd(_)) => render_crowd::crowd(side, &Together::default()),
        (_, PolicyValue::Member(_)) => Fragment::default(),
        (PolicyKey::Class(side, class), PolicyValue::Class(_)) => render_crowd::class(side, class, None),
        (_, PolicyValue::Group(_)) => fragment(key, &PolicyValue::Group(BTreeSet::new().into())),
        (_, PolicyValue::Ports(_)) => fragment(key, &PolicyValue::Ports(BTreeSet::new().into())),
        _ => fragment(key, value),
    }
}

/// The fields of a tuple in a set of named ports.
pub(super) fn tuple(family: Family) -> [Field; 3] {
    [Field::destination(family), Field::L4Proto, Field::DestinationPort]
}
