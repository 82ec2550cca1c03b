//! What policies choose by labels and names, and which policies do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::direction::Direction;
use super::super::group::PodGroup;
use super::super::named_port::{NamedPort, NamedPorts, PortScope};
use super::super::objects::{Labels, NetworkPolicy, ObjectName, PolicyPort};
use super::by_name::{ByName, Set};
use super::crowds::{CrowdPeer, Grants, MOST_ALONE, PortLists, Side, weight};
use super::finder::Finder;
use super::relink;

/// What a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    /// The pods it judges.
    pub subject: PodGroup,
    /// The pods its rules admit, by the direction of the rule.
    pub groups: BTreeSet<(Direction, PodGroup)>,
    /// The ports its rules admit by name, a list for each rule.
    pub ports: BTreeSet<NamedPorts>,
}

impl Uses {
    /// What `policy` names.
    pub fn of(policy: &NetworkPolicy) -> Self {
        let namespace = &policy.name.namespace;
        let subject = PodGroup::in_namespace(namespace, &policy.pods);
        let mut uses = Self { subject, groups: BTreeSet::new(), ports: BTreeSet::new() };
        for direction in Direction::BOTH {
            for rule in policy.rules(direction).unwrap_or_default() {
                let groups = rule.peers.iter().filter_map(|peer| PodGroup::of_peer(namespace, peer));
                uses.groups.extend(groups.map(|group| (direction, group)));
                uses.ports.extend(NamedPorts::of_list(PortScope::of(direction), &rule.ports));
            }
        }
        uses
    }
}

/// Sides with the number of policies that name something.
type Users = BTreeMap<Side, usize>;

/// The policies that judge the same pods.
#[derive(Debug, Default)]
struct Judges {
    policies: Set<NetworkPolicy>,
    weight: BTreeMap<Direction, usize>,
}

/// What all policies name.
#[derive(Debug)]
pub(super) struct Selections {
    /// Policies of a side with more weight are a crowd.
    pub(super) most_alone: usize,
    uses: BTreeMap<ObjectName, Uses>,
    subjects: BTreeMap<PodGroup, Judges>,
    find_subjects: Finder,
    /// The groups, and the sides whose policies admit them.
    groups: BTreeMap<PodGroup, Users>,
    find_groups: Finder,
    ports: BTreeMap<NamedPorts, Users>,
    /// The lists of `ports` that have the name.
    lists: BTreeMap<NamedPort, BTreeSet<NamedPorts>>,
    crowds: BTreeMap<Side, Grants>,
}

impl Default for Selections {
    fn default() -> Self {
        Self {
            most_alone: MOST_ALONE,
            uses: BTreeMap::new(),
            subjects: BTreeMap::new(),
            find_subjects: Finder::default(),
            groups: BTreeMap::new(),
            find_groups: Finder::default(),
            ports: BTreeMap::new(),
            lists: BTreeMap::new(),
            crowds: BTreeMap::new(),
        }
    }
}

/// Whether a user is the first, or was the last: of all, and of its side.
#[derive(Debug, Default)]
struct Edge {
    of_all: bool,
    of_side: bool,
}

/// Counts a user in or out.
fn count<K: Ord + Clone>(map: &mut BTreeMap<K, Users>, key: &K, side: &Side, add: bool) -> Edge {
    if add {
        let users = map.entry(key.clone()).or_default();
        let of_all = users.is_empty();
        let number = users.entry(side.clone()).or_default();
        *number += 1;
        return Edge { of_all, of_side: *number == 1 };
    }
    let Some(users) = map.get_mut(key) else { return Edge::default() };
    let mut edge = Edge::default();
    if let Some(number) = users.get_mut(side) {
        *number -= 1;
        if *number == 0 {
            users.remove(side);
            edge.of_side = true;
        }
    }
    edge.of_all = users.is_empty();
    if edge.of_all {
        map.remove(key);
    }
    edge
}

