//! From values and what is around the node to what should be in its kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::fou::Port;
use kernel::rtnl::{Encapsulation, table};
use prefix::{Family, Hops, Prefix};

use super::desired::{Key, NextHop, Own, Value};
use super::overlay::{Around, Overlay};
use super::plan::{Hop, Path, Place, State, Tunnelled};
use super::{POD_TABLE, PROTOCOL};

/// The addresses of other nodes that a tunnel may lead to.
pub(super) fn peers(desired: &BTreeMap<Key, Value>) -> impl Iterator<Item = IpAddr> + '_ {
    desired
        .values()
        .flat_map(|value| match value {
            Value::Peer(addresses) => addresses.as_slice(),
            _ => &[],
        })
        .copied()
}

/// The node's own addresses and ranges.
pub(super) fn own(desired: &BTreeMap<Key, Value>) -> Option<&Own> {
    match desired.get(&Key::Node) {
        Some(Value::Node(settings)) => Some(&settings.own),
        _ => None,
    }
}

/// Everything that should be there.
pub(super) fn state(desired: &BTreeMap<Key, Value>, overlay: Overlay, around: &Around) -> State {
    let mut state = State { tunnels: tunnels(desired, overlay, around), ..State::default() };
    let own = own(desired).cloned().unwrap_or_default();
    state.routes = routes(desired.iter(), &own, around, &state.tunnels);
    for remote in state.tunnels.keys() {
        let place = (POD_TABLE, Prefix::host(*remote));
        let hops = Hops::from_iter([Hop::Tunnel(*remote)]);
        state.routes.insert(place, Path { hops, source: None, protocol: PROTOCOL });
        if let Encapsulation::Gue(number) = overlay.encapsulation {
            state.ports.insert(Port::gue(Family::of(*remote), number));
        }
    }
    let families: BTreeSet<Family> = state.tunnels.keys().map(|remote| Family::of(*remote)).collect();
    state.rules = own.ranges.into_iter().filter(|range| families.contains(&range.family())).collect();
    state
}

fn tunnels(desired: &BTreeMap<Key, Value>, overlay: Overlay, around: &Around) -> BTreeMap<IpAddr, Tunnelled> {
    let Some(own) = own(desired) else { return BTreeMap::new() };
    let wanted = peers(desired).filter_map(|remote| {
        let tunnel = overlay.tunnel(own.address(Family::of(remote))?, remote, around)?;
        Some((remote, Tunnelled { tunnel, mtu: around.mtu(&tunnel), up: true }))
    });
    wanted.collect()
}

/// The routes among `values`, through `tunnels` where these lead.
pub(super) fn routes<'a>(
    values: impl Iterator<Item = (&'a Key, &'a Value)>,
    own: &Own,
    around: &Around,
    tunnels: &BTreeMap<IpAddr, Tunnelled>,
) -> BTreeMap<Place, Path> {
    let routes = values.filter_map(|(key, value)| match (key, value) {
        (Key::Route(prefix), Value::Route(hops)) => Some((prefix, hops)),
        _ => None,
    });
    let hop = |hop: &NextHop| match hop {
        // Only to pods of a node: what an outside router announces never becomes a tunnel.
        NextHop { router, of_node: true } if tunnels.contains_key(router) => Hop::Tunnel(*router),
        NextHop { router, .. } => Hop::Router(*router),
    };
    let path = |(prefix, hops): (&Prefix, &Hops<NextHop>)| {
        let hops: Hops<Hop> = hops.iter().map(hop).collect();
        let through = hops.iter().any(|hop| matches!(hop, Hop::Tunnel(_)));
        // A tunnel's device has no address that the kernel could take.
        let source = own.address(prefix.family()).filter(|address| through && around.has(*address));
        ((table::MAIN, *prefix), Path { hops, source, protocol: PROTOCOL })
    };
    routes.map(path).collect()
}
