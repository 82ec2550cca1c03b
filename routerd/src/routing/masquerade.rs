//! Pods that talk to the outside do so with the node's address.
//!
//! Exactly what leaves the cluster is translated: from a pod range, to neither a pod range nor a node. The sets follow
//! the Node objects, so a packet to the pods of a node that has just joined keeps its source.

use std::collections::{BTreeMap, BTreeSet};

use kernel::nft::{Chain, ChainType, DataType, Element, Field, Hook, NatFlags, Rule, Set, priority};
use prefix::{Family, Prefix};

use super::desired::{Key, Value};
use crate::ruleset::{Ruleset, table, without_overlaps};

/// What this plane's chains and sets are called by.
pub(super) const PREFIX: &str = "routing-";
const CHAIN: &str = "routing-egress";

fn set_name(what: &str, family: Family) -> String {
    let digit = if family == Family::V4 { 4 } else { 6 };
    format!("{PREFIX}{what}{digit}")
}

fn interval_set(what: &str, family: Family, members: &BTreeSet<Prefix>) -> (Set, BTreeSet<Element>) {
    let of_family: Vec<Prefix> = members.iter().filter(|member| member.family() == family).copied().collect();
    let set = Set::new(table().set(set_name(what, family)), [DataType::address(family)]).intervals();
    (set, without_overlaps(&of_family).iter().map(Element::prefix).collect())
}

fn rule(family: Family) -> Rule {
    let (source, destination) = (Field::source(family), Field::destination(family));
    Rule::new()
        .in_set(&[source], set_name("pods", family))
        .not_in_set(&[destination], set_name("pods", family))
        .not_in_set(&[destination], set_name("nodes", family))
        // Random ports: two pods that use one source port must not meet on the way out.
        .masquerade(NatFlags::FULLY_RANDOM)
        .comment("pods leave the cluster with the node's address")
}

/// The chains and sets that should be.
pub(super) fn desired(all: &BTreeMap<Key, Value>) -> Ruleset {
    let Some(Value::Node(settings)) = all.get(&Key::Node) else { return Ruleset::default() };
    if !settings.egress {
        return Ruleset::default();
    }
    let (mut pods, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    for key in all.keys() {
        match key {
            Key::PodRange(range) => _ = pods.insert(*range),
            Key::NodeAddress(address) => _ = nodes.insert(Prefix::host(*address)),
            Key::Node | Key::Peer(_) | Key::Route(_) => {}
        }
    }
    let mut ruleset = Ruleset::default();
    for family in &settings.families {
        for (what, members) in [("pods", &pods), ("nodes", &nodes)] {
            let (set, elements) = interval_set(what, *family, members);
            ruleset = ruleset.set(set, elements);
        }
    }
    // After the services' chain at the same hook, which decides about what it marked.
    let chain = Chain::base(table().chain(CHAIN), ChainType::Nat, Hook::Postrouting, priority::SRCNAT + 5);
    ruleset.chain(chain, settings.families.iter().map(|family| rule(*family)).collect())
}
