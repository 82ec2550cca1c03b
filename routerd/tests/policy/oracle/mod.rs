//! What NetworkPolicies mean, written from the API's documentation and from nothing of `routerd`: own types, own reading
//! of the same documents, and no cleverness. It asks every policy about every packet.
//!
//! Sources: the reference of `networking.k8s.io/v1 NetworkPolicy`, `metav1.LabelSelector` and `core/v1 Pod`, and the
//! concept page "Network Policies". Where those leave a choice, these are ours (issue 5, `reference/kube-router.md` §5):
//!
//! - A node always reaches its own pods (probes of the kubelet). What a pod sends to its own node is egress like any other.
//! - Pods in the host's network are neither judged nor matched by selectors; an `ipBlock` matches any address.
//! - In the pod networks of this node an address that belongs to no running pod is closed.
//! - A policy that the API would refuse admits nothing in the directions that it has.

mod block;
mod judge;
mod policy;
mod selector;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use self::block::Block;
pub(crate) use self::judge::Flow;
use self::policy::Policy;

/// Labels of an object.
type Labels = BTreeMap<String, String>;

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    pub(crate) const ALL: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
            Transport::Sctp => "SCTP",
        }
    }

    fn read(value: Option<&Value>) -> Option<Self> {
        let Some(value) = value else { return Some(Transport::Tcp) };
        Self::ALL.into_iter().find(|transport| Some(transport.name()) == value.as_str())
    }
}

/// A pod that has addresses of its own.
#[derive(Debug)]
struct Pod {
    namespace: String,
    name: String,
    labels: Labels,
    /// Its named ports: name, protocol, number.
    ports: Vec<(String, Transport, u16)>,
}

/// The cluster as its documents say, seen from one node.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    namespaces: BTreeMap<String, Labels>,
    pods: Vec<Pod>,
    policies: Vec<Policy>,
    /// Whose an address is: a place in `pods`.
    owners: BTreeMap<IpAddr, usize>,
    /// Addresses of pods that run here.
    here: BTreeSet<IpAddr>,
    /// The pod networks of this node.
    networks: Vec<Block>,
    /// Addresses of this node itself.
    node: BTreeSet<IpAddr>,
}

impl Oracle {
    /// Reads documents as the API has them. `wired` are the addresses that the plugin gave to pods of this node, with
    /// the pod as `namespace/name`; they count more than what a status says. `node` is this node's name, `own` its
    /// addresses.
    pub(crate) fn read<'a>(
        documents: impl IntoIterator<Item = &'a Value>,
        wired: &BTreeMap<IpAddr, String>,
        node: &str,
        own: &[IpAddr],
    ) -> Self {
        let mut oracle = Self { node: own.iter().copied().collect(), ..Self::default() };
        let mut stated = Vec::new();
        for document in documents {
            match text(document, "/kind") {
                "Namespace" => {
                    let name = text(document, "/metadata/name").to_owned();
                    oracle.namespaces.insert(name, labels(document.pointer("/metadata/labels")));
                }
                "NetworkPolicy" => oracle.policies.push(Policy::read(document)),
                "Node" if text(document, "/metadata/name") == node => {
                    let cidrs = list(document.pointer("/spec/podCIDRs")).iter();
                    oracle.networks = cidrs.filter_map(|cidr| Block::parse(cidr.as_str()?)).collect();
                }
                "Pod" => stated.extend(oracle.pod(document)),
                _ => {}
            }
        }
        oracle.own(stated, wired, node);
        oracle
    }

    /// Takes in a pod that lives and has a network of its own: its place, node and the addresses of its status.
    fn pod(&mut self, document: &Value) -> Option<(usize, String, Vec<IpAddr>)> {
        let over = matches!(text(document, "/status/phase"), "Succeeded" | "Failed");
        let of_host = document.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
        if over || of_host {
            return None;
        }
        self.pods.push(Pod {
            namespace: text(document, "/metadata/namespace").to_owned(),
            name: text(document, "/metadata/name").to_owned(),
            labels: labels(document.pointer("/metadata/labels")),
            ports: ports(document),
        });
        let addresses = list(document.pointer("/status/podIPs")).iter();
        let addresses = addresses.filter_map(|entry| entry.get("ip")?.as_str()?.parse().ok()).collect();
        Some((self.pods.len() - 1, text(document, "/spec/nodeName").to_owned(), addresses))
    }

    fn own(
        &mut self,
        stated: Vec<(usize, String, Vec<IpAddr>)>,
        wired: &BTreeMap<IpAddr, String>,
        node: &str,
    ) {
        for (place, on, addresses) in stated {
            let pod = &self.pods[place];
            let name = format!("{}/{}", pod.namespace, pod.name);
            let given: Vec<IpAddr> =
                wired.iter().filter(|(_, of)| **of == name).map(|(address, _)| *address).collect();
            let has = if given.is_empty() { addresses } else { given.clone() };
            for address in has {
                if wired.get(&address).is_some_and(|holder| *holder != name) {
                    continue;
                }
                self.owners.insert(address, place);
                if on == node || !given.is_empty() {
                    self.here.insert(address);
                }
            }
        }
    }
}

/// Ports of containers and of sidecars, which are init containers that are always restarted.
fn ports(pod: &Value) -> Vec<(String, Transport, u16)> {
    let sidecar = |container: &&Value| text(container, "/restartPolicy") == "Always";
    let containers = list(pod.pointer("/spec/containers")).iter();
    let containers = containers.chain(list(pod.pointer("/spec/initContainers")).iter().filter(sidecar));
    let ports = containers.flat_map(|container| list(container.get("ports")));
    let named = ports.filter_map(|port| {
        let number = u16::try_from(port.get("containerPort")?.as_u64()?).ok()?;
        Some((port.get("name")?.as_str()?.to_owned(), Transport::read(port.get("protocol"))?, number))
    });
    named.collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn labels(value: Option<&Value>) -> Labels {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
