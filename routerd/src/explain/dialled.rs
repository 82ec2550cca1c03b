//! From what is dialled to the Service that answers there, and to its backends. Pure.

use std::fmt;
use std::net::IpAddr;

use prefix::Family;

use super::ends::{Party, Resolver, Who};
use super::question::Question;
use crate::cluster::objects::{ObjectName, Service, ServiceKind, ServicePort};
use crate::services::{backends, dsr, local_policies};

/// A Service, and how it is dialled.
pub(super) struct Target<'a> {
    service: &'a Service,
    by: By,
    /// The node that is dialled, where the address says which.
    node: Option<String>,
}

#[derive(Clone, Copy)]
enum By {
    Name,
    Address(IpAddr),
    NodePort(IpAddr),
}

impl<'a> Resolver<'a> {
    pub(super) fn service(&self, name: &ObjectName) -> Result<Target<'a>, String> {
        let service = self.index.services().get(name);
        let service = service.ok_or_else(|| format!("no Service {name} is known"))?;
        if service.kind == ServiceKind::ExternalName {
            return Err(format!("Service {name} is another name for an outside host; ask for its address"));
        }
        Ok(Target { service, by: By::Name, node: None })
    }

    /// The Service that is dialled by this address: a packet to it is judged with its backend as destination. Services may
    /// share an address, so the port tells which is meant; one without it is only there to say so.
    pub(super) fn service_at(&self, address: IpAddr, question: &Question) -> Option<Target<'a>> {
        let dialled =
            |by| self.index.services().values().map(move |service| Target { service, by, node: None });
        let here = || dialled(By::Address(address)).filter(|target| has(target.service, address));
        let has_port = |target: &Target<'a>| target.port(question).is_some();
        let node_port = || {
            let target = dialled(By::NodePort(address)).find(has_port)?;
            let Who::Node(node) = self.party(address).who else { return None };
            Some(Target { node: Some(node), ..target })
        };
        here().find(has_port).or_else(node_port).or_else(|| here().next())
    }

    /// Every backend of the Service with its real port.
    pub(super) fn backends(
        &self,
        target: &Target<'_>,
        question: &Question,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(Party, u16, Option<String>)>, String> {
        let service = target.service;
        let Some(port) = target.port(question) else {
            return Err(no_port(service, question));
        };
        let mut found = Vec::new();
        for family in Family::BOTH.into_iter().filter(|family| target.reaches(*family)) {
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
        let local = local_policies(service, &mut Vec::new());
        if local.internal || local.external {
            notes.push(format!(
                "{target} prefers or demands backends on the node that is asked (traffic policy Local); all are shown"
            ));
        }
        if self.masquerade.is_none() {
            notes.push(format!(
                "Services are another program's here (--run-service-proxy=false): the answer is for a backend of {target} that sees the client's own address"
            ));
        }
        Ok(found)
    }
}

/// True if the address is one of the Service's own.
fn has(service: &Service, address: IpAddr) -> bool {
    let outside = service.external_ips.iter().chain(&service.load_balancer_ips);
    service.cluster_ips.iter().chain(outside).any(|one| *one == address)
}

fn no_port(service: &Service, question: &Question) -> String {
    let ports = service.ports.iter().map(|port| format!("{} {}", port.protocol, port.port));
    let ports: Vec<String> = ports.collect();
    let (name, wanted) = (&service.name, format!("{} {}", question.protocol, question.port));
    format!("Service {name} has no port {wanted}; it has {}", ports.join(", "))
}

impl<'a> Target<'a> {
    /// The port of the Service that is asked for.
    fn port(&self, question: &Question) -> Option<&'a ServicePort> {
        let is_it = |port: &&ServicePort| {
            let number = match self.by {
                By::NodePort(_) => port.node_port,
                _ => Some(port.port),
            };
            number == Some(question.port) && port.protocol == question.protocol
        };
        self.service.ports.iter().find(is_it)
    }

    /// The node that is dialled, where the address says which.
    pub(super) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// True if a client of the node `from` that dials `node` reaches only backends there, or reaches them without a
    /// rewritten address.
    pub(super) fn keeps_sources(&self, from: Option<&str>, node: &str) -> bool {
        let inside = match self.by {
            By::Name => from.is_some(),
            By::Address(address) => self.service.cluster_ips.contains(&address),
            By::NodePort(_) => false,
        };
        let local = local_policies(self.service, &mut Vec::new());
        if inside {
            return local.internal;
        }
        // Clients of the node itself are led to the cluster address.
        let direct = !matches!(self.by, By::NodePort(_)) && dsr::takes(self.service);
        direct || local.external && from != Some(node)
    }

    /// True if backends of this family are reached.
    fn reaches(&self, family: Family) -> bool {
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
