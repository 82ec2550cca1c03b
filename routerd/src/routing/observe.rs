//! What is in the kernel: ours, and what is around the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::Result;
use kernel::fou::{Fou, Inside, Port};
use kernel::rtnl::{Route, RouteFilter, RouteKind, Rtnl, Rule, RuleAction, TunnelLink, table};
use prefix::{Family, Hops, Prefix};

use super::desired::Own;
use super::names::is_name_of;
use super::overlay::{Around, Overlay, Reach};
use super::plan::{Hop, Path, Place, State, Tunnelled};
use super::{KUBE_ROUTER_PROTOCOL, POD_TABLE, PROTOCOL};

/// A tunnel's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// Its number.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
}

/// What is ours, and by what the kernel knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// What is ours.
    pub(super) state: State,
    /// The devices of the tunnels.
    pub(super) devices: BTreeMap<IpAddr, Device>,
    /// The rules, by the range they are for.
    pub(super) rules: BTreeMap<Prefix, Vec<Rule>>,
}

/// Reads what is ours. A tunnel is, if its name is the one for where it leads to; a route by its protocol, or in the table of
/// pods by its tunnel; a rule by its table and form; a port by the tunnels that send to it.
pub(super) fn ours(rtnl: &mut Rtnl, fou: &mut Option<Fou>) -> Result<Found> {
    let mut found = Found::default();
    for TunnelLink { link, tunnel } in rtnl.tunnels()? {
        if is_name_of(&link.name, tunnel.remote) {
            let seen = Tunnelled { tunnel, mtu: link.mtu, up: link.up };
            found.state.tunnels.insert(tunnel.remote, seen);
            found.devices.insert(tunnel.remote, Device { index: link.index, name: link.name });
        }
    }
    found.state.routes = routes(rtnl, &found.devices)?;
    for family in Family::BOTH {
        for rule in rtnl.rules(family)? {
            if let Some(range) = rule.from.filter(|_| is_of_pods(&rule)) {
                found.rules.entry(range).or_default().push(rule);
            }
        }
    }
    found.state.rules = found.rules.keys().copied().collect();
    let sent_to: BTreeSet<u16> =
        found.state.tunnels.values().filter_map(|seen| seen.tunnel.encapsulation.port()).collect();
    if !sent_to.is_empty() && fou.is_none() {
        *fou = Some(Fou::open()?);
    }
    if let Some(fou) = fou {
        let ports = fou.ports()?.into_iter();
        let ours = |port: &Port| port.inside == Inside::Gue && sent_to.contains(&port.number);
        found.state.ports = ports.filter(ours).collect();
    }
    Ok(found)
}

/// `from RANGE lookup 77` and nothing more, as kube-router and we write it.
fn is_of_pods(rule: &Rule) -> bool {
    let more = rule.to.is_some() || rule.mark.is_some() || rule.input.is_some() || rule.output.is_some();
    rule.action == RuleAction::Table(POD_TABLE) && !more && !rule.inverted
}

/// True if an earlier run has left learnt routes. To be asked before any is learnt.
pub fn are_routes_left(rtnl: &mut Rtnl) -> Result<bool> {
    let mine = |protocol| RouteFilter { table: Some(table::MAIN), protocol: Some(protocol), family: None };
    Ok(!rtnl.routes(&mine(PROTOCOL))?.is_empty() || !rtnl.routes(&mine(KUBE_ROUTER_PROTOCOL))?.is_empty())
}

fn routes(rtnl: &mut Rtnl, devices: &BTreeMap<IpAddr, Device>) -> Result<BTreeMap<Place, Path>> {
    let by_index: BTreeMap<u32, IpAddr> =
        devices.iter().map(|(remote, device)| (device.index, *remote)).collect();
    let mut found = BTreeMap::<Place, Path>::new();
    let mut list = |protocol: Option<u8>, number: u32| -> Result<()> {
        let filter = RouteFilter { table: Some(number), protocol, ..RouteFilter::default() };
        for route in rtnl.routes(&filter)? {
            let path = path(&route, &by_index);
            let by_tunnels = path.hops.iter().all(|hop| matches!(hop, Hop::Tunnel(_)));
            let ours = protocol.is_some() || route.protocol == PROTOCOL || by_tunnels;
            if route.kind == RouteKind::Unicast && ours {
                merge(&mut found, (number, route.destination), path);
            }
        }
        Ok(())
    };
    list(Some(KUBE_ROUTER_PROTOCOL), table::MAIN)?;
    list(Some(PROTOCOL), table::MAIN)?;
    list(None, POD_TABLE)?;
    Ok(found)
}

