//! The state of the cluster as this node sees it: one value, owned by one task, without I/O.
//!
//! Beside the objects themselves it keeps what planes ask for often the other way round (which pods have this label,
//! which policies judge this pod), so that the cost of a change follows the change and not the cluster.

mod by_name;
mod crowds;
mod event;
mod finder;
mod in_force;
mod passwords;
mod pods;
mod questions;
mod returning;
mod selections;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use prefix::Prefix;

pub use self::crowds::{CrowdPeer, PortLists, Side};
pub use self::event::{Change, Delta, Event, Object, ObjectKey, PolicyDelta};
use self::finder::Anchor;
use self::in_force::Board;
pub use self::in_force::{ForceChange, ForceNews, InForce};
pub use self::passwords::Passwords;
use self::pods::PodsBy;
pub use self::returning::DIRECT_RETURN;
use self::selections::Selections;
pub use self::selections::Uses;
use self::words::Words;
use super::Kind;
use super::group::PodGroup;
use super::objects::{
    Attachment, EndpointSlice, LearntRoute, Namespace, NetworkPolicy, Node, ObjectName, Pod, Service,
};

/// The cluster as this node sees it.
#[derive(Debug, Default)]
pub struct Index {
    node_name: String,
    nodes: BTreeMap<String, Arc<Node>>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
    pods: BTreeMap<ObjectName, Arc<Pod>>,
    services: BTreeMap<ObjectName, Arc<Service>>,
    returning: BTreeMap<ObjectName, Arc<Service>>,
    slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    attachments: BTreeMap<(String, String), Arc<Attachment>>,
    routes: BTreeMap<Prefix, Arc<LearntRoute>>,
    in_force: Board,
    passwords: Passwords,
    /// By name; most Services have one, for which a set would take ten times its memory.
    slices_of_service: BTreeMap<ObjectName, Vec<Arc<EndpointSlice>>>,
    attachments_of_pod: BTreeMap<ObjectName, BTreeSet<(String, String)>>,
    pods_by: PodsBy,
    selections: Selections,
    words: Words,
    host_pods_are_peers: bool,
}

fn replace<K: Ord + Clone, T: PartialEq>(
    map: &mut BTreeMap<K, Arc<T>>,
    key: &K,
    new: Option<T>,
) -> Option<Delta<T>> {
    let old = map.get(key).cloned();
    if old.as_deref() == new.as_ref() {
        return None;
    }
    let new = new.map(Arc::new);
    match &new {
        Some(value) => map.insert(key.clone(), Arc::clone(value)),
        None => map.remove(key),
    };
    Some(Delta { old, new })
}

/// Leaves no room in a map that has grown. One that is filled in order has only half of it in use.
pub(crate) fn pack<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}

fn relink<K: Ord + Clone, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: V, add: bool) {
    if add {
        map.entry(key.clone()).or_default().insert(value);
    } else if let Some(values) = map.get_mut(key) {
        values.remove(&value);
        if values.is_empty() {
            map.remove(key);
        }
    }
}

