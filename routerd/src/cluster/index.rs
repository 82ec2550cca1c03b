//! The state of the cluster as this node sees it: one value, owned by one task, without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use prefix::Prefix;

use super::Kind;
use super::objects::{
    Attachment, EndpointSlice, LearntRoute, Namespace, NetworkPolicy, Node, ObjectName, Pod, Service,
};

/// An object as a source delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A node.
    Node(Node),
    /// A namespace.
    Namespace(Namespace),
    /// A pod.
    Pod(Pod),
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
}

/// The identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// A node.
    Node(String),
    /// A namespace.
    Namespace(String),
    /// A pod.
    Pod(ObjectName),
    /// A Service.
    Service(ObjectName),
    /// An EndpointSlice.
    EndpointSlice(ObjectName),
    /// A NetworkPolicy.
    NetworkPolicy(ObjectName),
}

impl ObjectKey {
    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        match self {
            ObjectKey::Node(_) => Kind::Node,
            ObjectKey::Namespace(_) => Kind::Namespace,
            ObjectKey::Pod(_) => Kind::Pod,
            ObjectKey::Service(_) => Kind::Service,
            ObjectKey::EndpointSlice(_) => Kind::EndpointSlice,
            ObjectKey::NetworkPolicy(_) => Kind::NetworkPolicy,
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectKey::Node(name) | ObjectKey::Namespace(name) => write!(f, "{} {name}", self.kind()),
            ObjectKey::Pod(name)
            | ObjectKey::Service(name)
            | ObjectKey::EndpointSlice(name)
            | ObjectKey::NetworkPolicy(name) => write!(f, "{} {name}", self.kind()),
        }
    }
}

impl Object {
    /// Its identity.
    pub fn key(&self) -> ObjectKey {
        match self {
            Object::Node(object) => ObjectKey::Node(object.name.clone()),
            Object::Namespace(object) => ObjectKey::Namespace(object.name.clone()),
            Object::Pod(object) => ObjectKey::Pod(object.name.clone()),
            Object::Service(object) => ObjectKey::Service(object.name.clone()),
            Object::EndpointSlice(object) => ObjectKey::EndpointSlice(object.name.clone()),
            Object::NetworkPolicy(object) => ObjectKey::NetworkPolicy(object.name.clone()),
        }
    }
}

/// What happens in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An object is there, new or changed.
    Upsert(Object),
    /// An object is gone.
    Delete(ObjectKey),
    /// The plugin has wired a pod.
    Attach(Attachment),
    /// The plugin has taken a pod's interface away: container ID and interface.
    Detach(String, String),
    /// BGP has chosen a route, or lost it (no next hops).
    Route(LearntRoute),
}

/// An object before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta<T> {
    /// As it was; `None` if it is new.
    pub old: Option<Arc<T>>,
    /// As it is; `None` if it is gone.
    pub new: Option<Arc<T>>,
}

impl<T> Delta<T> {
    /// What there is of it, the new before the old.
    pub fn any(&self) -> Option<&T> {
        self.new.as_deref().or(self.old.as_deref())
    }

    /// Old and new, as far as they are there.
    pub fn both(&self) -> impl Iterator<Item = &T> {
        self.old.as_deref().into_iter().chain(self.new.as_deref())
    }
}

/// What an event changed. An event that changes nothing has no `Change`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node.
    Node(Delta<Node>),
    /// A namespace.
    Namespace(Delta<Namespace>),
    /// A pod.
    Pod(Delta<Pod>),
    /// A Service.
    Service(Delta<Service>),
    /// An EndpointSlice.
    EndpointSlice(Delta<EndpointSlice>),
    /// A NetworkPolicy.
    NetworkPolicy(Delta<NetworkPolicy>),
    /// An interface of a local pod.
    Attachment(Delta<Attachment>),
    /// A route learnt by BGP.
    Route(Delta<LearntRoute>),
}

/// The cluster as this node sees it.
#[derive(Debug, Default)]
pub struct Index {
    node_name: String,
    nodes: BTreeMap<String, Arc<Node>>,
    namespaces: BTreeMap<String, Arc<Namespace>>,
    pods: BTreeMap<ObjectName, Arc<Pod>>,
    services: BTreeMap<ObjectName, Arc<Service>>,
    slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    attachments: BTreeMap<(String, String), Arc<Attachment>>,
    routes: BTreeMap<Prefix, Arc<LearntRoute>>,
    slices_of_service: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    attachments_of_pod: BTreeMap<ObjectName, BTreeSet<(String, String)>>,
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

    /// Takes in one event and says what it changed, if anything.
    pub fn apply(&mut self, event: Event) -> Option<Change> {
        match event {
            Event::Upsert(object) => {
                let key = object.key();
                self.put(&key, Some(object))
            }
            Event::Delete(key) => self.put(&key, None),
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
        }
    }

    /// Takes in the complete list of the objects of `kind`: what is not in it is gone.
    pub fn replace(&mut self, kind: Kind, objects: Vec<Object>) -> Vec<Change> {
        let listed: BTreeSet<ObjectKey> = objects.iter().map(Object::key).collect();
        let gone: Vec<ObjectKey> =
            self.keys_of(kind).into_iter().filter(|key| !listed.contains(key)).collect();
        let deletions = gone.into_iter().map(Event::Delete);
        let upserts = objects.into_iter().map(Event::Upsert);
        // What is new comes first: nothing that moved from one object to another is without one in between.
        upserts.chain(deletions).filter_map(|event| self.apply(event)).collect()
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
            ObjectKey::Pod(name) => typed!(Pod, pods, name),
            ObjectKey::Service(name) => typed!(Service, services, name),
            ObjectKey::NetworkPolicy(name) => typed!(NetworkPolicy, policies, name),
            ObjectKey::EndpointSlice(name) => {
                let change = typed!(EndpointSlice, slices, name);
                if let Some(Change::EndpointSlice(delta)) = &change {
                    for (slice, add) in [(&delta.old, false), (&delta.new, true)] {
                        if let Some(service) = slice.as_deref().and_then(|slice| slice.service.as_ref()) {
                            relink(&mut self.slices_of_service, service, name.clone(), add);
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
            }
        }
        Some(Change::Attachment(delta))
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
        self.slices_of_service.get(service).into_iter().flatten().filter_map(|name| self.slices.get(name))
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
