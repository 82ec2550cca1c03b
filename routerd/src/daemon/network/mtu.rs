//! The largest packet of pods, taken from the devices that carry the node's traffic, and the bridge that follows it.
//!
//! The devices of running pods are left alone. A pod's own end is in a namespace that this process has no right to
//! enter, and an outer end of another MTU is worse than none: the kernel drops what is larger than the receiving end
//! of a pair takes, without a word to the sender (`is_skb_forwardable`), where the node's routing answers "too big".

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::rtnl::{Link, LinkChange, LinkKind, RouteFilter, RouteKind, Rtnl, table};

/// The largest that a virtual Ethernet pair takes; `lo` has more.
const LARGEST: u32 = 65_535;
/// The loopback device has the first number of every namespace.
const LOOPBACK: u32 = 1;

/// The MTU of the path that the node's packets take: the smallest of the devices that have one of its `addresses`.
/// `None` if no device has one, as while the network is configured anew.
///
/// An address that is on no wire (on `lo` or a dummy, as with a router on each node) is reached through the devices
/// of routes with a gateway.
pub(super) fn of_path(rtnl: &mut Rtnl, addresses: &[IpAddr]) -> kernel::Result<Option<u32>> {
    let has = rtnl.addresses(None, None)?;
    let carriers: BTreeSet<u32> =
        has.iter().filter(|found| addresses.contains(&found.address)).map(|found| found.link).collect();
    if carriers.is_empty() {
        return Ok(None);
    }
    let links = rtnl.links()?;
    let wired = |link: &Link| link.index != LOOPBACK && link.kind != LinkKind::Dummy;
    let smallest = |numbers: &BTreeSet<u32>| {
        links.iter().filter(|link| numbers.contains(&link.index) && wired(link)).map(|link| link.mtu).min()
    };
    let found = match smallest(&carriers) {
        Some(mtu) => Some(mtu),
        None => smallest(&with_gateway(rtnl)?),
    };
    Ok(found.map(|mtu| mtu.min(LARGEST)))
}

/// The devices of unicast routes that have a gateway.
fn with_gateway(rtnl: &mut Rtnl) -> kernel::Result<BTreeSet<u32>> {
    let filter = RouteFilter { table: Some(table::MAIN), ..RouteFilter::default() };
    let routes = rtnl.routes(&filter)?;
    let hops =
        routes.iter().filter(|route| route.kind == RouteKind::Unicast).flat_map(|route| &route.next_hops);
    Ok(hops.filter(|hop| hop.gateway.is_some()).filter_map(|hop| hop.link).collect())
}

/// What was found of the pods' bridge, and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bridge {
    /// Its MTU now.
    pub(super) mtu: u32,
    /// It was another before.
    pub(super) changed: bool,
}

/// Gives the bridge `name` the smallest MTU of its ports, so that what is too big for a pod is answered and not lost;
/// `None` if there is no such bridge.
///
/// The kernel does the same by itself, but no longer once somebody has set the bridge's MTU, as kube-router does. A
/// bridge without ports is left alone, so that this does not make it one of those.
pub(super) fn follow(rtnl: &mut Rtnl, name: &str) -> kernel::Result<Option<Bridge>> {
    let Some(bridge) = rtnl.link_by_name(name)?.filter(|link| link.kind == LinkKind::Bridge) else {
        return Ok(None);
    };
    let links = rtnl.links()?;
    let ports = links.iter().filter(|link| link.master == Some(bridge.index));
    let wanted = ports.map(|port| port.mtu).min().unwrap_or(bridge.mtu);
    let changed = wanted != bridge.mtu;
    if changed {
        rtnl.change_link(bridge.index, &LinkChange { mtu: Some(wanted), ..LinkChange::default() })?;
    }
    Ok(Some(Bridge { mtu: wanted, changed }))
}
