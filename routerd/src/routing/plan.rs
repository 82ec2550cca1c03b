//! The difference between what is there and what should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::fou::Port;
use kernel::rtnl::{Tunnel, table};
use prefix::{Hops, Prefix};

/// Where a route is: table and destination.
pub type Place = (u32, Prefix);

/// One of the ways that share a route's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// By a router on an attached network.
    Router(IpAddr),
    /// Through the tunnel to this node.
    Tunnel(IpAddr),
    /// By another device, which only routes have that are not as they should be.
    Device(u32),
}

/// The ways of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// They share the traffic.
    pub hops: Hops<Hop>,
    /// The source of what this node itself sends.
    pub source: Option<IpAddr>,
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
}

/// A tunnel with its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnelled {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Largest packet inside, in bytes.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
}

/// What is ours in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Routes of the main table and of the table of pods.
    pub routes: BTreeMap<Place, Path>,
    /// Tunnels by the node at their other end.
    pub tunnels: BTreeMap<IpAddr, Tunnelled>,
    /// UDP ports that unwrap what arrives.
    pub ports: BTreeSet<Port>,
    /// Ranges of this node whose pods ask the table of pods first.
    pub rules: BTreeSet<Prefix>,
}

impl State {
    /// Only the routes to these destinations, of the main table.
    #[must_use]
    pub fn only_routes<'a>(&self, prefixes: impl IntoIterator<Item = &'a Prefix>) -> Self {
        let places = prefixes.into_iter().map(|prefix| (table::MAIN, *prefix));
        let found = places.filter_map(|place| Some((place, self.routes.get(&place)?.clone())));
        Self { routes: found.collect(), ..Self::default() }
    }
}

/// What to write, in the order in which it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ports to open: before the first tunnel may answer.
    pub open: BTreeSet<Port>,
    /// Tunnels to make, or to change in place.
    pub make: BTreeMap<IpAddr, Tunnelled>,
    /// Routes to write over whatever of ours is there: traffic goes by the old or the new one, never by none.
    pub write: BTreeMap<Place, Path>,
    /// Rules to add.
    pub point: BTreeSet<Prefix>,
    /// Rules to take away.
    pub unpoint: BTreeSet<Prefix>,
    /// Routes to take away.
    pub remove: BTreeSet<Place>,
    /// Tunnels to take away: no route needs them any more.
    pub unmake: BTreeSet<IpAddr>,
    /// Ports to close.
    pub close: BTreeSet<Port>,
}

fn changed<K: Ord + Clone, V: PartialEq + Clone>(
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
) -> BTreeMap<K, V> {
    to.iter()
        .filter(|(key, value)| from.get(key) != Some(value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn gone<K: Ord + Clone, V>(from: &BTreeMap<K, V>, to: &BTreeMap<K, V>) -> BTreeSet<K> {
    from.keys().filter(|key| !to.contains_key(key)).cloned().collect()
}

fn without<T: Ord + Clone>(all: &BTreeSet<T>, these: &BTreeSet<T>) -> BTreeSet<T> {
    all.difference(these).cloned().collect()
}

impl Plan {
    /// What makes `observed` into `desired`.
    pub fn between(observed: &State, desired: &State) -> Self {
        Self {
            open: without(&desired.ports, &observed.ports),
            make: changed(&observed.tunnels, &desired.tunnels),
            write: changed(&observed.routes, &desired.routes),
            point: without(&desired.rules, &observed.rules),
            unpoint: without(&observed.rules, &desired.rules),
            remove: gone(&observed.routes, &desired.routes),
            unmake: gone(&observed.tunnels, &desired.tunnels),
            close: without(&observed.ports, &desired.ports),
        }
    }

    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Leaves the routes to pods alone that it would take away, but for those to `except`; true if there were any.
    pub fn keep_routes(&mut self, except: &BTreeSet<Prefix>) -> bool {
        let before = self.remove.len();
        self.remove.retain(|(table, prefix)| *table != table::MAIN || except.contains(prefix));
        self.remove.len() < before
    }

    /// What the plan makes of `state`.
    pub fn applied_to(&self, state: &mut State) {
        state.ports.extend(&self.open);
        state.ports.retain(|port| !self.close.contains(port));
        state.tunnels.extend(self.make.clone());
        state.tunnels.retain(|remote, _| !self.unmake.contains(remote));
        state.routes.extend(self.write.clone());
        state.routes.retain(|place, _| !self.remove.contains(place));
        state.rules.extend(&self.point);
        state.rules.retain(|range| !self.unpoint.contains(range));
    }
}