/// What a policy that came or went changed besides itself.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    /// Groups that nobody named before, or names any more.
    pub(super) groups: Vec<PodGroup>,
    /// Sides whose policies became a crowd or are one no more.
    pub(super) crowds: BTreeSet<Side>,
    /// Groups that no policy of a side named before, or names any more.
    pub(super) named: BTreeSet<(Side, PodGroup)>,
}

impl Selections {
    /// Takes in a policy.
    pub(super) fn add(&mut self, policy: &Arc<NetworkPolicy>) -> Consequences {
        let uses = self.shared(Uses::of(policy));
        let mut consequences = Consequences::default();
        let judges = self.subjects.entry(uses.subject.clone()).or_default();
        if judges.policies.is_empty() {
            self.find_subjects.insert(&uses.subject);
        }
        judges.policies.insert(ByName(Arc::clone(policy)));
        for (direction, group) in &uses.groups {
            let side = Side { subject: uses.subject.clone(), direction: *direction };
            let first = count(&mut self.groups, group, &side, true);
            if first.of_all {
                self.find_groups.insert(group);
                consequences.groups.push(group.clone());
            }
            if first.of_side {
                consequences.named.insert((side, group.clone()));
            }
        }
        for ports in &uses.ports {
            self.count_ports(&uses.subject, ports, true);
        }
        self.weigh(&uses.subject, policy, true, &mut consequences);
        self.uses.insert(policy.name.clone(), uses);
        consequences
    }

    /// Takes a policy out.
    pub(super) fn remove(&mut self, policy: &NetworkPolicy) -> Consequences {
        let mut consequences = Consequences::default();
        let Some(uses) = self.uses.remove(&policy.name) else { return consequences };
        if let Some(judges) = self.subjects.get_mut(&uses.subject) {
            judges.policies.remove(&policy.name);
        }
        self.weigh(&uses.subject, policy, false, &mut consequences);
        if self.subjects.get(&uses.subject).is_some_and(|judges| judges.policies.is_empty()) {
            self.subjects.remove(&uses.subject);
            self.find_subjects.remove(&uses.subject);
        }
        for (direction, group) in uses.groups {
            let side = Side { subject: uses.subject.clone(), direction };
            let last = count(&mut self.groups, &group, &side, false);
            if last.of_all {
                self.find_groups.remove(&group);
                consequences.groups.push(group.clone());
            }
            if last.of_side {
                consequences.named.insert((side, group));
            }
        }
        for ports in &uses.ports {
            self.count_ports(&uses.subject, ports, false);
        }
        consequences
    }

    /// Counts a rule's list of named ports in or out.
    fn count_ports(&mut self, subject: &PodGroup, ports: &NamedPorts, add: bool) {
        let side = Side { subject: subject.clone(), direction: ports.scope().direction() };
        if count(&mut self.ports, ports, &side, add).of_all {
            for port in ports.each() {
                relink(&mut self.lists, port, ports.clone(), add);
            }
        }
    }

    /// Adds a policy to the weights of its sides or takes it off them, and keeps what crowds admit.
    fn weigh(&mut self, subject: &PodGroup, policy: &NetworkPolicy, add: bool, told: &mut Consequences) {
        let Some(judges) = self.subjects.get_mut(subject) else { return };
        let groups = &self.groups;
        let known = |group| known(groups, group);
        for direction in Direction::BOTH {
            let total = judges.weight.entry(direction).or_default();
            let own = weight(policy, direction);
            *total = if add { *total + own } else { total.saturating_sub(own) };
            let side = Side { subject: subject.clone(), direction };
            match (self.crowds.get_mut(&side), *total > self.most_alone) {
                (Some(grants), true) => grants.count(policy, direction, add, known),
                (Some(_), false) => {
                    self.crowds.remove(&side);
                    told.crowds.insert(side);
                }
                (None, true) => {
                    let mut grants = Grants::default();
                    let all = judges.policies.iter();
                    all.for_each(|policy| grants.count(&policy.0, direction, true, known));
                    self.crowds.insert(side.clone(), grants);
                    told.crowds.insert(side);
                }
                (None, false) => {}
            }
        }
    }

