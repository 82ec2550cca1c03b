//! The part of the nft table `inet routerd` that one plane owns: its chains with their rules, its sets with their
//! elements. Planes compare what they want with what is there as values, and write only the difference.

use std::collections::{BTreeMap, BTreeSet};

use kernel::nft::{Chain, Element, Nft, Rule, Set, Table, TableFamily, TableName, Transaction};
use prefix::Prefix;

/// The name of the one table that routerd has.
const TABLE: &str = "routerd";

/// The table `inet routerd`.
pub fn table() -> TableName {
    TableName::new(TableFamily::Inet, TABLE)
}

/// A chain and its rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledChain {
    /// The chain.
    pub chain: Chain,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A set or map and its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledSet {
    /// The set.
    pub set: Set,
    /// Its elements.
    pub elements: BTreeSet<Element>,
}

/// What one plane has or wants in the table, by name. Chains may be entered by hooks but not by one another: a plane
/// whose chains jump keeps its own order of writing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Chains by name.
    pub chains: BTreeMap<String, FilledChain>,
    /// Sets by name.
    pub sets: BTreeMap<String, FilledSet>,
}

impl Ruleset {
    /// Adds a chain with its rules.
    #[must_use]
    pub fn chain(mut self, chain: Chain, rules: Vec<Rule>) -> Self {
        self.chains.insert(chain.name.name.clone(), FilledChain { chain, rules });
        self
    }

    /// Adds a set with its elements.
    #[must_use]
    pub fn set(mut self, set: Set, elements: BTreeSet<Element>) -> Self {
        self.sets.insert(set.name.name.clone(), FilledSet { set, elements });
        self
    }

    /// Reads what is in the kernel under names that begin with `prefix`.
    pub fn observe(nft: &mut Nft, prefix: &str) -> kernel::Result<Self> {
        Ok(Self::observe_unless(nft, prefix, &|| false)?.unwrap_or_default())
    }

    /// The same, given up as soon as `hurried` says so.
    pub fn observe_unless(
        nft: &mut Nft,
        prefix: &str,
        hurried: &dyn Fn() -> bool,
    ) -> kernel::Result<Option<Self>> {
        let mut found = Self::default();
        for listed in nft.list_chains(&table())? {
            if listed.chain.name.name.starts_with(prefix) {
                found = found.chain(listed.chain, Vec::new());
            }
        }
        if hurried() {
            return Ok(None);
        }
        for listed in nft.list_rules(&table())? {
            if let Some(filled) = found.chains.get_mut(&listed.chain.name) {
                filled.rules.push(listed.rule);
            }
        }
        for listed in nft.list_sets(&table())? {
            if hurried() {
                return Ok(None);
            }
            if let Some(set) = listed.set.filter(|set| set.name.name.starts_with(prefix)) {
                let elements = nft.list_elements(&set)?.into_iter().collect();
                found = found.set(set, elements);
            }
        }
        Ok(Some(found))
    }

    /// What makes `self` into `desired`: nothing if they are equal. Sets come before the rules that use them, and go
    /// after them.
    pub fn changes(&self, desired: &Self) -> Transaction {
        let mut transaction = Transaction::new();
        transaction.add_table(Table::new(TableFamily::Inet, TABLE));
        let head = transaction.len();
        for (name, wanted) in &desired.sets {
            self.change_set(&mut transaction, name, wanted);
        }
        for (name, wanted) in &desired.chains {
            self.change_chain(&mut transaction, name, wanted);
        }
        for (name, stale) in &self.chains {
            if !desired.chains.contains_key(name) {
                transaction.flush_chain(stale.chain.name.clone()).delete_chain(stale.chain.name.clone());
            }
        }
        for (name, stale) in &self.sets {
            if !desired.sets.contains_key(name) {
                transaction.delete_set(stale.set.name.clone());
            }
        }
        if transaction.len() == head { Transaction::new() } else { transaction }
    }

