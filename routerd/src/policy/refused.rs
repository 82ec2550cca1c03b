//! What the kernel does not take, and how that is kept to the objects it belongs to.
//!
//! - An operation that is refused names a chain, a set or an element. Whose that is, is closed; and left out altogether
//!   if even what is left of it is not taken.
//! - What nobody wants any more and the kernel does not let go, because somebody else's rules lead to it, stays, empty.
//! - What is refused without a name is found by trying: [`bisect`].

use std::collections::{BTreeMap, BTreeSet};

use kernel::nft::{CommitError, Element, Operation, Transaction};

use super::key::PolicyKey;
use super::model::Model;
use super::render::{self, Fragment};
use super::status;
use super::value::{Direction, Peers, PolicyValue, Ports};
use crate::ruleset::{FilledChain, FilledSet, Ruleset};
use crate::runner::Problem;

type Values = BTreeMap<PolicyKey, PolicyValue>;

/// What is not in the kernel as it should be.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Keys that are closed, and why.
    keys: BTreeMap<PolicyKey, String>,
    /// Those of them that are left out.
    gone: BTreeSet<PolicyKey>,
    /// What the kernel does not let go, and why.
    stuck: BTreeMap<String, String>,
    /// The same as objects without content.
    kept: Ruleset,
}

impl Refused {
    /// The keys that are closed, and why.
    pub(super) fn keys(&self) -> &BTreeMap<PolicyKey, String> {
        &self.keys
    }

    /// True if the key is closed.
    pub(super) fn contains(&self, key: &PolicyKey) -> bool {
        self.keys.contains_key(key)
    }

    /// True if all is as it should be.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.stuck.is_empty()
    }

    /// All is to be tried again.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Closes the keys.
    pub(super) fn close(&mut self, keys: &[PolicyKey], why: &str) {
        self.keys.extend(keys.iter().map(|key| (key.clone(), why.to_owned())));
    }

    /// The keys are to be tried again.
    pub(super) fn open<'a>(&mut self, keys: impl IntoIterator<Item = &'a PolicyKey>) {
        for key in keys {
            self.keys.remove(key);
            self.gone.remove(key);
        }
    }

    /// What is left of a closed key's value; `None` of one that is not closed.
    pub(super) fn rest(&self, key: &PolicyKey, value: &PolicyValue) -> Option<Fragment> {
        if self.gone.contains(key) {
            return Some(Fragment::default());
        }
        self.contains(key).then(|| render::closed(key, value))
    }

    /// Adds what the kernel does not let go.
    pub(super) fn add_to(&self, model: &mut Model) {
        model.keep(&self.kept);
    }

    /// Notes whose fault the refusal is. False if that cannot be told, or nothing more can be done about it.
    pub(super) fn blame(
        &mut self,
        desired: &Values,
        observed: &Ruleset,
        transaction: &Transaction,
        refused: &CommitError,
    ) -> bool {
        let operation = refused.operation.and_then(|at| transaction.operations().get(at));
        let Some((operation, object)) =
            operation.and_then(|one| Some((one, Object::of(one, refused.element)?)))
        else {
            return false;
        };
        let why = refused.error.to_string();
        let (fresh, closed): (Vec<_>, Vec<_>) =
            self.owners(desired, &object).into_iter().partition(|key| !self.contains(key));
        // Many share the set, and nobody says which of them it is.
        if object.is_vague && fresh.len() + closed.len() > 1 {
            return false;
        }
        if !fresh.is_empty() {
            self.close(&fresh, &why);
            return true;
        }
        if !closed.is_empty() {
            let users: Vec<PolicyKey> = desired
                .iter()
                .filter(|(_, value)| closed.iter().any(|key| uses(value, key)))
                .map(key_of)
                .collect();
            self.close(&users, &why);
            // A pod without a verdict would be open where its address is in no pod network of this node.
            let leaves: Vec<_> = closed.into_iter().filter(|key| !matches!(key, PolicyKey::Pod(_))).collect();
            let count = self.gone.len();
            self.gone.extend(leaves);
            return self.gone.len() > count;
        }
        self.keep(observed, operation, why)
    }

    /// The keys that put the object into the kernel as things stand, else those that need it there.
    fn owners(&self, desired: &Values, object: &Object<'_>) -> Vec<PolicyKey> {
        let all: Vec<(&PolicyKey, Fragment)> = desired
            .iter()
            .filter(|(key, _)| **key != PolicyKey::Base)
            .map(|(key, value)| (key, self.rest(key, value).unwrap_or_else(|| render::fragment(key, value))))
            .collect();
        let find = |has: &dyn Fn(&Fragment) -> bool| -> Vec<PolicyKey> {
            all.iter().filter(|(_, fragment)| has(fragment)).map(|(key, _)| (*key).clone()).collect()
        };
        let having = find(&|fragment| object.is_in(fragment));
        if having.is_empty() { find(&|fragment| fragment.needs.contains(object.name)) } else { having }
    }

    fn keep(&mut self, observed: &Ruleset, operation: &Operation, why: String) -> bool {
        let name = match operation {
            Operation::RemoveChain(chain, _) => {
                let Some(there) = observed.chains.get(&chain.name) else { return false };
                let empty = FilledChain { chain: there.chain.clone(), rules: Vec::new() };
                self.kept.chains.insert(chain.name.clone(), empty);
                &chain.name
            }
            Operation::RemoveSet(set, _) => {
                let Some(there) = observed.sets.get(&set.name) else { return false };
                let empty = FilledSet { set: there.set.clone(), elements: BTreeSet::new() };
                self.kept.sets.insert(set.name.clone(), empty);
                &set.name
            }
            _ => return false,
        };
        self.stuck.insert(name.clone(), why).is_none()
    }

    /// What there is to say, also of the policies that name what was refused.
    pub(super) fn problems(&self, desired: &Values) -> Vec<Problem> {
        let own = self.keys.iter().map(|(key, why)| status::refusal(key, why));
        let stuck = self.stuck.iter().map(|(name, why)| status::stuck(name, why));
        let mut problems: Vec<Problem> = own.chain(stuck).collect();
        let named: Vec<_> = self
            .keys
            .iter()
            .filter(|(key, _)| matches!(key, PolicyKey::Group(_) | PolicyKey::Ports(_)))
            .collect();
        if named.is_empty() {
            return problems;
        }
        for (policy, value) in desired.iter().filter(|(key, _)| !self.contains(key)) {
            let lacks = named.iter().find(|(key, _)| uses(value, key));
            problems.extend(lacks.map(|(key, why)| status::lacks(policy, key, why)));
        }
        problems
    }
}

