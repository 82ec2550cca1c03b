//! From names and addresses to who sends, who receives, and on which ways. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use prefix::Family;

use super::question::{End, Question};
use crate::cluster::Index;
use crate::cluster::objects::{Node, ObjectName, Pod, Service, ServiceKind, ServicePort};
use crate::services::backends;

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
            Who::HostPod(name, node) => write!(f, "pod {name} in the host network of {}", place(node)),
            Who::Node(name) => write!(f, "node {name}"),
            Who::NoPod(node) => write!(f, "no pod, in the pod network of {node}"),
            Who::Outside => f.write_str("no pod and no node"),
        }
    }
}

/// The world that names are looked up in.
pub(super) struct Resolver<'a> {
    pub(super) index: &'a Index,
    /// The addresses of this node's own devices.
    pub(super) local: &'a BTreeSet<IpAddr>,
}

impl Resolver<'_> {
    /// The ways of the question's packets. An error says what is not known.
    pub(super) fn ways(&self, question: &Question) -> Result<Ways, String> {
        let from = self.parties(&question.from)?;
        let mut found = Ways::default();
        let behind = match &question.to {
            End::Service(name) => Some(self.service(name)?),
            End::Address(address) => self.service_at(*address, question),
            End::Pod(_) => None,
        };
        let targets = match behind {
            Some(service) => self.backends(&service, question, &mut found.notes)?,
            None => self.parties(&question.to)?.into_iter().map(|to| (to, question.port, None)).collect(),
        };
        for sender in &from {
            for (to, port, via) in &targets {
                if Family::of(sender.address) == Family::of(to.address) {
                    let (from, to, port, via) = (sender.clone(), to.clone(), *port, via.clone());
                    found.ways.push(Way { from, to, port, via });
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
        let index = self.index;
        let attached = index.attachments().values().find(|one| one.addresses.contains(&address));
        let holder = attached.map(|one| Who::Pod(one.pod.clone(), Some(index.node_name().to_owned())));
        let pod = || index.pods().values().find(|pod| index.pod_addresses(pod).contains(&address));
        let own = || self.local.contains(&address).then(|| Who::Node(index.node_name().to_owned()));
        let node = |has: &dyn Fn(&Node) -> bool| {
            index.nodes().values().find(|node| has(node)).map(|node| node.name.clone())
        };
        let who = holder
            .or_else(|| pod().map(|pod| self.who(pod)))
            .or_else(own)
            .or_else(|| node(&|node| node.addresses().any(|one| one == address)).map(Who::Node))
            .or_else(|| {
                node(&|node| node.pod_cidrs.iter().any(|cidr| cidr.contains(address))).map(Who::NoPod)
            });
        Party { who: who.unwrap_or(Who::Outside), address }
    }

    fn service(&self, name: &ObjectName) -> Result<Target<'_>, String> {
        let service = self.index.services().get(name);
        let service = service.ok_or_else(|| format!("no Service {name} is known"))?;
        if service.kind == ServiceKind::ExternalName {
            return Err(format!("Service {name} is another name for an outside host; ask for its address"));
        }
        Ok(Target { service, by: By::Name })
    }

    /// The Service that is dialled by this address: a packet to it is judged with its backend as destination.
    fn service_at(&self, address: IpAddr, question: &Question) -> Option<Target<'_>> {
        let by = |service: &Service| {
            let outside = service.external_ips.iter().chain(&service.load_balancer_ips);
            if service.cluster_ips.iter().chain(outside).any(|one| *one == address) {
                return Some(By::Address(address));
            }
            let is_node_port = |port: &ServicePort| {
                port.node_port == Some(question.port) && port.protocol == question.protocol
            };
            (matches!(self.party(address).who, Who::Node(_)) && service.ports.iter().any(is_node_port))
                .then_some(By::NodePort(address))
        };
        self.index.services().values().find_map(|service| Some(Target { service, by: by(service)? }))
    }

    /// Every backend of the Service with its real port.
    fn backends(
        &self,
        target: &Target<'_>,
        question: &Question,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(Party, u16, Option<String>)>, String> {
        let service = target.service;
        let matches = |port: &&ServicePort| {
            let number = match target.by {
                By::NodePort(_) => port.node_port,
                _ => Some(port.port),
            };
            number == Some(question.port) && port.protocol == question.protocol
        };
        let Some(port) = service.ports.iter().find(matches) else { return Err(no_port(service, question)) };
        let mut found = Vec::new();
        for family in Family::BOTH.into_iter().filter(|family| target.has(*family)) {
            for (socket, backend) in backends(self.index, service, port, family, false).by_socket {
                if backend.weight > 0 {
                    found.push((self.party(socket.ip()), socket.port(), Some(target.to_string())));
                }
            }
        }
        if found.is_empty() {
            notes.push(format!(
                "{target} has no endpoint for port {}, so nobody answers there",
                question.port
            ));
        }
        if service.internal_local || service.external_local {
            notes.push(format!(
                "{target} prefers or demands backends on the node that is asked (traffic policy Local); all are shown"
            ));
        }
        Ok(found)
    }
}

fn no_port(service: &Service, question: &Question) -> String {
    let ports = service.ports.iter().map(|port| format!("{} {}", port.protocol, port.port));
    let ports: Vec<String> = ports.collect();
    let (name, wanted) = (&service.name, format!("{} {}", question.protocol, question.port));
    format!("Service {name} has no port {wanted}; it has {}", ports.join(", "))
}

/// A Service, and how it is dialled.
struct Target<'a> {
    service: &'a Service,
    by: By,
}

enum By {
    Name,
    Address(IpAddr),
    NodePort(IpAddr),
}

impl Target<'_> {
    /// True if backends of this family are reached.
    fn has(&self, family: Family) -> bool {
        match self.by {
            By::Name => true,
            By::Address(address) | By::NodePort(address) => Family::of(address) == family,
        }
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            By::Name => write!(f, "Service {}", self.service.name),
            By::Address(address) => write!(f, "Service {} at {address}", self.service.name),
            By::NodePort(address) => write!(f, "a node port of Service {} at {address}", self.service.name),
        }
    }
}