impl Index {
    /// An empty index of the node called `node_name`.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self { node_name: node_name.into(), ..Self::default() }
    }

    /// The same, in which policies of one side with more rules and peers than this are a crowd. Before any policy.
    #[must_use]
    pub fn with_crowds_above(mut self, weight: usize) -> Self {
        self.selections.most_alone = weight;
        self
    }

    /// The same, in which pods in the host's network are peers of policies by their node's addresses.
    #[must_use]
    pub fn with_host_pods_as_peers(mut self, yes: bool) -> Self {
        self.host_pods_are_peers = yes;
        self
    }

    /// True if pods in the host's network are peers of policies by their node's addresses.
    pub fn are_host_pods_peers(&self) -> bool {
        self.host_pods_are_peers
    }

    /// Takes in one event and says what it changed, if anything.
    pub fn apply(&mut self, event: Event) -> Option<Change> {
        match event {
            Event::Upsert(object) => {
                let object = self.shared(object);
                let key = object.key();
                self.put(&key, Some(object))
            }
            Event::Delete(key) => self.put(&key, None),
            Event::PodGone(name, uid) => {
                let held = &self.pods.get(&name)?.uid;
                let is_it = held.is_empty() || uid.is_empty() || *held == uid;
                is_it.then(|| self.put(&ObjectKey::Pod(name), None)).flatten()
            }
            Event::Attach(attachment) => {
                let key = (attachment.container.clone(), attachment.interface.clone());
                self.put_attachment(&key, Some(attachment))
            }
            Event::Detach(container, interface) => self.put_attachment(&(container, interface), None),
            Event::Route(route) => {
                let prefix = route.prefix;
                let new = (!route.next_hops.is_empty()).then_some(route);
                replace(&mut self.routes, &prefix, new).map(Change::Route)
            }
            Event::Passwords(new) => {
                let old = std::mem::replace(&mut self.passwords, new);
                (old != self.passwords).then_some(Change::Passwords)
            }
            Event::InForce(news) => self.in_force.take(news).map(Change::InForce),
        }
    }

    /// Takes in the complete list of the objects of `kind`: what is not in it is gone.
    pub fn replace(&mut self, kind: Kind, objects: Vec<Object>) -> Vec<Change> {
        let mut changes = Vec::new();
        self.replace_each(kind, objects, |_, change| changes.push(change));
        changes
    }

    /// The same, telling of each change with the state right after it.
    pub fn replace_each(&mut self, kind: Kind, objects: Vec<Object>, mut tell: impl FnMut(&Self, Change)) {
        let known = self.keys_of(kind);
        // Of the first list nothing can be gone, and it is the one that comes when there is most to do.
        let kept: BTreeSet<ObjectKey> =
            if known.is_empty() { BTreeSet::new() } else { objects.iter().map(Object::key).collect() };
        let gone: Vec<ObjectKey> = known.into_iter().filter(|key| !kept.contains(key)).collect();
        let deletions = gone.into_iter().map(Event::Delete);
        let upserts = objects.into_iter().map(Event::Upsert);
        // What is new comes first: nothing that moved from one object to another is without one in between.
        for event in upserts.chain(deletions) {
            if let Some(change) = self.apply(event) {
                tell(self, change);
            }
        }
    }

    /// Leaves no room for more of what there is most of, as once all of it is there.
    pub fn pack(&mut self) {
        pack(&mut self.pods);
        pack(&mut self.services);
        pack(&mut self.slices);
        pack(&mut self.slices_of_service);
    }

    fn keys_of(&self, kind: Kind) -> Vec<ObjectKey> {
        match kind {
            Kind::Node => self.nodes.keys().cloned().map(ObjectKey::Node).collect(),
            Kind::Namespace => self.namespaces.keys().cloned().map(ObjectKey::Namespace).collect(),
            Kind::Pod => self.pods.keys().cloned().map(ObjectKey::Pod).collect(),
            Kind::Service => self.services.keys().cloned().map(ObjectKey::Service).collect(),
            Kind::EndpointSlice => self.slices.keys().cloned().map(ObjectKey::EndpointSlice).collect(),
            Kind::NetworkPolicy => self.policies.keys().cloned().map(ObjectKey::NetworkPolicy).collect(),
        }
    }

    /// How many objects of `kind` there are.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Node => self.nodes.len(),
            Kind::Namespace => self.namespaces.len(),
            Kind::Pod => self.pods.len(),
            Kind::Service => self.services.len(),
            Kind::EndpointSlice => self.slices.len(),
            Kind::NetworkPolicy => self.policies.len(),
        }
    }

    fn put(&mut self, key: &ObjectKey, object: Option<Object>) -> Option<Change> {
        macro_rules! typed {
            ($variant:ident, $map:ident, $name:expr) => {{
                let new = match object {
                    Some(Object::$variant(new)) => Some(new),
                    _ => None,
                };
                replace(&mut self.$map, $name, new).map(Change::$variant)
            }};
        }
        match key {
            ObjectKey::Node(name) => typed!(Node, nodes, name),
            ObjectKey::Namespace(name) => typed!(Namespace, namespaces, name),
            ObjectKey::Pod(name) => {
                let change = typed!(Pod, pods, name);
                if let Some(Change::Pod(delta)) = &change {
                    self.index_pod(name, delta);
                }
                change
            }
            ObjectKey::Service(name) => {
                let change = typed!(Service, services, name);
                if let Some(Change::Service(delta)) = &change {
                    self.index_service(name, delta);
                }
                change
            }
            ObjectKey::NetworkPolicy(name) => {
                let new = match object {
                    Some(Object::NetworkPolicy(new)) => Some(new),
                    _ => None,
                };
                let delta = replace(&mut self.policies, name, new)?;
                Some(Change::NetworkPolicy(self.index_policy(delta)))
            }
            ObjectKey::EndpointSlice(name) => {
                let change = typed!(EndpointSlice, slices, name);
                if let Some(Change::EndpointSlice(delta)) = &change {
                    for (slice, add) in [(&delta.old, false), (&delta.new, true)] {
                        if let Some(slice) = slice {
                            self.index_slice(slice, add);
                        }
                    }
                }
                change
            }
        }
    }

    fn put_attachment(&mut self, key: &(String, String), attachment: Option<Attachment>) -> Option<Change> {
        let delta = replace(&mut self.attachments, key, attachment)?;
        for (attachment, add) in [(&delta.old, false), (&delta.new, true)] {
            if let Some(attachment) = attachment {
                relink(&mut self.attachments_of_pod, &attachment.pod, key.clone(), add);
                self.pods_by.attach(attachment, add);
                self.locate(&attachment.pod);
            }
        }
        Some(Change::Attachment(delta))
    }

    fn index_slice(&mut self, slice: &Arc<EndpointSlice>, add: bool) {
        let Some(service) = &slice.service else { return };
        let mut slices = self.slices_of_service.remove(service).unwrap_or_default();
        match slices.binary_search_by(|found| found.name.cmp(&slice.name)) {
            Err(at) if add => {
                slices.reserve_exact(1);
                slices.insert(at, Arc::clone(slice));
            }
            Ok(at) if !add => _ = slices.remove(at),
            _ => {}
        }
        if !slices.is_empty() {
            self.slices_of_service.insert(service.clone(), slices);
        }
    }

    fn index_pod(&mut self, name: &ObjectName, delta: &Delta<Pod>) {
        for (pod, add) in [(&delta.old, false), (&delta.new, true)] {
            if let Some(pod) = pod {
                self.pods_by.put(pod, add);
            }
        }
        self.locate(name);
    }

    /// Adds to the change of a policy what it means for others.
    fn index_policy(&mut self, delta: Delta<NetworkPolicy>) -> PolicyDelta {
        let gone = delta.old.as_ref().map(|old| self.selections.remove(old)).unwrap_or_default();
        let new = delta.new.as_ref().map(|new| self.selections.add(new)).unwrap_or_default();
        // What is new is asked for before what is gone is let go: a label that both name stays known.
        for group in &new.groups {
            self.ask(group, true);
        }
        for group in &gone.groups {
            self.ask(group, false);
        }
        // What one version ceased to name and the next names again is named all the time.
        PolicyDelta { delta, crowds: &gone.crowds | &new.crowds, named: &gone.named ^ &new.named }
    }

    /// Notes that the members of the group are asked for, or are no more.
    fn ask(&mut self, group: &PodGroup, more: bool) {
        if let Some(key) = Anchor::of(group).key() {
            self.pods_by.ask(key, more, self.pods.values());
        }
    }

    /// Notes whether the pod is judged on this node.
    fn locate(&mut self, name: &ObjectName) {
        if self.pods.get(name).is_some_and(|pod| self.is_local(pod)) {
            self.pods_by.local.insert(name.clone());
        } else {
            self.pods_by.local.remove(name);
        }
    }

    /// The name of the node this runs on.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// The object of the node this runs on, if a source has shown it.
    pub fn own_node(&self) -> Option<&Arc<Node>> {
        self.nodes.get(&self.node_name)
    }

    /// All nodes by name.
    pub fn nodes(&self) -> &BTreeMap<String, Arc<Node>> {
        &self.nodes
    }

    /// All namespaces by name.
    pub fn namespaces(&self) -> &BTreeMap<String, Arc<Namespace>> {
        &self.namespaces
    }

    /// All pods by name.
    pub fn pods(&self) -> &BTreeMap<ObjectName, Arc<Pod>> {
        &self.pods
    }

    /// All Services by name.
    pub fn services(&self) -> &BTreeMap<ObjectName, Arc<Service>> {
        &self.services
    }

    /// All policies by name.
    pub fn policies(&self) -> &BTreeMap<ObjectName, Arc<NetworkPolicy>> {
        &self.policies
    }

    /// All EndpointSlices by name.
    pub fn slices(&self) -> &BTreeMap<ObjectName, Arc<EndpointSlice>> {
        &self.slices
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of<'a>(
        &'a self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &'a Arc<EndpointSlice>> + 'a {
        self.slices_of_service.get(service).into_iter().flatten()
    }

    /// All interfaces of local pods, by container ID and interface.
    pub fn attachments(&self) -> &BTreeMap<(String, String), Arc<Attachment>> {
        &self.attachments
    }

    /// The interfaces of one local pod.
    pub fn attachments_of<'a>(&'a self, pod: &ObjectName) -> impl Iterator<Item = &'a Arc<Attachment>> + 'a {
        self.attachments_of_pod.get(pod).into_iter().flatten().filter_map(|key| self.attachments.get(key))
    }

    /// All routes BGP has chosen.
    pub fn routes(&self) -> &BTreeMap<Prefix, Arc<LearntRoute>> {
        &self.routes
    }

    /// True if this node serves the virtual address: it is programmed, with an endpoint that takes new connections.
    pub fn is_in_force(&self, address: &IpAddr) -> bool {
        self.in_force.has(address)
    }

    /// True if the plane has told of all the virtual addresses that it programs.
    pub fn has_told_all(&self, plane: &str) -> bool {
        self.in_force.is_complete(plane)
    }

    /// The passwords that are mounted as files.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The addresses of a pod in the pod network: what the plugin gave it if it is local, else what its status says.
    /// None for a pod in the host's network and for one that has finished.
    pub fn pod_addresses(&self, pod: &Pod) -> Vec<IpAddr> {
        if pod.host_network || pod.finished {
            return Vec::new();
        }
        let attached: Vec<IpAddr> = self
            .attachments_of(&pod.name)
            .filter(|attachment| {
                pod.uid.is_empty() || attachment.uid.as_ref().is_none_or(|uid| *uid == pod.uid)
            })
            .flat_map(|attachment| attachment.addresses.iter().copied())
            .collect();
        if attached.is_empty() { pod.addresses.clone() } else { attached }
    }
}
