//! Policies that are too many to be asked one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::super::direction::Direction;
use super::super::group::PodGroup;
use super::super::objects::{NetworkPolicy, PolicyPort, PolicyRule};

/// With more rules and peers than this, the policies of a side are a crowd. What a new connection costs is bounded by it.
pub(super) const MOST_ALONE: usize = 32;

/// One direction of the pods that the same policies judge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// The pods.
    pub subject: PodGroup,
    /// The direction.
    pub direction: Direction,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.direction.word(), self.subject)
    }
}

/// The groups that a crowd admits, each with the lists of ports of the rules that name it. An empty list is all ports.
#[derive(Debug, Default)]
pub(super) struct Grants {
    lists: BTreeMap<(PodGroup, Vec<PolicyPort>), usize>,
}

impl Grants {
    /// Counts what a policy admits in a direction in or out. `known` gives the group of its own in place of an equal one.
    pub(super) fn count(
        &mut self,
        policy: &NetworkPolicy,
        direction: Direction,
        add: bool,
        known: impl Fn(PodGroup) -> PodGroup,
    ) {
        for rule in policy.rules(direction).unwrap_or_default() {
            for peer in &rule.peers {
                let Some(group) = PodGroup::of_peer(&policy.name.namespace, peer) else { continue };
                let key = (known(group), rule.ports.clone());
                if add {
                    *self.lists.entry(key).or_default() += 1;
                } else if let Some(count) = self.lists.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        self.lists.remove(&key);
                    }
                }
            }
        }
    }

    /// The groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = &PodGroup> {
        let groups: BTreeSet<&PodGroup> = self.lists.keys().map(|(group, _)| group).collect();
        groups.into_iter()
    }

    /// The lists of ports of one group.
    pub(super) fn ports_of<'a>(&'a self, group: &'a PodGroup) -> impl Iterator<Item = &'a [PolicyPort]> {
        let from = (group.clone(), Vec::new());
        let found = self.lists.range(from..).take_while(move |((one, _), _)| one == group);
        found.map(|((_, ports), _)| &**ports)
    }
}

/// How much the policy adds to the number that makes a crowd.
pub(super) fn weight(policy: &NetworkPolicy, direction: Direction) -> usize {
    let Some(rules) = policy.rules(direction) else { return 0 };
    rules.iter().map(|rule: &PolicyRule| rule.peers.len().max(1)).sum::<usize>().max(1)
}
