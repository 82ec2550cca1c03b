//! What two rule sets differ in. Pure.

use std::collections::BTreeMap;

use kernel::nft::{Element, Rule, Set};

use super::words::{base, rule as rule_in_words, set as set_in_words};
use super::{Difference, Fault};
use crate::policy::Plan;
use crate::ruleset::{FilledChain, FilledSet, Ruleset};

/// What is wrong in the kernel. It is empty exactly if the plane would write nothing.
pub(super) fn differences(observed: &Ruleset, wanted: &Ruleset) -> Vec<Difference> {
    let plan = Plan::between(observed, wanted);
    if plan.transaction.is_empty() {
        return Vec::new();
    }
    let mut found = Found::default();
    both(&observed.chains, &wanted.chains, |name, there, want| found.chain(name, there, want));
    both(&observed.sets, &wanted.sets, |name, there, want| found.set(name, there, want));
    if found.0.is_empty() {
        // The plane sees what is not compared here; its own words are better than none.
        for operation in plan.transaction.operations() {
            found.add(Fault::Different, "chain", "", format!("would be mended by: {operation}"));
        }
    }
    found.0
}

/// Calls `each` for every name of either.
fn both<T>(
    there: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
    mut each: impl FnMut(&str, Option<&T>, Option<&T>),
) {
    for (name, want) in wanted {
        each(name, there.get(name), Some(want));
    }
    for (name, extra) in there.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        each(name, Some(extra), None);
    }
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, fault: Fault, kind: &str, of: &str, what: impl Into<String>) {
        self.0.push(Difference { fault, kind: kind.to_owned(), of: of.to_owned(), what: what.into() });
    }

    fn chain(&mut self, name: &str, there: Option<&FilledChain>, want: Option<&FilledChain>) {
        let count = |filled: &FilledChain| format!("with {} rules", filled.rules.len());
        match (there, want) {
            (None, Some(want)) => self.add(Fault::Missing, "chain", name, count(want)),
            (Some(there), None) => self.add(Fault::Extra, "chain", name, count(there)),
            (Some(there), Some(want)) => {
                let (found, wanted) = (base(&there.chain), base(&want.chain));
                if there.chain.base != want.chain.base {
                    self.add(Fault::Different, "chain", name, format!("is {found}, should be {wanted}"));
                }
                self.rules(name, &there.rules, &want.rules);
            }
            (None, None) => {}
        }
    }

    fn rules(&mut self, chain: &str, there: &[Rule], want: &[Rule]) {
        if there == want {
            return;
        }
        let before = self.0.len();
        for (fault, these, those) in [(Fault::Missing, want, there), (Fault::Extra, there, want)] {
            let mut left: Vec<&Rule> = those.iter().collect();
            for (place, rule) in these.iter().enumerate() {
                match left.iter().position(|other| *other == rule) {
                    Some(at) => _ = left.swap_remove(at),
                    None => {
                        self.add(
                            fault,
                            "rule",
                            chain,
                            format!("rule {}: {}", place + 1, rule_in_words(rule)),
                        );
                    }
                }
            }
        }
        if self.0.len() == before {
            self.add(Fault::Different, "rule", chain, "the rules are in another order");
        }
    }

    fn set(&mut self, name: &str, there: Option<&FilledSet>, want: Option<&FilledSet>) {
        let count = |filled: &FilledSet| format!("with {} elements", filled.elements.len());
        match (there, want) {
            (None, Some(want)) => self.add(Fault::Missing, "set", name, count(want)),
            (Some(there), None) => self.add(Fault::Extra, "set", name, count(there)),
            (Some(there), Some(want)) => {
                if bare(&there.set) != bare(&want.set) {
                    let (found, wanted) = (set_in_words(&there.set), set_in_words(&want.set));
                    self.add(Fault::Different, "set", name, format!("is {found}, should be {wanted}"));
                }
                self.elements(name, there, want);
            }
            (None, None) => {}
        }
    }

    fn elements(&mut self, set: &str, there: &FilledSet, want: &FilledSet) {
        let by_key = |filled: &FilledSet| -> BTreeMap<_, Element> {
            filled.elements.iter().map(|element| (element.span.clone(), element.clone())).collect()
        };
        let (found, wanted) = (by_key(there), by_key(want));
        for element in there.elements.symmetric_difference(&want.elements) {
            match (found.get(&element.span), wanted.get(&element.span)) {
                (Some(is), Some(should)) if is == element => {
                    self.add(Fault::Different, "element", set, format!("is {is}, should be {should}"));
                }
                (None, Some(should)) => self.add(Fault::Missing, "element", set, should.to_string()),
                (Some(is), None) => self.add(Fault::Extra, "element", set, is.to_string()),
                // The other half of a pair that is told already.
                _ => {}
            }
        }
    }
}

/// The set without its comment, which does not matter.
fn bare(set: &Set) -> Set {
    Set { comment: None, ..set.clone() }
}