fn key_of((key, _): (&PolicyKey, &PolicyValue)) -> PolicyKey {
    key.clone()
}

/// What an operation is about.
struct Object<'a> {
    name: &'a str,
    /// The element at fault.
    element: Option<&'a Element>,
    /// It is about elements, and the kernel has not said which.
    is_vague: bool,
}

impl<'a> Object<'a> {
    fn of(operation: &'a Operation, element: Option<usize>) -> Option<Self> {
        let name = match operation {
            Operation::AddChain(chain) => &chain.name.name,
            Operation::AddRule(chain, ..)
            | Operation::FlushChain(chain)
            | Operation::RemoveChain(chain, _) => &chain.name,
            Operation::AddSet(set) => &set.name.name,
            Operation::AddElements(set, ..) | Operation::RemoveSet(set, _) => &set.name,
            _ => return None,
        };
        let elements = match operation {
            Operation::AddElements(_, _, elements) => Some(elements),
            _ => None,
        };
        let element = elements.and_then(|elements| elements.get(element?));
        Some(Self { name, element, is_vague: elements.is_some() && element.is_none() })
    }

    fn is_in(&self, fragment: &Fragment) -> bool {
        let Some(set) = fragment.objects.sets.get(self.name) else {
            return fragment.objects.chains.contains_key(self.name);
        };
        match self.element {
            Some(element) => set.elements.iter().any(|one| one.span == element.span),
            None => !self.is_vague || !set.elements.is_empty(),
        }
    }
}

/// True if the rules of the value name what the key stands for.
fn uses(value: &PolicyValue, key: &PolicyKey) -> bool {
    let of_ports = |ports: &Ports| match (ports, key) {
        (Ports::Any { names, .. }, PolicyKey::Ports(port)) => names.contains(port),
        _ => false,
    };
    match (value, key) {
        (PolicyValue::Policy(rules), _) => {
            let all =
                Direction::BOTH.into_iter().flat_map(|direction| rules.of(direction).unwrap_or_default());
            all.into_iter().any(|rule| match (&rule.peers, key) {
                (Peers::Any { groups, .. }, PolicyKey::Group(group)) => groups.contains(group),
                _ => of_ports(&rule.ports),
            })
        }
        (PolicyValue::Crowd(all), PolicyKey::Group(group)) => all.groups.contains(group),
        (PolicyValue::Crowd(all), _) => all.every_port().any(of_ports),
        (PolicyValue::Class(ports), _) => of_ports(ports),
        _ => false,
    }
}

/// How often [`bisect`] tries at most: each trial is a look at everything.
pub(super) const MOST_TRIALS: u32 = 64;

/// Finds those of the closed `suspects` that must stay closed. `opens` opens some of them beside those that it has opened
/// before, and says whether the kernel takes that. What is not found within so many trials stays closed.
pub(super) fn bisect<K: Clone>(
    suspects: &[K],
    trials: &mut u32,
    opens: &mut impl FnMut(&[K]) -> bool,
) -> Vec<K> {
    if suspects.is_empty() || *trials == 0 {
        return suspects.to_vec();
    }
    *trials -= 1;
    if opens(suspects) {
        return Vec::new();
    }
    let (one, other) = suspects.split_at(suspects.len() / 2);
    if one.is_empty() {
        return other.to_vec();
    }
    let mut found = bisect(one, trials, opens);
    found.extend(bisect(other, trials, opens));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stays closed when the kernel takes nothing with one of `bad` in it, and after how many trials.
    fn closed(count: u32, bad: &[u32]) -> (Vec<u32>, u32) {
        let mut open = BTreeSet::new();
        let mut left = MOST_TRIALS;
        let suspects: Vec<u32> = (0..count).collect();
        let found = bisect(&suspects, &mut left, &mut |some| {
            let taken = !some.iter().any(|one| bad.contains(one));
            open.extend(some.iter().filter(|_| taken).copied());
            taken
        });
        assert!(found.iter().all(|one| !open.contains(one)));
        assert_eq!(found.len() + open.len(), suspects.len());
        (found, MOST_TRIALS - left)
    }

    #[test]
    fn one_of_thousands_is_found_in_few_trials_and_several_too() {
        assert_eq!(closed(0, &[]), (vec![], 0));
        assert_eq!(closed(10_000, &[]), (vec![], 1));
        let (found, trials) = closed(10_000, &[77]);
        assert!(found == [77] && trials <= 30, "{trials}");
        assert_eq!(closed(100, &[3, 99]).0, [3, 99]);
    }

    #[test]
    fn where_nothing_is_taken_it_ends_and_all_stay_closed() {
        let all: Vec<u32> = (0..1000).collect();
        assert_eq!(closed(1000, &all), (all, MOST_TRIALS));
    }
}
