//! The documents of a cluster, and what the plugin has told: the one truth that daemon and oracle both read.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use routerd::cluster::objects::{Attachment, ObjectName};
use routerd::cluster::{Event, ObjectKey};
use serde_json::{Value, json};

use crate::net::{NODE, OWN, ip, place};
use crate::oracle::{Oracle, Viewpoint, Wired};
use crate::plane::object;

/// Kind, namespace, name.
pub(crate) type Key = (String, String, String);

/// Documents by key, and who is wired where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    documents: BTreeMap<Key, Value>,
    /// By container, who was wired and with which addresses.
    wired: BTreeMap<String, (Wired, Vec<IpAddr>)>,
    /// `--netpol-match-host-pods`.
    pub(crate) host_pods_are_peers: bool,
    /// How many rules and peers make policies a crowd, if not as many as for everybody.
    pub(crate) crowds_above: Option<usize>,
}

fn key_of(document: &Value) -> Key {
    let text =
        |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn object_key(key: &Key) -> ObjectKey {
    let (kind, namespace, name) = key;
    let namespaced = || ObjectName::new(namespace.as_str(), name.as_str());
    match kind.as_str() {
        "Namespace" => ObjectKey::Namespace(name.clone()),
        "Node" => ObjectKey::Node(name.clone()),
        "Pod" => ObjectKey::Pod(namespaced()),
        "NetworkPolicy" => ObjectKey::NetworkPolicy(namespaced()),
        "Service" => ObjectKey::Service(namespaced()),
        "EndpointSlice" => ObjectKey::EndpointSlice(namespaced()),
        other => panic!("no test has a {other}"),
    }
}

impl Cluster {
    /// This node and another one.
    pub(crate) fn new() -> Self {
        let mut cluster = Self::default();
        for (name, number) in [(NODE, 1), ("node2", 2)] {
            let addresses = [format!("192.0.2.{number}"), format!("2001:db8::{number}")];
            cluster.put(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                "spec": {"podCIDRs": [format!("10.244.{number}.0/24"), format!("fd00:244:{number}::/64")]},
                "status": {"addresses": addresses.map(|address| json!({"type": "InternalIP", "address": address}))},
            }));
        }
        cluster
    }

    /// Adds or replaces an object.
    pub(crate) fn put(&mut self, document: Value) -> Event {
        let event = Event::Upsert(object(&document));
        self.documents.insert(key_of(&document), document);
        event
    }

    pub(crate) fn delete(&mut self, key: &Key) -> Event {
        assert!(self.documents.remove(key).is_some(), "{key:?} is not there");
        Event::Delete(object_key(key))
    }

    /// The plugin wires a pod.
    pub(crate) fn attach(&mut self, container: &str, pod: &str, addresses: &[IpAddr]) -> Event {
        self.attach_as(container, Wired { pod: pod.to_owned(), uid: None }, addresses)
    }

    /// The same with the pod's identity.
    pub(crate) fn attach_as(&mut self, container: &str, wired: Wired, addresses: &[IpAddr]) -> Event {
        let event = attached(container, &wired, addresses);
        self.wired.insert(container.to_owned(), (wired, addresses.to_vec()));
        event
    }

    pub(crate) fn detach(&mut self, container: &str) -> Event {
        assert!(self.wired.remove(container).is_some(), "{container} is not there");
        Event::Detach(container.to_owned(), "eth0".to_owned())
    }

    /// The object of this kind and name; the key it is under, too.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        self.documents.iter().filter(move |(key, _)| key.0 == kind)
    }

    pub(crate) fn document(&self, kind: &str, name: &str) -> &Value {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        &self.documents[&(kind.to_owned(), namespace.to_owned(), name.to_owned())]
    }

    /// Who is wired: container, pod, addresses.
    pub(crate) fn wired(&self) -> &BTreeMap<String, (Wired, Vec<IpAddr>)> {
        &self.wired
    }

    /// Everything, for a daemon that starts.
    pub(crate) fn events(&self) -> Vec<Event> {
        let objects = self.documents.values().map(|document| Event::Upsert(object(document)));
        let wired =
            self.wired.iter().map(|(container, (pod, addresses))| attached(container, pod, addresses));
        objects.chain(wired).collect()
    }

    pub(crate) fn oracle(&self) -> Oracle {
        let wired = self.wired.values();
        let wired = wired.flat_map(|(pod, addresses)| addresses.iter().map(move |one| (*one, pod.clone())));
        let from = Viewpoint {
            node: NODE.to_owned(),
            own: OWN.map(ip).to_vec(),
            host_pods_are_peers: self.host_pods_are_peers,
        };
        Oracle::read(self.documents.values(), &wired.collect(), &from)
    }
}

/// All there is, for a message.
impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, namespace, name), document) in &self.documents {
            let (labels, spec) = (&document["metadata"]["labels"], &document["spec"]);
            writeln!(f, "  {kind} {namespace}/{name} {labels} {spec} {}", document["status"])?;
        }
        for (container, (pod, addresses)) in &self.wired {
            writeln!(f, "  wired {container}: {pod:?} {addresses:?}")?;
        }
        Ok(())
    }
}

fn attached(container: &str, wired: &Wired, addresses: &[IpAddr]) -> Event {
    let (namespace, name) = wired.pod.split_once('/').unwrap();
    Event::Attach(Attachment {
        container: container.to_owned(),
        interface: "eth0".to_owned(),
        pod: ObjectName::new(namespace, name),
        uid: wired.uid.clone(),
        netns: String::new(),
        host_device: String::new(),
        addresses: addresses.to_vec(),
    })
}

/// Labels from `a=b,c=d`.
pub(crate) fn labels(text: &str) -> Value {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect()
}

pub(crate) fn namespace(name: &str, of: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels(of)}})
}

/// A container with ports from `http=TCP:80,dns=UDP:53`.
pub(crate) fn container(ports: &str) -> Value {
    let ports = ports.split(',').filter(|text| !text.is_empty()).map(|text| {
        let (name, rest) = text.split_once('=').unwrap();
        let (protocol, number) = rest.split_once(':').unwrap();
        json!({"name": name, "protocol": protocol, "containerPort": number.parse::<u16>().unwrap()})
    });
    json!({"name": "c", "ports": ports.collect::<Vec<_>>()})
}

/// A running pod, by `namespace/name`, on a node, with addresses.
pub(crate) fn pod(name: &str, of: &str, node: &str, addresses: &[IpAddr], ports: &str) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    let ips: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels(of)},
        "spec": {"nodeName": node, "containers": [container(ports)]},
        "status": {"phase": "Running", "podIPs": ips},
    })
}

/// A policy by `namespace/name` from the YAML of its spec.
pub(crate) fn policy(name: &str, spec: &str) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    let spec: Value = serde_saphyr::from_str(spec).unwrap();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// Both addresses of a place as the plugin gives them.
pub(crate) fn given(number: usize) -> Vec<IpAddr> {
    place(number).to_vec()
}
