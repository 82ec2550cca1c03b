//! From Services and EndpointSlices to virtual services: pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prefix::{Family, Prefix};

use super::endpoints::{self, Backends};
use super::external::{self, External};
use super::gates::Gate;
use super::outlook::{Local, Outlook};
use super::scheduling::Scheduling;
use super::{NAME, Settings, dsr, pods, touched};
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
    /// This node's pods outside of its pod ranges.
    Pods,
    /// One Service.
    Service(ObjectName),
}

/// What should be for a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// For [`Key::Node`].
    Node(NodeFacts),
    /// For [`Key::Pods`], if there are any: their addresses.
    Pods(BTreeSet<IpAddr>),
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
    /// When the object was made, in seconds since 1970; 0 if nobody knows.
    pub since: i64,
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

/// Whose word an address is. What comes first here wins where two Services want the same: nobody takes a cluster address
/// by writing it among the external ones of another Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Given by the API server.
    #[default]
    Cluster,
    /// A node port, given by the API server or checked by it.
    NodePort,
    /// Given by whoever gives load balancer addresses.
    Balancer,
    /// Written by the owner of the Service.
    External,
}

/// One virtual service.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualService {
    /// Whose word the address is.
    pub origin: Origin,
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
    /// What stands before it for some clients; nothing before most.
    pub gate: Option<Box<Gate>>,
}

impl VirtualService {
    /// What stands before it for some clients.
    pub fn gate(&self) -> &Gate {
        static OPEN: Gate = Gate { sources: None, detour: None, private: false };
        self.gate.as_deref().unwrap_or(&OPEN)
    }
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
        let mut problems = endpoints::problems(index, service);
        let scheduling = Scheduling::of(service, &mut problems);
        let external = external::addresses(&self.settings, index, service, &mut problems);
        problems.extend(closed_families(service, &external));
        let local = local_policies(service, &mut problems);
        // With direct return external addresses are not balanced here, nor on the node's device.
        let external = if dsr::takes(service) { External::default() } else { external };
        let mut virtuals = Vec::new();
        for port in &service.ports {
            let places = self.places(index, service, port, &external, &mut problems);
            let mut outlook = Outlook::of(index, service, port, local);
            let protocol = port.protocol;
            for (origin, at) in places.iter().copied() {
                let (backends, gate) = outlook.at(origin, at.family());
                let gate = gate.kept();
                let number = if origin == Origin::NodePort { port.node_port } else { Some(port.port) };
                let port = number.unwrap_or(0);
                virtuals.push(VirtualService { origin, at, protocol, port, scheduling, backends, gate });
            }
            let led = places.iter().filter(|(origin, _)| *origin != Origin::Cluster);
            let led: BTreeSet<Family> = led.map(|(_, at)| at.family()).collect();
            virtuals.extend(led.into_iter().filter_map(|family| {
                let (to, backends) = outlook.private(family)?;
                let (origin, at, port) = (Origin::Cluster, At::Virtual(to.ip()), to.port());
                let gate = Gate { private: true, ..Gate::default() }.kept();
                Some(VirtualService { origin, at, protocol, port, scheduling, backends, gate })
            }));
        }
        // Most have one, and it is kept as long as the Service.
        virtuals.shrink_to_fit();
        Some(Wish { since: service.created, virtuals, problems })
    }

    /// Where `port` is reached.
    fn places(
        &self,
        index: &Index,
        service: &Service,
        port: &ServicePort,
        external: &External,
        problems: &mut Vec<String>,
    ) -> Vec<(Origin, At)> {
        let virtuals = |origin, addresses: &[IpAddr]| {
            addresses.iter().map(|address| (origin, At::Virtual(*address))).collect::<Vec<_>>()
        };
        let mut places = virtuals(Origin::Cluster, &service.cluster_ips);
        places.retain(|(_, at)| !self.settings.is_off(at.family()));
        places.extend(virtuals(Origin::Balancer, &external.balancers));
        places.extend(virtuals(Origin::External, &external.others));
        let ports = self.node_ports(index, service, port, problems);
        places.extend(ports.into_iter().map(|at| (Origin::NodePort, at)));
        places
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
        let mut families: BTreeSet<Family> = service.cluster_ips.iter().copied().map(Family::of).collect();
        families.retain(|family| !self.settings.is_off(*family));
        let mut places = Vec::new();
        for family in families {
            let ranges = &self.settings.node_port_ranges;
            if self.settings.node_port_on_all_addresses || ranges.iter().any(|range| range.family() == family)
            {
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

impl At {
    /// The family of the addresses.
    pub fn family(&self) -> Family {
        match self {
            At::Virtual(address) | At::Node(address) => Family::of(*address),
            At::EveryAddress(family) => *family,
        }
    }
}

/// Load balancer addresses that admit nobody: the source ranges are those of the other family.
fn closed_families(service: &Service, external: &External) -> Option<String> {
    let ranges = service.source_ranges.as_ref()?;
    let is_closed = |address: &&IpAddr| ranges.iter().all(|range| range.family() != Family::of(**address));
    let closed = external.balancers.iter().find(is_closed)?;
    Some(format!(
        "spec.loadBalancerSourceRanges: none is of {}, so nobody reaches {closed}; add one",
        Family::of(*closed)
    ))
}

/// The policies `Local` of a Service: for clients in the cluster, and for those outside.
pub(crate) fn local_policies(service: &Service, problems: &mut Vec<String>) -> Local {
    let forced = match service.annotations.get(FORCE_LOCAL).map(|value| value.trim()) {
        Some("true") => true,
        None | Some("false") => false,
        Some(other) => {
            problems.push(format!(
                "annotation {FORCE_LOCAL}: {other:?} is neither true nor false; it is ignored"
            ));
            false
        }
    };
    // kube-router's documents say that it is for the cluster address, too; its code never did that, and clusters live by it.
    Local { internal: service.internal_local, external: service.external_local || forced }
}

/// False for Services that have no virtual address or that another proxy serves.
pub(super) fn is_ours(service: &Service) -> bool {
    let proxy = service.labels.get(PROXY_NAME);
    service.kind != ServiceKind::ExternalName
        && !service.cluster_ips.is_empty()
        && !service.labels.contains_key(HEADLESS)
        && proxy.is_none_or(|name| OWN_NAMES.contains(&name.as_str()))
}

impl Plane for Services {
    const NAME: &'static str = NAME;
    const EARLY: bool = true;
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        let services = index.services().keys().cloned().map(Key::Service);
        [Key::Node, Key::Pods].into_iter().chain(services).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        touched::by(index, change).unwrap_or_else(|| self.keys(index))
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        match key {
            Key::Node => {
                let node = index.own_node()?;
                let (addresses, pod_cidrs) = (node.addresses().collect(), node.pod_cidrs.clone());
                Some(Value::Node(NodeFacts { addresses, pod_cidrs }))
            }
            Key::Pods => Some(pods::of(index)).filter(|pods| !pods.is_empty()).map(Value::Pods),
            Key::Service(name) => {
                let service = index.services().get(name)?;
                self.wish(index, service).map(Value::Service)
            }
        }
    }
}
