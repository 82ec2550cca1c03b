//! The pod's side: interface, addresses, routes.

use std::collections::BTreeSet;

use kernel::rtnl::{Link, LinkKind, Route as KernelRoute, RouteFilter, Rtnl, protocol};
use prefix::Family;

use super::super::plan::Plan;
use super::super::pod::{normal_metric, to_kernel};
use super::{failed, same_mac};
use crate::address::Cidr;
use crate::config::BridgeConf;
use crate::error::CniError;
use crate::request::Request;
use crate::result::{AddResult, Route};
use crate::version::Version;

pub(super) fn check_end(
    inside: &mut Rtnl,
    request: &Request,
    conf: &BridgeConf,
    prev: &AddResult,
) -> Result<Link, CniError> {
    let ifname = request.env.ifname.as_str();
    let sandbox = request.env.require_netns()?.to_string_lossy();
    let interface = prev.interfaces.iter().find(|one| one.name == ifname && !one.sandbox.is_empty());
    let interface =
        interface.ok_or_else(|| failed(format!("prevResult does not name {ifname} in a sandbox")))?;
    if interface.sandbox != sandbox {
        let was = &interface.sandbox;
        return Err(failed(format!("{ifname} was made in the sandbox {was}, not in {sandbox}")));
    }
    let link =
        inside.link_by_name(ifname)?.ok_or_else(|| failed(format!("{ifname} is gone from the pod")))?;
    if link.kind != LinkKind::Veth {
        return Err(failed(format!("{ifname} in the pod is a {} and not a veth", link.kind)));
    }
    same_mac(interface, &link)?;
    if link.up == conf.disable_container_interface {
        return Err(failed(format!("{ifname} in the pod is {}", if link.up { "up" } else { "down" })));
    }
    Ok(link)
}

pub(super) fn check_addresses(inside: &mut Rtnl, plan: &Plan, far: &Link) -> Result<(), CniError> {
    let present: BTreeSet<_> = inside
        .addresses(Some(far.index), None)?
        .into_iter()
        .map(|address| (address.address, address.prefix_length))
        .collect();
    for ip in &plan.ips {
        if !present.contains(&(ip.address.address, ip.address.length())) {
            return Err(failed(format!("{} lost the address {}", far.name, ip.address)));
        }
    }
    Ok(())
}

pub(super) fn check_routes(
    inside: &mut Rtnl,
    version: Version,
    plan: &Plan,
    far: &Link,
) -> Result<(), CniError> {
    // Routes of a link that is down are none.
    if !far.up || (plan.ips.is_empty() && plan.routes.is_empty()) {
        return Ok(());
    }
    let present = inside.routes(&RouteFilter::default())?;
    for ip in plan.ips.iter().filter(|ip| ip.address.length() < ip.address.family().bits()) {
        if !present.iter().any(|route| is_connected(route, &ip.address, far.index)) {
            return Err(failed(format!("the pod lost the route to its own subnet {}", ip.address.prefix())));
        }
    }
    for route in plan.kernel_routes() {
        let wanted = to_kernel(&route, far.index);
        if !present.iter().any(|found| is_as_made(found, &wanted, &route, version)) {
            return Err(failed(format!("the pod lost its route to {wanted}")));
        }
    }
    Ok(())
}

fn is_connected(route: &KernelRoute, address: &Cidr, link: u32) -> bool {
    route.protocol == protocol::KERNEL
        && route.destination == address.prefix()
        && route.next_hops.iter().any(|hop| hop.link == Some(link) && hop.gateway.is_none())
}

/// What the result says of a route is true of the kernel's. Results before 1.1.0 cannot say more than destination and
/// gateway, so there the rest may be anything.
fn is_as_made(found: &KernelRoute, wanted: &KernelRoute, said: &Route, version: Version) -> bool {
    let silent = |unsaid: bool| unsaid && version < Version::V110;
    let metric = |route: &KernelRoute| normal_metric(route.family(), route.metric);
    let scope_counts = wanted.family() == Family::V4 && said.scope.is_some();
    let ways_of =
        |route: &KernelRoute| route.next_hops.iter().map(|hop| (hop.link, hop.gateway)).collect::<Vec<_>>();
    let found_ways = ways_of(found);
    found.destination == wanted.destination
        // Several routes to one destination are one with several ways (IPv6).
        && ways_of(wanted).iter().all(|way| found_ways.contains(way))
        && (silent(said.table.is_none()) || found.table == wanted.table)
        && (silent(said.priority.is_none()) || metric(found) == metric(wanted))
        && (silent(said.mtu.is_none()) || found.mtu == wanted.mtu)
        && (silent(said.advmss.is_none()) || found.advmss == wanted.advmss)
        && (!scope_counts || found.effective_scope() == wanted.effective_scope())
}
