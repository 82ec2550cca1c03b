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

/// A pod of a document with what is not asked of it later.
struct Stated {
    place: usize,
    uid: String,
    node: String,
    addresses: Vec<IpAddr>,
    of_host: bool,
}

/// Whom the plugin gave an address to.
#[derive(Debug, Clone)]
pub(crate) struct Wired {
    /// The pod as `namespace/name`.
    pub(crate) pod: String,
    /// Its identity, if the runtime has told it: a pod made again under its name is another one.
    pub(crate) uid: Option<String>,
}

/// The node that is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Viewpoint {
    pub(crate) node: String,
    /// Its addresses.
    pub(crate) own: Vec<IpAddr>,
    /// `--netpol-match-host-pods`: pods in the host's network are peers by their status.
    pub(crate) host_pods_are_peers: bool,
}

/// The cluster as its documents say, seen from one node.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    namespaces: BTreeMap<String, Labels>,
    pods: Vec<Pod>,
    policies: Vec<Policy>,
    /// Whose an address is: places in `pods`. Only pods in the host's network share one.
    owners: BTreeMap<IpAddr, Vec<usize>>,
    /// Addresses of pods that run here.
    here: BTreeSet<IpAddr>,
    /// The pod networks of this node.
    networks: Vec<Block>,
    /// Addresses of this node itself.
    node: BTreeSet<IpAddr>,
}

impl Oracle {
    /// Reads documents as the API has them. What the plugin gave to pods of this node counts more than what a status says.
    pub(crate) fn read<'a>(
        documents: impl IntoIterator<Item = &'a Value>,
        wired: &BTreeMap<IpAddr, Wired>,
        from: &Viewpoint,
    ) -> Self {
        let mut oracle = Self { node: from.own.iter().copied().collect(), ..Self::default() };
        let mut stated = Vec::new();
        for document in documents {
            match text(document, "/kind") {
                "Namespace" => {
                    let name = text(document, "/metadata/name").to_owned();
                    oracle.namespaces.insert(name, labels(document.pointer("/metadata/labels")));
                }
                "NetworkPolicy" => oracle.policies.push(Policy::read(document)),
                "Node" if text(document, "/metadata/name") == from.node => {
                    let cidrs = list(document.pointer("/spec/podCIDRs")).iter();
                    oracle.networks = cidrs.filter_map(|cidr| Block::parse(cidr.as_str()?)).collect();
                }
                "Pod" => stated.extend(oracle.pod(document, from.host_pods_are_peers)),
                _ => {}
            }
        }
        for pod in stated {
            oracle.place(&pod, wired, &from.node);
        }
        oracle
    }

    /// Takes in a pod that lives and whose addresses mean it.
    fn pod(&mut self, document: &Value, host_pods_are_peers: bool) -> Option<Stated> {
        let over = matches!(text(document, "/status/phase"), "Succeeded" | "Failed");
        let of_host = document.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true);
        if over || (of_host && !host_pods_are_peers) {
            return None;
        }
        self.pods.push(Pod {
            namespace: text(document, "/metadata/namespace").to_owned(),
            name: text(document, "/metadata/name").to_owned(),
            labels: labels(document.pointer("/metadata/labels")),
            ports: ports(document),
        });
        let addresses = list(document.pointer("/status/podIPs")).iter();
        Some(Stated {
            place: self.pods.len() - 1,
            uid: text(document, "/metadata/uid").to_owned(),
            node: text(document, "/spec/nodeName").to_owned(),
            addresses: addresses.filter_map(|entry| entry.get("ip")?.as_str()?.parse().ok()).collect(),
            of_host,
        })
    }

    /// Says whose the addresses are, and which of them are judged here.
    fn place(&mut self, stated: &Stated, wired: &BTreeMap<IpAddr, Wired>, node: &str) {
        let pod = &self.pods[stated.place];
        let name = format!("{}/{}", pod.namespace, pod.name);
        let is_its = |wired: &Wired| {
            let same = wired.uid.as_ref().is_none_or(|uid| stated.uid.is_empty() || *uid == stated.uid);
            wired.pod == name && same
        };
        let given = wired.iter().filter(|(_, wired)| is_its(wired)).map(|(address, _)| *address);
        let given: Vec<IpAddr> = given.filter(|_| !stated.of_host).collect();
        let here = !stated.of_host && (stated.node == node || !given.is_empty());
        let has = if given.is_empty() { stated.addresses.clone() } else { given };
        for address in has {
            if wired.get(&address).is_some_and(|holder| !is_its(holder)) {
                continue;
            }
            self.owners.entry(address).or_default().push(stated.place);
            if here {
                self.here.insert(address);
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