    fn change_set(&self, transaction: &mut Transaction, name: &str, wanted: &FilledSet) {
        let found = self.sets.get(name);
        if found.is_none() {
            transaction.add_set(wanted.set.clone());
        }
        let none = BTreeSet::new();
        let there = found.map_or(&none, |found| &found.elements);
        // Gone first: an interval that grew overlaps what it was.
        let gone: Vec<Element> = there.difference(&wanted.elements).cloned().collect();
        let new: Vec<Element> = wanted.elements.difference(there).cloned().collect();
        if !gone.is_empty() {
            transaction.delete_elements(&wanted.set, gone);
        }
        if !new.is_empty() {
            transaction.add_elements(&wanted.set, new);
        }
    }

    fn change_chain(&self, transaction: &mut Transaction, name: &str, wanted: &FilledChain) {
        let found = self.chains.get(name);
        if found.is_none() {
            transaction.add_chain(wanted.chain.clone());
        }
        if found.is_some_and(|found| found.rules == wanted.rules) {
            return;
        }
        if found.is_some_and(|found| !found.rules.is_empty()) {
            transaction.flush_chain(wanted.chain.name.clone());
        }
        for rule in &wanted.rules {
            transaction.add_rule(&wanted.chain.name, rule.clone());
        }
    }
}

/// The prefixes without those that another one covers: an interval set refuses overlaps.
pub fn without_overlaps<'a>(prefixes: impl IntoIterator<Item = &'a Prefix>) -> BTreeSet<Prefix> {
    let mut sorted: Vec<Prefix> = prefixes.into_iter().copied().collect();
    // A covering prefix sorts before what it covers: same or smaller address, and shorter.
    sorted.sort_by_key(|prefix| (prefix.family(), prefix.address(), prefix.length()));
    let mut kept: Vec<Prefix> = Vec::with_capacity(sorted.len());
    for prefix in sorted {
        if kept.last().is_none_or(|last| last.family() != prefix.family() || !last.covers(&prefix)) {
            kept.push(prefix);
        }
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use kernel::nft::{ChainType, DataType, Hook, priority};
    use kernel::testing::TestNs;

    use super::*;

    fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ruleset(elements: &[&str], drops: usize) -> Ruleset {
        let set = Set::new(table().set("test-set"), [DataType::address(prefix::Family::V4)]).intervals();
        let chain =
            Chain::base(table().chain("test-chain"), ChainType::Filter, Hook::Input, priority::FILTER);
        let rules = vec![Rule::new().in_set(&[kernel::nft::Field::Ip4Source], "test-set").drop(); drops];
        Ruleset::default()
            .set(set, prefixes(elements).iter().map(Element::prefix).collect())
            .chain(chain, rules)
    }

    #[test]
    fn a_prefix_inside_another_is_left_out() {
        let all = prefixes(&["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/16", "10.0.0.0/24", "::/0", "fd00::/8"]);
        assert_eq!(without_overlaps(&all), prefixes(&["10.0.0.0/8", "11.0.0.0/16", "::/0"]));
    }

    #[test]
    fn the_difference_brings_one_state_to_another_and_then_is_empty() {
        let namespace = TestNs::new("ruleset");
        namespace.run_in(|| {
            let mut nft = Nft::open().unwrap();
            let states = [
                ruleset(&["10.244.1.0/24", "10.244.2.0/24"], 1),
                ruleset(&["10.244.2.0/23", "10.9.9.9"], 2),
                ruleset(&[], 0),
                Ruleset::default(),
            ];
            for desired in states {
                let observed = Ruleset::observe(&mut nft, "test-").unwrap();
                nft.commit(&observed.changes(&desired)).unwrap();
                let after = Ruleset::observe(&mut nft, "test-").unwrap();
                assert_eq!(after, desired);
                assert!(after.changes(&desired).is_empty());
            }
        });
    }

    #[test]
    fn what_another_plane_owns_is_not_seen() {
        let namespace = TestNs::new("ruleset");
        namespace.run("nft", &["add table inet routerd; add chain inet routerd other-chain"]);
        namespace.run_in(|| {
            let mut nft = Nft::open().unwrap();
            assert_eq!(Ruleset::observe(&mut nft, "test-").unwrap(), Ruleset::default());
        });
    }
}
