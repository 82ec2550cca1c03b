//! Tracked UDP flows that a change of port mappings leaves behind.
//!
//! Address translation is decided with the first packet of a flow. A UDP client that keeps its source port would go
//! on being sent to where the first packet went: to the node itself after ADD, to a pod that is gone after DEL.

use std::net::{IpAddr, SocketAddr};

use kernel::KernelError;
use kernel::conntrack::{Conntrack, Filter, Flow};
use kernel::rtnl::{RouteKind, Rtnl};
use prefix::Family;

use super::entry::{Entry, HostPort, Transport};

/// A port mapping as it stands in the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) address: Option<IpAddr>,
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) target: SocketAddr,
}

impl Mapping {
    fn filter(&self) -> Filter {
        Filter {
            original_destination: self.address,
            original_port: Some(self.port),
            ..Filter::protocol(Family::of(self.target.ip()), self.protocol)
        }
    }
}

impl From<&HostPort> for Mapping {
    fn from(port: &HostPort) -> Self {
        Self {
            address: port.address,
            protocol: port.transport.number(),
            port: port.port,
            target: port.target,
        }
    }
}

/// After ADD: flows to the mapped ports of this node that do not go to the pod are forgotten, so that their next
/// packet does. Only the error text is told: the mapping itself is in force.
pub fn refresh(entries: &[Entry]) -> Result<(), KernelError> {
    let udp = |entry: &Entry| match entry {
        Entry::HostPort(port) if port.transport == Transport::Udp => Some(Mapping::from(port)),
        _ => None,
    };
    let mappings: Vec<Mapping> = entries.iter().filter_map(udp).collect();
    if mappings.is_empty() {
        return Ok(());
    }
    let mut conntrack = Conntrack::open()?;
    let mut routes = Rtnl::open()?;
    for mapping in mappings {
        let places = match mapping.address {
            Some(address) => vec![address],
            None => local_addresses(&mut routes, Family::of(mapping.target.ip()))?,
        };
        if places.len() > MOST_ADDRESSES {
            forget_listed(&mut conntrack, &mut routes, &mapping)?;
            continue;
        }
        // The pod has no flows by the mapping yet, so none that may stay is meant.
        for place in places {
            conntrack.forget(&Filter { original_destination: Some(place), ..mapping.filter() })?;
        }
    }
    Ok(())
}

/// To forget the flows to one address takes the kernel 0.1 ms or so, to list all flows 9 ms, whatever they are.
const MOST_ADDRESSES: usize = 64;

fn local_addresses(routes: &mut Rtnl, family: Family) -> Result<Vec<IpAddr>, KernelError> {
    let found = routes.addresses(None, Some(family))?;
    Ok(found.into_iter().map(|address| address.address).collect())
}

/// On a node with very many addresses: the flows are looked at one by one.
fn forget_listed(conntrack: &mut Conntrack, routes: &mut Rtnl, mapping: &Mapping) -> Result<(), KernelError> {
    for flow in conntrack.flows(&mapping.filter())? {
        if flow.reply.source != mapping.target && is_local(routes, &flow)? {
            conntrack.delete(&flow)?;
        }
    }
    Ok(())
}

/// The same question that the rules ask of the packet: `fib daddr type local`.
fn is_local(routes: &mut Rtnl, flow: &Flow) -> Result<bool, KernelError> {
    let way = routes.way_to(flow.original.destination.ip())?;
    Ok(way.is_some_and(|way| way.kind == RouteKind::Local))
}

/// After DEL: flows by the mappings are forgotten. Whoever has the port next, or the address, must not get them; that
/// it could not be done must not keep a pod from going.
pub(super) fn forget(mappings: &[Mapping]) {
    let udp = |mapping: &&Mapping| mapping.protocol == Transport::Udp.number();
    let mut mappings = mappings.iter().filter(udp).peekable();
    if mappings.peek().is_none() {
        return;
    }
    let Ok(mut conntrack) = Conntrack::open() else { return };
    for mapping in mappings {
        drop(conntrack.forget(&mapping.filter().answered_by(mapping.target)));
    }
}
