//! What policies choose by labels and names, and which policies do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::group::PodGroup;
use super::super::named_port::{NamedPort, PortScope};
use super::super::objects::{Labels, NetworkPolicy, ObjectName, PolicyRule};
use super::by_name::{ByName, Set};
use super::finder::Finder;

/// What a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    /// The pods it judges.
    pub subject: PodGroup,
    /// The pods its rules admit.
    pub groups: BTreeSet<PodGroup>,
    /// The ports its rules admit by name.
    pub ports: BTreeSet<NamedPort>,
}

impl Uses {
    /// What `policy` names.
    pub fn of(policy: &NetworkPolicy) -> Self {
        let namespace = &policy.name.namespace;
        let subject = PodGroup::in_namespace(namespace, &policy.pods);
        let mut uses = Self { subject, groups: BTreeSet::new(), ports: BTreeSet::new() };
        for (scope, rule) in rules(policy) {
            uses.groups.extend(rule.peers.iter().filter_map(|peer| PodGroup::of_peer(namespace, peer)));
            uses.ports.extend(rule.ports.iter().filter_map(|entry| NamedPort::of_entry(scope, entry)));
        }
        uses
    }
}

/// Every rule of the policy with its direction as the scope of the names of ports in it.
fn rules(policy: &NetworkPolicy) -> impl Iterator<Item = (PortScope, &PolicyRule)> {
    let ingress = policy.ingress.iter().flatten().map(|rule| (PortScope::Node, rule));
    let egress = policy.egress.iter().flatten().map(|rule| (PortScope::Cluster, rule));
    ingress.chain(egress)
}

/// Subjects with the number of policies that name something.
type Users = BTreeMap<PodGroup, usize>;

/// What all policies name.
#[derive(Debug, Default)]
pub(super) struct Selections {
    uses: BTreeMap<ObjectName, Uses>,
    /// The policies that judge the same pods.
    subjects: BTreeMap<PodGroup, Set<NetworkPolicy>>,
    find_subjects: Finder,
    /// The groups, and the subjects of the policies that admit them.
    groups: BTreeMap<PodGroup, Users>,
    find_groups: Finder,
    ports: BTreeMap<NamedPort, Users>,
}

/// Counts a user in or out. True if it is the first, or was the last.
fn count<K: Ord + Clone>(map: &mut BTreeMap<K, Users>, key: &K, subject: &PodGroup, add: bool) -> bool {
    if add {
        let users = map.entry(key.clone()).or_default();
        let first = users.is_empty();
        *users.entry(subject.clone()).or_default() += 1;
        return first;
    }
    let Some(users) = map.get_mut(key) else { return false };
    if let Some(number) = users.get_mut(subject) {
        *number -= 1;
        if *number == 0 {
            users.remove(subject);
        }
    }
    let last = users.is_empty();
    if last {
        map.remove(key);
    }
    last
}

impl Selections {
    /// Takes in a policy. Returns the groups that nobody has named before.
    pub(super) fn add(&mut self, policy: &Arc<NetworkPolicy>) -> Vec<PodGroup> {
        let uses = self.shared(Uses::of(policy));
        let mut new = Vec::new();
        let judged = self.subjects.entry(uses.subject.clone()).or_default();
        if judged.is_empty() {
            self.find_subjects.insert(&uses.subject);
        }
        judged.insert(ByName(Arc::clone(policy)));
        for group in &uses.groups {
            if count(&mut self.groups, group, &uses.subject, true) {
                self.find_groups.insert(group);
                new.push(group.clone());
            }
        }
        for port in &uses.ports {
            count(&mut self.ports, port, &uses.subject, true);
        }
        self.uses.insert(policy.name.clone(), uses);
        new
    }

    /// Takes a policy out. Returns the groups that nobody names any more.
    pub(super) fn remove(&mut self, policy: &NetworkPolicy) -> Vec<PodGroup> {
        let Some(uses) = self.uses.remove(&policy.name) else { return Vec::new() };
        let mut gone = Vec::new();
        if let Some(judged) = self.subjects.get_mut(&uses.subject) {
            judged.remove(&policy.name);
            if judged.is_empty() {
                self.subjects.remove(&uses.subject);
                self.find_subjects.remove(&uses.subject);
            }
        }
        for group in uses.groups {
            if count(&mut self.groups, &group, &uses.subject, false) {
                self.find_groups.remove(&group);
                gone.push(group);
            }
        }
        for port in &uses.ports {
            count(&mut self.ports, port, &uses.subject, false);
        }
        gone
    }

    /// The same with groups that are known already in place of equal ones: their texts are in memory once.
    fn shared(&self, uses: Uses) -> Uses {
        let subject = self.subjects.get_key_value(&uses.subject).map(|(known, _)| known.clone());
        let groups = uses.groups.into_iter().map(|group| self.known(group)).collect();
        Uses { subject: subject.unwrap_or(uses.subject), groups, ports: uses.ports }
    }

    /// The group itself, or one equal to it that is in memory already.
    pub(super) fn known(&self, group: PodGroup) -> PodGroup {
        self.groups.get_key_value(&group).map_or(group, |(known, _)| known.clone())
    }

    pub(super) fn uses(&self, policy: &ObjectName) -> Option<&Uses> {
        self.uses.get(policy)
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &PodGroup> {
        self.subjects.keys()
    }

    /// The policies that judge the pods of `subject`.
    pub(super) fn judges(&self, subject: &PodGroup) -> impl Iterator<Item = &Arc<NetworkPolicy>> {
        self.subjects.get(subject).into_iter().flatten().map(|policy| &policy.0)
    }

    /// The subjects that a pod of `namespace` with `labels` belongs to.
    pub(super) fn subjects_of<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a PodGroup> {
        self.find_subjects.candidates(namespace, labels).filter(|subject| subject.pods().matches(labels))
    }

    /// All groups, with the subjects of the policies that admit them.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&PodGroup, impl Iterator<Item = &PodGroup>)> {
        self.groups.iter().map(|(group, users)| (group, users.keys()))
    }

    /// The groups that may take a pod of `namespace` with `labels`.
    pub(super) fn groups_of<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a PodGroup> {
        self.find_groups.candidates(namespace, labels)
    }

    /// The subjects of the policies that admit the group.
    pub(super) fn users_of_group(&self, group: &PodGroup) -> impl Iterator<Item = &PodGroup> {
        self.groups.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// The subjects of the policies that name the port.
    pub(super) fn users_of_port(&self, port: &NamedPort) -> impl Iterator<Item = &PodGroup> {
        self.ports.get(port).into_iter().flat_map(BTreeMap::keys)
    }
}
