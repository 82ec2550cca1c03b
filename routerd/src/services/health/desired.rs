//! From Services, EndpointSlices and the own Node to checks: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use prefix::Family;

use super::NAME;
use crate::cluster::objects::{ObjectName, Service, ServiceKind};
use crate::cluster::{Change, Index};
use crate::runner::Plane;
use crate::services::desired::is_ours;

/// Who is asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The node.
    Node,
    /// One Service.
    Service(ObjectName),
}

/// What is to be answered, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Of the node.
    Node {
        /// Where to listen.
        address: SocketAddr,
        /// Load balancers may send here: the node is known and not about to go.
        eligible: bool,
    },
    /// Of a Service.
    Service {
        /// Its `healthCheckNodePort`.
        port: u16,
        /// Its ready endpoints on this node.
        local_endpoints: usize,
    },
}

impl Check {
    /// Where to listen.
    pub(super) fn address(&self) -> SocketAddr {
        match *self {
            Check::Node { address, .. } => address,
            // One IPv6 socket takes IPv4 as well.
            Check::Service { port, .. } => (Ipv6Addr::UNSPECIFIED, port).into(),
        }
    }
}

/// The pure half of the plane.
#[derive(Debug, Clone, Default)]
pub struct HealthChecks {
    /// `--healthz-bind-address`: where the node's own check is served; nowhere if `None`.
    pub node: Option<SocketAddr>,
}

impl HealthChecks {
    fn of_node(&self, index: &Index) -> Option<Check> {
        let eligible = index.own_node().is_some_and(|node| !node.leaving);
        self.node.map(|address| Check::Node { address, eligible })
    }
}

fn is_asked(service: &Service) -> bool {
    service.health_check_node_port.is_some()
}

fn of_service(index: &Index, service: &Service) -> Option<Check> {
    let asked = service.kind == ServiceKind::LoadBalancer && service.external_local && is_ours(service);
    let port = service.health_check_node_port.filter(|_| asked)?;
    Some(Check::Service { port, local_endpoints: local_endpoints(index, &service.name) })
}

/// Ready endpoints on this node, whatever their ports. One that terminates does not count, though it may still get
/// packets: load balancers are to look elsewhere (KEP-1669).
fn local_endpoints(index: &Index, service: &ObjectName) -> usize {
    let mut addresses: BTreeMap<Family, BTreeSet<IpAddr>> = BTreeMap::new();
    for slice in index.slices_of(service) {
        let local = slice.endpoints.iter().filter(|endpoint| {
            endpoint.ready && !endpoint.terminating && endpoint.node.as_deref() == Some(index.node_name())
        });
        let first = local.map(|endpoint| endpoint.address);
        addresses.entry(slice.family).or_default().extend(first);
    }
    // A pod of both families is in slices of both.
    addresses.values().map(BTreeSet::len).max().unwrap_or(0)
}

impl Plane for HealthChecks {
    const NAME: &'static str = NAME;
    type Key = Key;
    type Value = Check;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        // Of thousands few are asked about.
        let asked = index.services().values().filter(|service| is_asked(service));
        let services = asked.map(|service| Key::Service(service.name.clone()));
        std::iter::once(Key::Node).chain(services).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        let service = |name: &ObjectName| Key::Service(name.clone());
        match change {
            Change::Service(delta) => delta.any().map(|found| service(&found.name)).into_iter().collect(),
            Change::EndpointSlice(delta) => {
                let names = delta.both().filter_map(|slice| slice.service.as_ref());
                // That a Service is asked about, or no longer, is a change of its own.
                let asked = names.filter(|name| index.services().get(*name).is_some_and(|one| is_asked(one)));
                asked.map(service).collect()
            }
            Change::Node(delta) if delta.any().is_some_and(|node| node.name == index.node_name()) => {
                BTreeSet::from([Key::Node])
            }
            _ => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Check> {
        match key {
            Key::Node => self.of_node(index),
            Key::Service(name) => of_service(index, index.services().get(name)?),
        }
    }
}