    /// The same with groups that are known already in place of equal ones: their texts are in memory once.
    fn shared(&self, uses: Uses) -> Uses {
        let subject = self.subjects.get_key_value(&uses.subject).map(|(known, _)| known.clone());
        let groups = uses.groups.into_iter();
        let groups = groups.map(|(direction, group)| (direction, self.known(group))).collect();
        Uses { subject: subject.unwrap_or(uses.subject), groups, ports: uses.ports }
    }

    /// The group itself, or one equal to it that is in memory already.
    pub(super) fn known(&self, group: PodGroup) -> PodGroup {
        known(&self.groups, group)
    }

    pub(super) fn uses(&self, policy: &ObjectName) -> Option<&Uses> {
        self.uses.get(policy)
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &PodGroup> {
        self.subjects.keys()
    }

    /// The policies that judge the pods of `subject`.
    pub(super) fn judges(&self, subject: &PodGroup) -> impl Iterator<Item = &Arc<NetworkPolicy>> {
        self.subjects.get(subject).into_iter().flat_map(|judges| &judges.policies).map(|policy| &policy.0)
    }

    /// The subjects that a pod of `namespace` with `labels` belongs to.
    pub(super) fn subjects_of<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a PodGroup> {
        self.find_subjects.candidates(namespace, labels).filter(|subject| subject.pods().matches(labels))
    }

    /// All groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = &PodGroup> {
        self.groups.keys()
    }

    /// The groups that may take a pod of `namespace` with `labels`.
    pub(super) fn groups_of<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a PodGroup> {
        self.find_groups.candidates(namespace, labels)
    }

    /// The sides whose policies admit the group.
    pub(super) fn users_of_group(&self, group: &PodGroup) -> impl Iterator<Item = &Side> {
        self.groups.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// True if policies of the side admit the group.
    pub(super) fn names_group(&self, side: &Side, group: &PodGroup) -> bool {
        self.groups.get(group).is_some_and(|users| users.contains_key(side))
    }

    /// The lists of rules that have the port.
    pub(super) fn lists_with(&self, port: &NamedPort) -> impl Iterator<Item = &NamedPorts> {
        self.lists.get(port).into_iter().flatten()
    }

    /// The sides whose policies name the ports.
    pub(super) fn users_of_ports(&self, ports: &NamedPorts) -> impl Iterator<Item = &Side> {
        self.ports.get(ports).into_iter().flat_map(BTreeMap::keys)
    }

    /// The sides whose policies are crowds.
    pub(super) fn crowds(&self) -> impl Iterator<Item = &Side> {
        self.crowds.keys()
    }

    /// True if any policy speaks of the side.
    pub(super) fn speaks_of(&self, side: &Side) -> bool {
        let judges = self.subjects.get(&side.subject);
        judges.is_some_and(|judges| judges.weight.get(&side.direction).is_some_and(|weight| *weight > 0))
    }

    pub(super) fn is_crowd(&self, side: &Side) -> bool {
        self.crowds.contains_key(side)
    }

    /// Whom a crowd admits, each with the lists of ports of the rules that say so.
    pub(super) fn granted(&self, side: &Side) -> impl Iterator<Item = (&CrowdPeer, &PortLists)> {
        self.crowds.get(side).into_iter().flat_map(Grants::all)
    }

    /// The lists of ports to which a crowd admits the group.
    pub(super) fn granted_to<'a>(
        &'a self,
        side: &Side,
        group: &PodGroup,
    ) -> impl Iterator<Item = &'a [PolicyPort]> {
        let lists = self.crowds.get(side).and_then(|grants| grants.lists_of(group));
        lists.into_iter().flat_map(PortLists::each)
    }
}

fn known(groups: &BTreeMap<PodGroup, Users>, group: PodGroup) -> PodGroup {
    groups.get_key_value(&group).map_or(group, |(known, _)| known.clone())
}
