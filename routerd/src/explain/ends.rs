//! From names and addresses to who sends, who receives, and on which ways. Pure.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use prefix::Family;

use super::question::{End, Question};
use super::seen::Masquerade;
use crate::cluster::Index;
use crate::cluster::objects::{ObjectName, Pod};

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// A pod of the pod network, and its node.
    Pod(ObjectName, Option<String>),
    /// A pod in its node's network.
    HostPod(ObjectName, Option<String>),
    /// A node.
    Node(String),
    /// Nobody, though it is in the pod network of this node.
    NoPod(String),
    /// Somebody outside of the cluster, or nobody.
    Outside,
}

/// Somebody with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) who: Who,
    pub(super) address: IpAddr,
}

/// A way of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) from: Party,
    /// Whom the receiver sees, if not the sender.
    pub(super) seen: Option<Party>,
    pub(super) to: Party,
    pub(super) port: u16,
    /// How the destination is reached, if not directly.
    pub(super) via: Option<String>,
}

/// All ways, and what there is to say of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ways {
    pub(super) ways: Vec<Way>,
    pub(super) notes: Vec<String>,
}

impl Way {
    /// The sender as the receiver sees it.
    pub(super) fn sender(&self) -> &Party {
        self.seen.as_ref().unwrap_or(&self.from)
    }
}

impl Who {
    /// The pod's name, if it is one of the pod network.
    pub(super) fn pod(&self) -> Option<&ObjectName> {
        match self {
            Who::Pod(name, _) => Some(name),
            _ => None,
        }
    }

    /// The node whose kernel judges it, if a node does.
    pub(super) fn node(&self) -> Option<&str> {
        match self {
            Who::Pod(_, node) | Who::HostPod(_, node) => node.as_deref(),
            Who::Node(node) | Who::NoPod(node) => Some(node),
            Who::Outside => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |node: &Option<String>| node.clone().unwrap_or_else(|| "no node yet".to_owned());
        match self {
            Who::Pod(name, node) => write!(f, "pod {name} on {}", place(node)),
            Who::HostPod(name, node) => {
                write!(f, "pod {name} in the host network of {}", place(node))
            }
            Who::Node(name) => write!(f, "node {name}"),
            Who::NoPod(node) => write!(f, "no pod, in the pod network of {node}"),
            Who::Outside => f.write_str("no pod and no node"),
        }
    }
}

/// The world that names are looked up in. The task that owns the index stands still meanwhile, so nobody is looked for among
/// all there are, but by name and address.
pub(super) struct Resolver<'a> {
    pub(super) index: &'a Index,
    /// The addresses of this node's own devices.
    local: &'a BTreeSet<IpAddr>,
    /// What becomes of sources behind Services; `None` if Services are another program's.
    pub(super) masquerade: Option<Masquerade>,
    /// The nodes by address, once they are asked for.
    nodes: OnceCell<BTreeMap<IpAddr, &'a str>>,
}

impl<'a> Resolver<'a> {
    /// Looks names up in `index`; `local` are the addresses of this node's devices.
    pub(super) fn new(index: &'a Index, local: &'a BTreeSet<IpAddr>, masquerade: Option<Masquerade>) -> Self {
        Self { index, local, masquerade, nodes: OnceCell::new() }
    }

    /// The ways of the question's packets. An error says what is not known.
    pub(super) fn ways(&self, question: &Question) -> Result<Ways, String> {
        let from = self.parties(&question.from)?;
        let mut found = Ways::default();
        let behind = match &question.to {
            End::Service(name) => Some(self.service(name)?),
            End::Address(address) => self.service_at(*address, question),
            End::Pod(_) => None,
        };
        let targets = match &behind {
            Some(service) => self.backends(service, question, &mut found.notes)?,
            None => self.parties(&question.to)?.into_iter().map(|to| (to, question.port, None)).collect(),
        };
        for sender in &from {
            for (to, port, via) in &targets {
                if Family::of(sender.address) == Family::of(to.address) {
                    let service = behind.as_ref();
                    let seen = service.and_then(|service| self.seen(service, sender, to, &mut found.notes));
                    let (from, to, port, via) = (sender.clone(), to.clone(), *port, via.clone());
                    found.ways.push(Way { from, seen, to, port, via });
                }
            }
        }
        if found.ways.is_empty() && !targets.is_empty() {
            found
                .notes
                .push(format!("{} and {} have no address family in common", question.from, question.to));
        }
        Ok(found)
    }

