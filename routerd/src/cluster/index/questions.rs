//! What planes ask the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::group::PodGroup;
use super::super::named_port::{NamedPort, NamedPorts};
use super::super::objects::{Labels, NetworkPolicy, ObjectName, Pod, PolicyPort, Protocol};
use super::by_name::{Set, of_namespace};
use super::finder::{Anchor, Finder};
use super::{CrowdPeer, Index, PortLists, Side, Uses};

impl Index {
    /// True if the pod's traffic is judged on this node.
    pub fn is_local(&self, pod: &Pod) -> bool {
        let here = || pod.node.as_deref() == Some(self.node_name());
        let attached = || self.attachments_of(&pod.name).next().is_some();
        !pod.host_network && !pod.finished && (here() || attached())
    }

    /// The pods whose traffic is judged on this node.
    pub fn local_pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_by.local.iter().filter_map(|name| self.pods.get(name))
    }

    /// Those in one namespace.
    pub fn local_pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        let first = ObjectName::new(namespace, "");
        let names = self.pods_by.local.range(first..).take_while(move |name| name.namespace == namespace);
        names.filter_map(|name| self.pods.get(name))
    }

    /// The pods of a namespace.
    pub fn pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        let first = ObjectName::new(namespace, "");
        let found = self.pods.range(first..).take_while(move |(name, _)| name.namespace == namespace);
        found.map(|(_, pod)| pod)
    }

    /// The pods of a group that a policy names.
    pub fn members<'a>(&'a self, group: &'a PodGroup) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.likely_members(group).filter(move |pod| group.takes(self, pod))
    }

    /// The pods that are in any of these groups, each with those it is in. Also of groups that no policy names any more:
    /// for all of them together there is one look at the pods of their namespaces.
    pub fn members_of_each<'a>(
        &'a self,
        groups: &'a BTreeSet<PodGroup>,
    ) -> impl Iterator<Item = (&'a Arc<Pod>, BTreeSet<PodGroup>)> {
        let mut found: BTreeMap<&ObjectName, (&Arc<Pod>, BTreeSet<PodGroup>)> = BTreeMap::new();
        let mut add = |pod: &'a Arc<Pod>, group: &PodGroup| {
            found.entry(&pod.name).or_insert_with(|| (pod, BTreeSet::new())).1.insert(group.clone());
        };
        let is_asked =
            |group: &&PodGroup| Anchor::of(group).key().is_some_and(|key| self.pods_by.is_asked(key));
        let (asked, others): (Vec<_>, Vec<_>) = groups.iter().partition(is_asked);
        for group in asked {
            self.members(group).for_each(|pod| add(pod, group));
        }
        let mut finder = Finder::default();
        for group in &others {
            finder.insert(group);
        }
        for pod in self.pods_in_each(others.iter().map(|group| group.own_namespace()).collect()) {
            let likely = finder.candidates(&pod.name.namespace, &pod.labels);
            likely.filter(|group| group.takes(self, pod)).for_each(|group| add(pod, group));
        }
        found.into_values()
    }

    /// The pods of these namespaces, among which `None` is all.
    fn pods_in_each<'a>(
        &'a self,
        names: BTreeSet<Option<&'a str>>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Pod>> + 'a> {
        if names.contains(&None) {
            return Box::new(self.pods.values());
        }
        Box::new(names.into_iter().flatten().flat_map(|name| self.pods_in(name)))
    }

    /// All its members and perhaps others. Their number follows the requirement that few pods meet.
    pub fn likely_members<'a>(&'a self, group: &'a PodGroup) -> Box<dyn Iterator<Item = &'a Arc<Pod>> + 'a> {
        let of_set = move |set: &'a Set<Pod>| -> Box<dyn Iterator<Item = &'a Arc<Pod>> + 'a> {
            match group.own_namespace() {
                Some(namespace) => Box::new(of_namespace(set, namespace)),
                None => Box::new(set.iter().map(|pod| &pod.0)),
            }
        };
        match (Anchor::of(group), group.own_namespace()) {
            (Anchor::Values(key, values), _) if self.pods_by.is_asked(key) => {
                Box::new(self.pods_by.labelled(key, Some(values)).flat_map(of_set))
            }
            (Anchor::Key(key), _) if self.pods_by.is_asked(key) => {
                Box::new(self.pods_by.labelled(key, None).flat_map(of_set))
            }
            // No policy asks for the label (any more).
            (_, Some(namespace)) => Box::new(self.pods_in(namespace)),
            (_, None) => Box::new(self.pods.values()),
        }
    }

    /// The pods that have a port of this name.
    pub fn pods_with_port(&self, protocol: Protocol, name: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_by.with_port(protocol, name)
    }

    /// The pods whose status has the address.
    pub fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_by.claimants(address)
    }

    /// The pods that the plugin gave the address to, once for each attachment.
    pub fn holders(&self, address: IpAddr) -> &[ObjectName] {
        self.pods_by.holders(address)
    }

    /// The addresses that are the pod's own: a recycled one belongs to the pod that the plugin gave it to, and one that
    /// two pods hold by the plugin's word is nobody's until it is known which attachment is stale. Those of a pod in the
    /// host's network are its node's, and count only where such pods are peers.
    pub fn own_addresses(&self, pod: &Pod) -> Vec<IpAddr> {
        if pod.host_network {
            let counts = self.are_host_pods_peers() && !pod.finished;
            return if counts { pod.addresses.clone() } else { Vec::new() };
        }
        let mut addresses = self.pod_addresses(pod);
        addresses.retain(|address| self.holders(*address).iter().all(|holder| *holder == pod.name));
        addresses
    }

    /// The pods that have the address for their own. Pods in the host's network share one.
    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Pod>> {
        let attached = self.holders(address).iter().filter_map(|name| self.pods.get(name));
        let all = self.claimants(address).chain(attached);
        all.filter(move |pod| self.own_addresses(pod).contains(&address))
    }

    /// What a policy names.
    pub fn uses(&self, policy: &ObjectName) -> Option<&Uses> {
        self.selections.uses(policy)
    }

    /// The pods that policies judge, a group for each `podSelector`.
    pub fn subjects(&self) -> impl Iterator<Item = &PodGroup> {
        self.selections.subjects()
    }

    /// The subjects that a pod of `namespace` with `labels` belongs to.
    pub fn subjects_of<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a PodGroup> {
        self.selections.subjects_of(namespace, labels)
    }

    /// True if a pod of this node belongs to the subject.
    pub fn is_subject_here(&self, subject: &PodGroup) -> bool {
        let namespace = subject.own_namespace().unwrap_or_default();
        self.local_pods_in(namespace).any(|pod| subject.pods().matches(&pod.labels))
    }

    /// The policies that judge the pods of `subject`.
    pub fn judges(&self, subject: &PodGroup) -> impl Iterator<Item = &Arc<NetworkPolicy>> {
        self.selections.judges(subject)
    }

    /// All groups that policies admit.
    pub fn groups(&self) -> impl Iterator<Item = &PodGroup> {
        self.selections.groups()
    }

    /// The groups that policies admit and that take the pod, as far as names and labels go.
    pub fn groups_of<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a PodGroup> {
        let candidates = self.selections.groups_of(&pod.name.namespace, &pod.labels);
        candidates.filter(move |group| group.takes(self, pod))
    }

    /// The groups that policies admit and whose requirement of labels the pod meets, whatever its namespace.
    pub fn groups_by_label<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a PodGroup> {
        let candidates = self.selections.groups_of(&pod.name.namespace, &pod.labels);
        candidates.filter(|group| group.pods().matches(&pod.labels))
    }

    /// The sides whose policies admit the group.
    pub fn users_of_group(&self, group: &PodGroup) -> impl Iterator<Item = &Side> {
        self.selections.users_of_group(group)
    }

    /// True if policies of the side admit the group.
    pub fn names_group(&self, side: &Side, group: &PodGroup) -> bool {
        self.selections.names_group(side, group)
    }

    /// The lists of named ports, each of a rule or several, that have the port.
    pub fn lists_with(&self, port: &NamedPort) -> impl Iterator<Item = &NamedPorts> {
        self.selections.lists_with(port)
    }

    /// The sides whose policies name the ports.
    pub fn users_of_ports(&self, ports: &NamedPorts) -> impl Iterator<Item = &Side> {
        self.selections.users_of_ports(ports)
    }

    /// The sides whose policies are too many to be asked one by one.
    pub fn crowds(&self) -> impl Iterator<Item = &Side> {
        self.selections.crowds()
    }

    /// True if any policy speaks of the side.
    pub fn speaks_of(&self, side: &Side) -> bool {
        self.selections.speaks_of(side)
    }

    /// True if the policies of the side are too many to be asked one by one.
    pub fn is_crowd(&self, side: &Side) -> bool {
        self.selections.is_crowd(side)
    }

    /// Whom a crowd admits, each with the lists of ports of the rules that say so.
    pub fn granted(&self, side: &Side) -> impl Iterator<Item = (&CrowdPeer, &PortLists)> {
        self.selections.granted(side)
    }

    /// The lists of ports to which a crowd admits the group, as its rules have them; an empty list is all ports.
    pub fn granted_to<'a>(&'a self, side: &Side, group: &PodGroup) -> impl Iterator<Item = &'a [PolicyPort]> {
        self.selections.granted_to(side, group)
    }

    /// The group itself, or one equal to it that is in memory already.
    pub fn known_group(&self, group: PodGroup) -> PodGroup {
        self.selections.known(group)
    }
}
