//! The difference of two states as one transaction. Pure.

use std::collections::BTreeSet;

use kernel::nft::{Element, Table, Transaction};

use crate::ruleset::{FilledChain, FilledSet, Ruleset, table};

/// What is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, all or none of which the kernel does.
    pub transaction: Transaction,
}

impl Plan {
    /// What brings the kernel from `observed` to `desired`. Equal states make an empty plan.
    ///
    /// The order is only for references: what is led to is there before what leads to it, and goes after it.
    pub fn between(observed: &Ruleset, desired: &Ruleset) -> Self {
        let mut plan = Self::default();
        if observed == desired {
            return plan;
        }
        let observed = plan.make_way(observed.clone(), desired);
        for (name, wanted) in &desired.sets {
            if !observed.sets.contains_key(name) {
                plan.transaction.add_set(wanted.set.clone());
            }
        }
        for (name, wanted) in &desired.chains {
            if !observed.chains.contains_key(name) {
                plan.transaction.add_chain(wanted.chain.clone());
            }
        }
        plan.elements(&observed, desired);
        plan.rules(&observed, desired);
        plan.leave(&observed, desired);
        plan.with_table()
    }

    /// Number of kernel writes.
    pub fn writes(&self) -> u64 {
        u64::try_from(self.transaction.len()).unwrap_or(u64::MAX)
    }

    /// Chains and sets that are there under a wanted name but are something else (an earlier version made them, or
    /// somebody who should not) are taken away, with all rules that could refer to them. Returns what is left.
    fn make_way(&mut self, mut observed: Ruleset, desired: &Ruleset) -> Ruleset {
        let other_set = |name: &str, found: &FilledSet| {
            desired.sets.get(name).is_some_and(|wanted| !is_same_set(found, wanted))
        };
        let other_chain = |name: &str, found: &FilledChain| {
            desired.chains.get(name).is_some_and(|wanted| wanted.chain.base != found.chain.base)
        };
        let sets: Vec<String> = observed
            .sets
            .iter()
            .filter(|(name, set)| other_set(name, set))
            .map(|(name, _)| name.clone())
            .collect();
        let chains: Vec<String> = observed
            .chains
            .iter()
            .filter(|(name, chain)| other_chain(name, chain))
            .map(|(name, _)| name.clone())
            .collect();
        if !sets.is_empty() {
            for found in observed.chains.values_mut() {
                self.transaction.flush_chain(found.chain.name.clone());
                found.rules.clear();
            }
        }
        for found in sets.iter().filter_map(|name| observed.sets.remove(name)) {
            self.transaction.delete_set(found.set.name);
        }
        for found in chains.iter().filter_map(|name| observed.chains.remove(name)) {
            self.transaction.flush_chain(found.chain.name.clone()).delete_chain(found.chain.name);
        }
        observed
    }

    fn elements(&mut self, observed: &Ruleset, desired: &Ruleset) {
        let none = BTreeSet::new();
        for (name, wanted) in &desired.sets {
            let there = observed.sets.get(name).map_or(&none, |found| &found.elements);
            let gone: Vec<Element> = there.difference(&wanted.elements).cloned().collect();
            let new: Vec<Element> = wanted.elements.difference(there).cloned().collect();
            // Gone first: an element that changed its verdict is both.
            self.transaction.delete_elements(&wanted.set, gone).add_elements(&wanted.set, new);
        }
    }

    fn rules(&mut self, observed: &Ruleset, desired: &Ruleset) {
        let there = |name: &str| observed.chains.get(name).map_or(&[][..], |found| &found.rules);
        let changed: Vec<(&String, &FilledChain)> =
            desired.chains.iter().filter(|(name, wanted)| there(name) != wanted.rules).collect();
        // All before any: rules of two chains may lead to one another the other way round afterwards.
        for (name, wanted) in &changed {
            if !there(name).is_empty() {
                self.transaction.flush_chain(wanted.chain.name.clone());
            }
        }
        for (_, wanted) in &changed {
            for rule in &wanted.rules {
                self.transaction.add_rule(&wanted.chain.name, rule.clone());
            }
        }
    }

    fn leave(&mut self, observed: &Ruleset, desired: &Ruleset) {
        let stale: Vec<_> =
            observed.chains.iter().filter(|(name, _)| !desired.chains.contains_key(*name)).collect();
        for (_, found) in stale.iter().filter(|(_, found)| !found.rules.is_empty()) {
            self.transaction.flush_chain(found.chain.name.clone());
        }
        for (name, found) in &observed.sets {
            if !desired.sets.contains_key(name) {
                self.transaction.delete_set(found.set.name.clone());
            }
        }
        for (_, found) in stale {
            self.transaction.delete_chain(found.chain.name.clone());
        }
    }

    /// Every transaction begins with the table, which changes nothing if it is there.
    fn with_table(self) -> Self {
        if self.transaction.is_empty() {
            return self;
        }
        let name = table();
        let mut transaction = Transaction::new();
        transaction.add_table(Table { name, comment: None }).append(self.transaction);
        Self { transaction }
    }
}

/// True if the sets differ in nothing that matters; a comment does not.
fn is_same_set(a: &FilledSet, b: &FilledSet) -> bool {
    let bare = |filled: &FilledSet| {
        let set = &filled.set;
        (set.key.clone(), set.data.clone(), set.interval, set.timeouts, set.size, set.each.clone())
    };
    bare(a) == bare(b)
}