/// Older kernels tell of each way of an IPv6 route on its own.
fn merge(found: &mut BTreeMap<Place, Path>, place: Place, path: Path) {
    match found.get_mut(&place) {
        Some(known) if known.protocol == path.protocol => {
            known.hops = known.hops.iter().chain(&path.hops).copied().collect();
        }
        _ => _ = found.insert(place, path),
    }
}

fn path(route: &Route, by_index: &BTreeMap<u32, IpAddr>) -> Path {
    let hops = route.next_hops.iter().filter_map(|hop| match (hop.gateway, hop.link) {
        (Some(gateway), _) => Some(Hop::Router(gateway)),
        (None, Some(link)) => {
            Some(by_index.get(&link).map_or(Hop::Device(link), |remote| Hop::Tunnel(*remote)))
        }
        (None, None) => None,
    });
    Path { hops: hops.collect(), source: route.source, protocol: route.protocol }
}

/// The path by those of its ways that the kernel can use; `None` if that is all of them or none.
pub(super) fn usable(rtnl: &mut Rtnl, path: &Path) -> Option<Path> {
    let mut on_link = |address| {
        let way = rtnl.way_to(address).ok().flatten();
        way.is_some_and(|way| way.kind == RouteKind::Unicast && way.gateway.is_none())
    };
    let good = |hop: &&Hop| match hop {
        Hop::Router(address) => on_link(*address),
        Hop::Tunnel(_) | Hop::Device(_) => true,
    };
    let hops: Hops<Hop> = path.hops.iter().filter(good).copied().collect();
    let fewer = !hops.is_empty() && hops.len() < path.hops.len();
    fewer.then(|| Path { hops, ..path.clone() })
}

/// The largest packet, in bytes, that every tunnel carries which a node with the addresses `own` has to `peers`; `None` if it has
/// none.
pub fn carried(
    rtnl: &mut Rtnl,
    overlay: &Overlay,
    own: &[IpAddr],
    peers: &BTreeSet<IpAddr>,
) -> Result<Option<u32>> {
    if overlay.reach == Reach::Never || peers.is_empty() {
        return Ok(None);
    }
    let own = Own { addresses: own.to_vec(), ranges: BTreeSet::new() };
    let around = around(rtnl, &own, peers)?;
    let tunnels =
        peers.iter().filter_map(|remote| overlay.tunnel(own.address(Family::of(*remote))?, *remote, &around));
    Ok(tunnels.map(|tunnel| around.mtu(&tunnel)).min())
}

/// Reads where the node is: its own addresses with their subnets, and the ways to `remotes`.
pub(super) fn around(rtnl: &mut Rtnl, own: &Own, remotes: &BTreeSet<IpAddr>) -> Result<Around> {
    let mut around = Around::default();
    for seen in rtnl.addresses(None, None)? {
        if own.addresses.contains(&seen.address)
            && let Some(subnet) = seen.prefix()
        {
            around.attached.entry(seen.address).or_default().insert(subnet);
        }
    }
    let mut devices = BTreeMap::<u32, u32>::new();
    for remote in remotes {
        let Some(way) = rtnl.way_to(*remote)? else { continue };
        let Some(link) = way.link.filter(|_| way.kind == RouteKind::Unicast) else { continue };
        let mtu = match devices.get(&link) {
            Some(mtu) => *mtu,
            None => rtnl.link_by_index(link)?.map_or(u32::MAX, |link| link.mtu),
        };
        devices.insert(link, mtu);
        around.paths.insert(*remote, way.mtu.map_or(mtu, |learnt| learnt.min(mtu)));
    }
    around.paths.retain(|_, mtu| *mtu != u32::MAX);
    Ok(around)
}
