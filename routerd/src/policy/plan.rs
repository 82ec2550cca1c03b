//! The difference of two states as one transaction. Pure.

use std::collections::BTreeSet;

use kernel::nft::{Element, Operation, Set, Table, Transaction};

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

    /// An element that stays begins anew: what its instructions have counted is not the new owner's.
    pub(super) fn renew(&mut self, set: &Set, element: Element) {
        self.transaction.delete_elements(set, vec![element.clone()]).add_elements(set, vec![element]);
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

/// A part of a transaction, and the place of each of its operations in the whole.
pub(super) type Step = (Transaction, Vec<usize>);

/// The transaction in one or two steps: what is new and nothing leads to yet, then the rest.
///
/// A packet that the kernel is judging while a commit becomes valid goes on with the rules of before, but finds the
/// elements of after. An element that leads to a chain of the same commit would lead it to a chain that is still empty,
/// and behind that to the hook's own verdict: accepted. A chain of an earlier commit has its rules for both.
pub(super) fn in_steps(all: &Transaction) -> Vec<Step> {
    let mut new = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for operation in all.operations() {
        match operation {
            Operation::AddSet(set) => new.insert((true, &*set.name.name)),
            Operation::AddChain(chain) => new.insert((false, &*chain.name.name)),
            Operation::FlushSet(name) | Operation::RemoveSet(name, _) => gone.insert((true, &*name.name)),
            Operation::FlushChain(name) | Operation::RemoveChain(name, _) => {
                gone.insert((false, &*name.name))
            }
            _ => false,
        };
    }
    let is_first = |operation: &Operation| match operation {
        Operation::AddSet(_) | Operation::AddChain(_) => true,
        Operation::AddElements(set, ..) => new.contains(&(true, &*set.name)),
        Operation::AddRule(chain, ..) => new.contains(&(false, &*chain.name)),
        _ => false,
    };
    let mut steps = [Step::default(), Step::default()];
    // What takes the name of something else cannot come before that has gone.
    let together = !new.is_disjoint(&gone);
    for (place, operation) in all.operations().iter().enumerate() {
        let wanted = match operation {
            Operation::AddTable(_) => [true, !together],
            other => [together || is_first(other), !together && !is_first(other)],
        };
        for ((part, places), _) in steps.iter_mut().zip(wanted).filter(|(_, wanted)| *wanted) {
            part.push(operation.clone());
            places.push(place);
        }
    }
    let does_something = |part: &Transaction| {
        part.operations().iter().any(|operation| !matches!(operation, Operation::AddTable(_)))
    };
    steps.into_iter().filter(|(part, _)| does_something(part)).collect()
}

/// True if the sets differ in nothing that matters; a comment does not.
fn is_same_set(a: &FilledSet, b: &FilledSet) -> bool {
    let bare = |filled: &FilledSet| {
        let set = &filled.set;
        (set.key.clone(), set.data.clone(), set.interval, set.timeouts, set.size, set.each.clone())
    };
    bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use kernel::nft::{Chain, DataType, Rule, Verdict};

    use super::*;

    fn map() -> Set {
        Set::new(table().set("policy-map"), [DataType::Ip4]).verdicts()
    }

    fn filled(set: Set, leads_to: &[&str]) -> FilledSet {
        let element = |chain: &&str| {
            let address = std::net::Ipv4Addr::new(10, 0, 0, u8::try_from(chain.len()).unwrap());
            Element::new(address).verdict(Verdict::Goto((*chain).to_owned()))
        };
        FilledSet { set, elements: leads_to.iter().map(element).collect() }
    }

    fn state(chains: &[&str]) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for name in chains {
            ruleset = ruleset.chain(Chain::new(table().chain(*name)), vec![Rule::new().drop()]);
        }
        ruleset.sets.insert("policy-map".to_owned(), filled(map(), chains));
        ruleset
    }

    fn names(step: &Step) -> Vec<String> {
        step.0.operations().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chain_has_its_rules_before_an_element_leads_to_it() {
        let plan = Plan::between(&state(&["policy-a"]), &state(&["policy-long"]));
        let steps = in_steps(&plan.transaction);
        assert_eq!(steps.len(), 2);
        let (first, second) = (names(&steps[0]).join("; "), names(&steps[1]).join("; "));
        assert!(
            first.contains("add chain") && first.contains("add rule") && !first.contains("element"),
            "{first}"
        );
        assert!(second.contains("1 element(s) to inet routerd policy-map"), "{second}");
        assert!(second.contains("policy-a") && !second.contains("add chain"), "{second}");
        for (part, places) in &steps {
            let same = |(operation, place): (&Operation, &usize)| {
                plan.transaction.operations()[*place] == *operation
            };
            assert!(part.operations().iter().zip(places).all(same));
        }
    }

    #[test]
    fn what_leads_to_nothing_new_and_what_is_all_new_is_one_step() {
        let all_new = Plan::between(&Ruleset::default(), &state(&["policy-a"]));
        assert_eq!(in_steps(&all_new.transaction).len(), 1);
        let (mut less, more) = (state(&["policy-a"]), state(&["policy-a"]));
        less.sets.insert("policy-map".to_owned(), filled(map(), &[]));
        assert_eq!(in_steps(&Plan::between(&less, &more).transaction).len(), 1);
        assert!(in_steps(&Transaction::new()).is_empty());
    }
}