    fn parties(&self, end: &End) -> Result<Vec<Party>, String> {
        match end {
            End::Pod(name) => self.pod(name),
            End::Address(address) => Ok(vec![self.party(*address)]),
            End::Service(name) => Err(format!("a Service, {name}, sends nothing")),
        }
    }

    fn pod(&self, name: &ObjectName) -> Result<Vec<Party>, String> {
        let Some(pod) = self.index.pods().get(name) else {
            let attached = self.index.attachments_of(name).flat_map(|one| one.addresses.iter().copied());
            let parties: Vec<Party> = attached.map(|address| self.party(address)).collect();
            return if parties.is_empty() { Err(self.unknown_pod(name)) } else { Ok(parties) };
        };
        if pod.finished {
            return Err(format!("pod {name} has finished; it has no network any more"));
        }
        let who = self.who(pod);
        let addresses =
            if pod.host_network { self.host_addresses(pod) } else { self.index.pod_addresses(pod) };
        if addresses.is_empty() {
            return Err(format!(
                "pod {name} has no address yet, so nobody speaks to it or hears from it; ask again when it runs"
            ));
        }
        Ok(addresses.into_iter().map(|address| Party { who: who.clone(), address }).collect())
    }

    fn unknown_pod(&self, name: &ObjectName) -> String {
        if !self.index.namespaces().contains_key(name.namespace.as_str()) {
            return format!("no namespace {} is known, so no pod {name} is", name.namespace);
        }
        let others = self.index.pods().keys().filter(|other| other.namespace == name.namespace);
        let near: Vec<String> = others
            .filter(|other| other.name.starts_with(name.name.as_str()))
            .take(3)
            .map(ToString::to_string)
            .collect();
        if near.is_empty() {
            format!("no pod {name} is known")
        } else {
            format!("no pod {name} is known; there is {}", near.join(", "))
        }
    }

    fn who(&self, pod: &Pod) -> Who {
        let attached = self.index.attachments_of(&pod.name).next().is_some();
        let here = || Some(self.index.node_name().to_owned());
        let node = if attached && !pod.host_network { here() } else { pod.node.clone() };
        let name = pod.name.clone();
        if pod.host_network { Who::HostPod(name, node) } else { Who::Pod(name, node) }
    }

    fn host_addresses(&self, pod: &Pod) -> Vec<IpAddr> {
        if !pod.addresses.is_empty() {
            return pod.addresses.clone();
        }
        let node = pod.node.as_ref().and_then(|node| self.index.nodes().get(node));
        node.map(|node| node.addresses().collect()).unwrap_or_default()
    }

    /// Who has the address.
    pub(super) fn party(&self, address: IpAddr) -> Party {
        let who = self.pod_at(address).or_else(|| self.node_at(address)).unwrap_or_else(|| {
            let mut nodes = self.index.nodes().values();
            let near = nodes.find(|node| node.pod_cidrs.iter().any(|cidr| cidr.contains(address)));
            near.map_or(Who::Outside, |node| Who::NoPod(node.name.clone()))
        });
        Party { who, address }
    }

    /// The pod of the pod network that has the address; the plugin knows best who has one of this node.
    fn pod_at(&self, address: IpAddr) -> Option<Who> {
        let index = self.index;
        if let Some(pod) = index.holders(address).iter().min() {
            return Some(Who::Pod(pod.clone(), Some(index.node_name().to_owned())));
        }
        let claimants = index.claimants(address).filter(|pod| index.pod_addresses(pod).contains(&address));
        claimants.min_by(|one, other| one.name.cmp(&other.name)).map(|pod| self.who(pod))
    }

    fn node_at(&self, address: IpAddr) -> Option<Who> {
        if self.local.contains(&address) {
            return Some(Who::Node(self.index.node_name().to_owned()));
        }
        let nodes = self.nodes.get_or_init(|| {
            let mut by_address = BTreeMap::new();
            for node in self.index.nodes().values() {
                for address in node.addresses() {
                    by_address.entry(address).or_insert(node.name.as_str());
                }
            }
            by_address
        });
        nodes.get(&address).map(|node| Who::Node((*node).to_owned()))
    }
}
