//! Which endpoints balance a port of a Service.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use prefix::Family;

use super::Few;
use super::external;
use super::state::Refusal;
use super::topology::{self, Nearness};
use crate::cluster::Index;
use crate::cluster::objects::{Endpoint, EndpointSlice, Service, ServicePort};

/// So many endpoints that cannot be used are told of, each in words; the others are counted.
const TOLD: usize = 3;

/// The backends of one virtual service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backends {
    /// By address and port.
    pub by_socket: Few<SocketAddr, Backend>,
    /// What becomes of a packet when there are none.
    pub refusal: Refusal,
}

/// One backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// 1, or 0 for one that is about to end: it keeps the connections it has and gets no new ones.
    pub weight: u32,
    /// It runs on this node.
    pub local: bool,
}

/// An endpoint with the port it listens at.
struct Candidate<'a> {
    endpoint: &'a Endpoint,
    socket: SocketAddr,
    local: bool,
}

impl Candidate<'_> {
    fn is_ready(&self) -> bool {
        self.endpoint.ready
    }

    /// It still serves while it ends, and gets traffic if nobody is ready (KEP-1669).
    fn is_fallback(&self) -> bool {
        self.endpoint.serving && self.endpoint.terminating
    }
}

/// All endpoints of one port of a Service in one family.
pub(crate) struct Endpoints<'a> {
    candidates: Vec<Candidate<'a>>,
    nearness: Nearness<'a>,
}

impl<'a> Endpoints<'a> {
    /// Those of `port`, as this node sees them.
    pub(crate) fn of(index: &'a Index, service: &Service, port: &ServicePort, family: Family) -> Self {
        let node = index.own_node().map(Arc::as_ref);
        let mut candidates = Vec::new();
        for slice in index.slices_of(&service.name).filter(|slice| slice.family == family) {
            collect(&mut candidates, index, service, slice, port);
        }
        let ready = candidates.iter().filter(|candidate| candidate.is_ready());
        let ready = ready.map(|candidate| candidate.endpoint);
        let nearness = Nearness::of(ready, index.node_name(), node.and_then(topology::zone));
        Self { candidates, nearness }
    }

    /// The backends by the policy `Cluster`: those near enough; or by `Local`: those on this node, wherever they are meant
    /// to be used.
    ///
    /// Ready endpoints take new connections. Only if there is none, those do that still serve while they terminate.
    pub(crate) fn backends(&self, local_only: bool) -> Backends {
        let nearness = if local_only { Nearness::Anywhere } else { self.nearness };
        let within = |candidate: &&Candidate<'_>| candidate.local || !local_only;
        let any_ready = self.candidates.iter().filter(within).any(Candidate::is_ready);
        let mut by_socket: BTreeMap<SocketAddr, Backend> = BTreeMap::new();
        for candidate in self.candidates.iter().filter(within) {
            let weight = match (candidate.is_ready(), candidate.is_fallback()) {
                (true, _) if nearness.takes(candidate.endpoint) => 1,
                (false, true) => u32::from(!any_ready),
                _ => continue,
            };
            let backend = Backend { weight, local: candidate.local };
            // An endpoint that two slices show (while one replaces the other) counts with the better of its states.
            let entry = by_socket.entry(candidate.socket).or_insert(backend);
            entry.weight = entry.weight.max(weight);
            entry.local |= candidate.local;
        }
        // As kube-proxy: a client hears at once that a Service has no endpoint, but a port that only this node cannot
        // serve stays silent, so that whoever balances over the nodes tries another one.
        let anywhere =
            self.candidates.iter().any(|candidate| candidate.is_ready() || candidate.is_fallback());
        let refusal = if anywhere && local_only { Refusal::Drop } else { Refusal::Reject };
        Backends { by_socket: by_socket.into_iter().collect(), refusal }
    }
}

/// The backends of `port` in `family`; with `local_only` only those on this node.
pub(crate) fn backends(
    index: &Index,
    service: &Service,
    port: &ServicePort,
    family: Family,
    local_only: bool,
) -> Backends {
    Endpoints::of(index, service, port, family).backends(local_only)
}

fn collect<'a>(
    out: &mut Vec<Candidate<'a>>,
    index: &Index,
    service: &Service,
    slice: &'a EndpointSlice,
    port: &ServicePort,
) {
    let target = slice.ports.iter().find(|entry| entry.name == port.name && entry.protocol == port.protocol);
    let Some(number) = target.and_then(|entry| entry.number).filter(|number| *number != 0) else { return };
    let pod_cidrs = index.own_node().map_or(&[][..], |node| &node.pod_cidrs);
    for endpoint in &slice.endpoints {
        let address = endpoint.address;
        if fault(index, service, slice, address).is_some() {
            continue;
        }
        let local = match &endpoint.node {
            Some(node) => node == index.node_name(),
            None => pod_cidrs.iter().any(|prefix| prefix.contains(address)),
        };
        out.push(Candidate { endpoint, socket: SocketAddr::new(address, number), local });
    }
}

/// Why an address cannot be an endpoint of `service`: it would lead into this node, to nobody, or round in a circle.
fn fault(index: &Index, service: &Service, slice: &EndpointSlice, address: IpAddr) -> Option<&'static str> {
    if Family::of(address) != slice.family {
        return Some("it is not of the family that addressType says");
    }
    let own = || is_own(index, service, address).then_some("it is the Service's own address");
    unusable(address).or_else(own)
}

/// Why no machine of the network can be reached by an address.
pub(super) fn unusable(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let nobodys = match address {
        IpAddr::V4(address) => address.is_broadcast() || address.is_multicast() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unspecified(),
    };
    match () {
        () if address.is_loopback() => Some("a loopback address leads into each node itself"),
        () if link_local => Some("a link-local address means another machine on each link"),
        () if nobodys => Some("it is no machine's address"),
        () => None,
    }
}

/// An external address may be a node's, where a pod in the host's network serves; it is then not the Service's.
fn is_own(index: &Index, service: &Service, address: IpAddr) -> bool {
    let external = || service.external_ips.iter().chain(&service.load_balancer_ips);
    service.cluster_ips.contains(&address)
        || external().any(|own| *own == address) && external::node_of(index, address).is_none()
}

/// What is wrong with endpoints of `service`. The others are used.
pub(super) fn problems(index: &Index, service: &Service) -> Vec<String> {
    let mut problems = Vec::new();
    let mut more = 0_usize;
    for slice in index.slices_of(&service.name) {
        for (number, endpoint) in slice.endpoints.iter().enumerate() {
            let address = endpoint.address;
            match fault(index, service, slice, address) {
                None => {}
                Some(_) if problems.len() == TOLD => more += 1,
                Some(fault) => problems.push(format!(
                    "EndpointSlice {}: endpoints[{number}] is not used: {address}: {fault}; take it out of the slice",
                    slice.name
                )),
            }
        }
    }
    if more > 0 {
        problems.push(format!("{more} more endpoints are not used"));
    }
    problems
}
