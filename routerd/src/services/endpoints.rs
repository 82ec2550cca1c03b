//! Which endpoints balance a port of a Service.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use prefix::{Family, Prefix};

use super::state::Refusal;
use crate::cluster::Index;
use crate::cluster::objects::{Endpoint, EndpointSlice, Service, ServicePort};

/// The backends of one virtual service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backends {
    /// By address and port.
    pub by_socket: BTreeMap<SocketAddr, Backend>,
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

/// A candidate with the port it listens at.
struct Candidate<'a> {
    endpoint: &'a Endpoint,
    socket: SocketAddr,
    local: bool,
}

/// The backends of `port` in `family`; with `local_only` only those on this node.
///
/// Ready endpoints take new connections. Only if there is none, those do that still serve while they terminate (KEP-1669).
pub(crate) fn backends(
    index: &Index,
    service: &Service,
    port: &ServicePort,
    family: Family,
    local_only: bool,
) -> Backends {
    let pod_cidrs = index.own_node().map_or(&[][..], |node| &node.pod_cidrs);
    let mut candidates = Vec::new();
    for slice in index.slices_of(&service.name).filter(|slice| slice.family == family) {
        collect(&mut candidates, index.node_name(), pod_cidrs, slice, port);
    }
    let anywhere = candidates.iter().any(|candidate| is_ready(candidate) || is_fallback(candidate));
    candidates.retain(|candidate| candidate.local || !local_only);
    let any_ready = candidates.iter().any(is_ready);
    let mut by_socket: BTreeMap<SocketAddr, Backend> = BTreeMap::new();
    for candidate in &candidates {
        let weight = match (is_ready(candidate), is_fallback(candidate)) {
            (true, _) => 1,
            (false, true) => u32::from(!any_ready),
            (false, false) => continue,
        };
        let backend = Backend { weight, local: candidate.local };
        // An endpoint that two slices show (while one replaces the other) counts with the better of its states.
        let entry = by_socket.entry(candidate.socket).or_insert(backend);
        entry.weight = entry.weight.max(weight);
        entry.local |= candidate.local;
    }
    // As the reference proxy: a client hears at once that a Service has no endpoint, but a port that only this node cannot
    // serve stays silent, so that whoever balances over the nodes tries another one.
    let refusal = if anywhere && local_only { Refusal::Drop } else { Refusal::Reject };
    Backends { by_socket, refusal }
}

fn collect<'a>(
    out: &mut Vec<Candidate<'a>>,
    node_name: &str,
    pod_cidrs: &[Prefix],
    slice: &'a EndpointSlice,
    port: &ServicePort,
) {
    let target = slice.ports.iter().find(|entry| entry.name == port.name && entry.protocol == port.protocol);
    let Some(number) = target.and_then(|entry| entry.number).filter(|number| *number != 0) else { return };
    for endpoint in &slice.endpoints {
        let Some(address) = endpoint.addresses.first().copied() else { continue };
        if Family::of(address) != slice.family || !is_usable(address) {
            continue;
        }
        let local = match &endpoint.node {
            Some(node) => node == node_name,
            None => pod_cidrs.iter().any(|prefix| prefix.contains(address)),
        };
        out.push(Candidate { endpoint, socket: SocketAddr::new(address, number), local });
    }
}

fn is_ready(candidate: &Candidate<'_>) -> bool {
    candidate.endpoint.ready
}

fn is_fallback(candidate: &Candidate<'_>) -> bool {
    candidate.endpoint.serving && candidate.endpoint.terminating
}

/// False for addresses that the API allows nobody as an endpoint, as they would lead into this node or to nobody.
fn is_usable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}
