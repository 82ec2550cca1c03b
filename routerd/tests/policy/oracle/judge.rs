//! What becomes of a packet that opens a flow.

use std::fmt;
use std::net::IpAddr;

use super::policy::{Peer, Policy, Port, PortEntry, Rule};
use super::{Oracle, Pod, Transport};

/// The first packet of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) transport: Transport,
    pub(crate) port: u16,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {} {}", self.from, self.to, self.transport.name(), self.port)
    }
}

/// Why a flow does not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No egress policy of the pod admits it.
    Egress(String),
    /// No ingress policy of the pod admits it.
    Ingress(String),
    /// The address is in the node's pod networks and no running pod has it.
    Nobody(IpAddr),
}

#[derive(Clone, Copy)]
enum Direction {
    Ingress,
    Egress,
}

impl Oracle {
    /// Whether this node lets the flow come about.
    pub(crate) fn judge(&self, flow: &Flow) -> Result<(), Refusal> {
        if self.node.contains(&flow.from) || flow.from == flow.to {
            return Ok(());
        }
        self.side(Direction::Egress, flow)?;
        self.side(Direction::Ingress, flow)
    }

    /// "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source pod
    /// and the ingress policy on the destination pod need to allow the connection." Each is judged where the pod runs.
    fn side(&self, direction: Direction, flow: &Flow) -> Result<(), Refusal> {
        let (own, other) = match direction {
            Direction::Egress => (flow.from, flow.to),
            Direction::Ingress => (flow.to, flow.from),
        };
        if !self.here.contains(&own) {
            let ours = self.networks.iter().any(|network| network.contains(own));
            let closed = ours && !self.node.contains(&own);
            return if closed { Err(Refusal::Nobody(own)) } else { Ok(()) };
        }
        let Some(pod) = self.owners(own).next() else { return Err(Refusal::Nobody(own)) };
        let mut isolated = false;
        for policy in &self.policies {
            let Some(rules) = rules_for(policy, direction, pod) else { continue };
            isolated = true;
            // "Network policies do not conflict; they are additive."
            if rules.iter().any(|rule| self.admits(policy, rule, flow, other)) {
                return Ok(());
            }
        }
        let name = format!("{}/{}", pod.namespace, pod.name);
        match direction {
            _ if !isolated => Ok(()),
            Direction::Egress => Err(Refusal::Egress(name)),
            Direction::Ingress => Err(Refusal::Ingress(name)),
        }
    }

    fn owners(&self, address: IpAddr) -> impl Iterator<Item = &Pod> {
        self.owners.get(&address).into_iter().flatten().map(|place| &self.pods[*place])
    }

    fn admits(&self, policy: &Policy, rule: &Rule, flow: &Flow, other: IpAddr) -> bool {
        let peer = rule.peers.is_empty() || rule.peers.iter().any(|peer| self.is_meant(policy, peer, other));
        let port = rule.ports.is_empty() || rule.ports.iter().any(|entry| self.is_port(entry, flow));
        peer && port
    }

    fn is_meant(&self, policy: &Policy, peer: &Peer, address: IpAddr) -> bool {
        let (namespaces, pods) = match peer {
            Peer::Block { cidr, except } => {
                return cidr.contains(address) && !except.iter().any(|part| part.contains(address));
            }
            Peer::Pods { namespaces, pods } => (namespaces, pods),
        };
        self.owners(address).any(|pod| {
            let namespace = match namespaces {
                // "If namespaceSelector is not set, podSelector selects the Pods matching it in the policy's own
                // namespace."
                None => pod.namespace == policy.namespace,
                Some(selector) => {
                    self.namespaces.get(&pod.namespace).is_some_and(|labels| selector.matches(labels))
                }
            };
            // "If only namespaceSelector is set, it selects all pods in the namespaces selected by it."
            namespace && pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
        })
    }

    fn is_port(&self, entry: &PortEntry, flow: &Flow) -> bool {
        entry.protocol == flow.transport
            && match &entry.port {
                Port::Any => true,
                Port::Numbers(first, last) => (*first..=*last).contains(&flow.port),
                // The destination says what it means by the name.
                Port::Named(name) => self.owners(flow.to).any(|pod| {
                    let wanted = (name, flow.transport, flow.port);
                    pod.ports.iter().any(|(name, transport, port)| (name, *transport, *port) == wanted)
                }),
            }
    }
}

/// The rules of a policy for a pod and direction, if it isolates the pod in that direction.
fn rules_for<'a>(policy: &'a Policy, direction: Direction, pod: &Pod) -> Option<&'a [Rule]> {
    let rules = match direction {
        Direction::Ingress => policy.ingress.as_deref()?,
        Direction::Egress => policy.egress.as_deref()?,
    };
    (policy.namespace == pod.namespace && policy.pods.matches(&pod.labels)).then_some(rules)
}
