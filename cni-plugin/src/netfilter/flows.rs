//! Tracked UDP flows that a change of port mappings leaves behind.
//!
//! Address translation is decided with the first packet of a flow. A UDP client that keeps its source port would go
//! on being sent to where the first packet went: to the node itself after ADD, to a pod that is gone after DEL.

use std::collections::btree_map::Entry as Known;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kernel::KernelError;
use kernel::conntrack::Filter;
use kernel::nft::Nft;
use kernel::rtnl::{Route, RouteFilter, RouteKind, Rtnl, table};
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

/// After ADD: flows to the mapped ports of this node are forgotten, so that their next packet goes to the pod. The
/// mappings are in force whatever becomes of this.
pub(super) fn refresh(nft: &mut Nft, entries: &[Entry]) -> Result<(), KernelError> {
    let udp = |entry: &Entry| match entry {
        Entry::HostPort(port) if port.transport == Transport::Udp => Some(Mapping::from(port)),
        _ => None,
    };
    let mappings: Vec<Mapping> = entries.iter().filter_map(udp).collect();
    if mappings.is_empty() {
        return Ok(());
    }
    let mut conntrack = nft.conntrack();
    let mut known = BTreeMap::new();
    for mapping in mappings {
        let all = mapping.filter();
        if mapping.address.is_some() {
            conntrack.forget(&all)?;
            continue;
        }
        let own: &BTreeSet<IpAddr> = match known.entry(all.family) {
            Known::Occupied(entry) => entry.into_mut(),
            Known::Vacant(entry) => entry.insert(addresses(all.family)?),
        };
        if own.len() > MOST_ADDRESSES {
            conntrack.delete_matching(&all, |flow| own.contains(&flow.original.destination.ip()))?;
            continue;
        }
        let to = |address: &IpAddr| Filter { original_destination: Some(*address), ..all };
        conntrack.forget_each(&all, &own.iter().map(to).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// With more addresses than this one listing of all flows costs less than asking for each.
const MOST_ADDRESSES: usize = 64;

/// The device of routerd with the addresses of Services, whose flows are not those of a port mapping.
const SERVICES: &str = "kube-dummy-if";

/// The addresses of this node. A flow through it to the same port elsewhere has nothing to do with a mapping.
///
/// To list IPv4 addresses the kernel walks all links, of which each pod has some; to list its routes to itself it does
/// not. Its IPv6 routes to itself have all multicast routes among them, one a link.
fn addresses(family: Family) -> Result<BTreeSet<IpAddr>, KernelError> {
    let mut rtnl = Rtnl::open()?;
    let services = rtnl.link_by_name(SERVICES)?.map(|link| link.index);
    if family == Family::V6 {
        let all = rtnl.addresses(None, Some(family))?;
        return Ok(all.into_iter().filter(|one| Some(one.link) != services).map(|one| one.address).collect());
    }
    let filter = RouteFilter { family: Some(family), table: Some(table::LOCAL), protocol: None };
    let leads_here = |route: &Route| {
        let of_service = route.next_hops.iter().any(|hop| hop.link.is_some() && hop.link == services);
        route.kind == RouteKind::Local && route.destination.length() == family.bits() && !of_service
    };
    let routes = rtnl.routes(&filter)?;
    Ok(routes.iter().filter(|route| leads_here(route)).map(|route| route.destination.address()).collect())
}

/// After DEL: flows by the mappings are forgotten. Whoever has the port next, or the address, must not get them; that
/// it could not be done must not keep a pod from going.
pub(super) fn forget(nft: &mut Nft, mappings: &[Mapping]) {
    let udp = |mapping: &&Mapping| mapping.protocol == Transport::Udp.number();
    for mapping in mappings.iter().filter(udp) {
        drop(nft.conntrack().forget(&mapping.filter().answered_by(mapping.target)));
    }
}
