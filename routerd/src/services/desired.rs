//! From Services and EndpointSlices to virtual services: pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prefix::{Family, Prefix};

use super::endpoints::{self, Backends};
use super::scheduling::Scheduling;
use super::{NAME, Settings, external};
use crate::cluster::objects::{ObjectName, Protocol, Service, ServiceKind, ServicePort};
use crate::cluster::{Change, Index};
use crate::runner::Plane;

const FORCE_LOCAL: &str = "kube-router.io/service.local";
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// The values of the proxy label that mean this proxy.
const OWN_NAMES: [&str; 2] = ["kube-router", "routerd"];

/// What the plane's work is divided by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// What of the node all Services need.
    Node,
    /// One Service.
    Service(ObjectName),
}

/// What should be for a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// For [`Key::Node`].
    Node(NodeFacts),
    /// For [`Key::Service`].
    Service(Wish),
}

/// What of the node all Services need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's addresses, the one to be reached by first.
    pub addresses: Vec<IpAddr>,
    /// Its pods' prefixes: their addresses are never rewritten.
    pub pod_cidrs: Vec<Prefix>,
}

impl NodeFacts {
    /// The address of `family` others reach the node by.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }
}

/// What one Service wants of this node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// Its virtual services.
    pub virtuals: Vec<VirtualService>,
    /// What of the object cannot be programmed, and why.
    pub problems: Vec<String>,
}

/// Where a virtual service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// At an address of its own, which lies on the dummy device.
    Virtual(IpAddr),
    /// At an address that is the node's anyway.
    Node(IpAddr),
    /// At every address of the node of a family.
    EveryAddress(Family),
}

/// One virtual service.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualService {
    /// Where it is reached.
    pub at: At,
    /// By which protocol.
    pub protocol: Protocol,
    /// And port.
    pub port: u16,
    /// How backends are chosen.
    pub scheduling: Scheduling,
    /// Among which.
    pub backends: Backends,
}

/// The pure half of the plane.
#[derive(Debug, Clone, Default)]
pub struct Services {
    settings: Settings,
}

impl Services {
    /// The plane as flags say.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn wish(&self, index: &Index, service: &Service) -> Option<Wish> {
        if !is_ours(service) {
            return None;
        }
        let mut wish = Wish::default();
        let scheduling = Scheduling::of(service, &mut wish.problems);
        let external = external::addresses(&self.settings, service, &mut wish.problems);
        let forced = service.annotations.get(FORCE_LOCAL).is_some_and(|value| value == "true");
        let (internal_local, external_local) =
            (service.internal_local || forced, service.external_local || forced);
        for port in &service.ports {
            for address in &service.cluster_ips {
                let at = At::Virtual(*address);
                wish.add(index, service, port, (at, port.port), scheduling, internal_local);
            }
            for address in &external {
                let at = place(index, *address);
                wish.add(index, service, port, (at, port.port), scheduling, external_local);
            }
            for at in self.node_ports(index, service, port, &mut wish.problems) {
                let number = port.node_port.unwrap_or(0);
                wish.add(index, service, port, (at, number), scheduling, external_local);
            }
        }
        Some(wish)
    }

    /// Where the node port of `port` is reached: once in each family the Service has.
    fn node_ports(
        &self,
        index: &Index,
        service: &Service,
        port: &ServicePort,
        problems: &mut Vec<String>,
    ) -> Vec<At> {
        let with_ports = matches!(service.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer);
        if !with_ports || port.node_port.is_none_or(|number| number == 0) {
            return Vec::new();
        }
        let families: BTreeSet<Family> = service.cluster_ips.iter().copied().map(Family::of).collect();
        let mut places = Vec::new();
        for family in families {
            if self.settings.node_port_on_all_addresses {
                places.push(At::EveryAddress(family));
            } else if let Some(address) = index.own_node().and_then(|node| node.address(family)) {
                places.push(At::Node(address));
            } else {
                problems.push(format!(
                    "node port {} is not reachable by {family}: Node {} has no {family} address (status.addresses)",
                    port.node_port.unwrap_or(0),
                    index.node_name()
                ));
            }
        }
        places
    }
}

impl Wish {
    fn add(
        &mut self,
        index: &Index,
        service: &Service,
        port: &ServicePort,
        (at, number): (At, u16),
        scheduling: Scheduling,
        local_only: bool,
    ) {
        let family = match at {
            At::Virtual(address) | At::Node(address) => Family::of(address),
            At::EveryAddress(family) => family,
        };
        let backends = endpoints::backends(index, service, port, family, local_only);
        self.virtuals.push(VirtualService {
            at,
            protocol: port.protocol,
            port: number,
            scheduling,
            backends,
        });
    }
}

/// An address of the node must not go to the dummy device: taking it away again would cut the node off.
fn place(index: &Index, address: IpAddr) -> At {
    let of_node = index.own_node().is_some_and(|node| node.addresses().any(|own| own == address));
    if of_node { At::Node(address) } else { At::Virtual(address) }
}

/// False for Services that have no virtual address or that another proxy serves.
fn is_ours(service: &Service) -> bool {
    let proxy = service.labels.get(PROXY_NAME);
    service.kind != ServiceKind::ExternalName
        && !service.cluster_ips.is_empty()
        && !service.labels.contains_key(HEADLESS)
        && proxy.is_none_or(|name| OWN_NAMES.contains(&name.as_str()))
}

impl Plane for Services {
    const NAME: &'static str = NAME;
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        let services = index.services().keys().cloned().map(Key::Service);
        std::iter::once(Key::Node).chain(services).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        match change {
            Change::Service(delta) => delta.any().map(|service| service.name.clone()).map(Key::Service),
            Change::EndpointSlice(delta) => {
                return delta.both().filter_map(|slice| slice.service.clone()).map(Key::Service).collect();
            }
            Change::Node(delta) if delta.any().is_some_and(|node| node.name == index.node_name()) => {
                return self.keys(index);
            }
            _ => None,
        }
        .into_iter()
        .collect()
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        match key {
            Key::Node => {
                let node = index.own_node()?;
                let (addresses, pod_cidrs) = (node.addresses().collect(), node.pod_cidrs.clone());
                Some(Value::Node(NodeFacts { addresses, pod_cidrs }))
            }
            Key::Service(name) => {
                let service = index.services().get(name)?;
                self.wish(index, service).map(Value::Service)
            }
        }
    }
}
