//! Policies that are too many to be asked one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prefix::Prefix;

use super::super::direction::Direction;
use super::super::group::PodGroup;
use super::super::objects::{NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule, PortMatch};

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

/// Whom a rule of a crowd admits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrowdPeer {
    /// Everybody.
    Everybody,
    /// An address block, and what is left out of it.
    Block(Prefix, Vec<Prefix>),
    /// Pods by label.
    Group(PodGroup),
}

impl CrowdPeer {
    /// Those whom a rule of a policy in `namespace` admits.
    fn of(namespace: &str, rule: &PolicyRule) -> Vec<Self> {
        if rule.peers.is_empty() {
            return vec![Self::Everybody];
        }
        let one = |peer: &PolicyPeer| match peer {
            PolicyPeer::Block { cidr, except } => Some(Self::Block(*cidr, except.clone())),
            pods @ PolicyPeer::Pods { .. } => PodGroup::of_peer(namespace, pods).map(Self::Group),
        };
        rule.peers.iter().filter_map(one).collect()
    }
}

/// Lists of ports, each with the number of rules that have it. An empty list is all ports.
#[derive(Debug, Default)]
pub struct PortLists(BTreeMap<Arc<[PolicyPort]>, usize>);

impl PortLists {
    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &[PolicyPort]> {
        self.0.keys().map(AsRef::as_ref)
    }
}

/// Whom a crowd admits, to which ports.
#[derive(Debug, Default)]
pub(super) struct Grants {
    lists: BTreeMap<CrowdPeer, PortLists>,
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
            // All peers of the rule share it.
            let ports: Arc<[PolicyPort]> = rule.ports.as_slice().into();
            for peer in CrowdPeer::of(&policy.name.namespace, rule) {
                let peer = match peer {
                    CrowdPeer::Group(group) => CrowdPeer::Group(known(group)),
                    other => other,
                };
                self.count_one(peer, &ports, add);
            }
        }
    }

    fn count_one(&mut self, peer: CrowdPeer, ports: &Arc<[PolicyPort]>, add: bool) {
        if add {
            *self.lists.entry(peer).or_default().0.entry(Arc::clone(ports)).or_default() += 1;
            return;
        }
        let Some(lists) = self.lists.get_mut(&peer) else { return };
        if let Some(count) = lists.0.get_mut(ports) {
            *count -= 1;
            if *count == 0 {
                lists.0.remove(ports);
            }
        }
        if lists.0.is_empty() {
            self.lists.remove(&peer);
        }
    }

    /// All of it.
    pub(super) fn all(&self) -> impl Iterator<Item = (&CrowdPeer, &PortLists)> {
        self.lists.iter()
    }

    /// The lists of ports of one group.
    pub(super) fn lists_of(&self, group: &PodGroup) -> Option<&PortLists> {
        self.lists.get(&CrowdPeer::Group(group.clone()))
    }
}

/// How much the policy adds to the number that makes a crowd: what of its rules a new connection is held against.
pub(super) fn weight(policy: &NetworkPolicy, direction: Direction) -> usize {
    let Some(rules) = policy.rules(direction) else { return 0 };
    let ports = |rule: &PolicyRule| {
        let is_name = |entry: &PolicyPort| matches!(entry.port, PortMatch::Name(_));
        let both = rule.ports.iter().any(is_name) && !rule.ports.iter().all(is_name);
        1 + usize::from(both)
    };
    rules.iter().map(|rule| rule.peers.len().max(1) * ports(rule)).sum::<usize>().max(1)
}
