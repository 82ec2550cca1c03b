//! The dummy device, its addresses, and their routes in the `local` table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kernel::KernelError;
use kernel::rtnl::{
    Change, LinkKind, NewAddress, NewLink, NextHop, Route, RouteFilter, RouteKind, Rtnl, Scope, protocol,
    table,
};
use nix::errno::Errno;
use prefix::{Family, Prefix};

use super::Result;
use crate::services::DUMMY_DEVICE;
use crate::services::plan::VipStep;
use crate::services::state::Vip;
use crate::services::wanted::LocalAddresses;

/// The protocol number of all routes that are ours.
const OWN: u8 = 179;
/// Where kube-proxy's IPVS mode leaves the virtual addresses of all Services.
pub(super) const KUBE_PROXYS_DEVICE: &str = "kube-ipvs0";
/// Devices whose names hold one of these carry no node port: they belong to pods and Services.
const NOT_THE_NODES: [&str; 3] = ["dummy", "kube", "docker"];

/// The index of the dummy device, which is made and brought up if need be; and how many writes that took.
pub(super) fn device(rtnl: &mut Rtnl) -> Result<(u32, u64)> {
    let mut writes = 0;
    if rtnl.link_by_name(DUMMY_DEVICE)?.is_none() {
        match rtnl.create_link(&NewLink { up: true, ..NewLink::dummy(DUMMY_DEVICE) }) {
            Ok(()) => writes += 1,
            Err(error) if error.is_exists() => {}
            Err(error) if error.is_unsupported() => {
                return Err(error.with_detail("this kernel has no dummy devices: `modprobe dummy`"));
            }
            Err(error) => return Err(error),
        }
    }
    let operation = format!("use device {DUMMY_DEVICE}");
    let link = rtnl.link_by_name(DUMMY_DEVICE)?;
    let link = link.ok_or_else(|| KernelError::new(&operation, Errno::ENODEV))?;
    if link.kind != LinkKind::Dummy {
        let detail = format!("there is another device of that name ({:?}); rename or delete it", link.kind);
        return Err(KernelError::new(operation, Errno::EEXIST).with_detail(detail));
    }
    if !link.up {
        rtnl.set_up(link.index)?;
        writes += 1;
    }
    Ok((link.index, writes))
}

/// The virtual addresses that are there.
pub(super) fn observe(rtnl: &mut Rtnl, dummy: u32) -> Result<BTreeMap<IpAddr, Vip>> {
    let mut vips: BTreeMap<IpAddr, Vip> = BTreeMap::new();
    for address in rtnl.addresses(Some(dummy), None)? {
        let whole = address.prefix_length == Family::of(address.address).bits();
        if whole && !is_link_local(address.address) {
            vips.entry(address.address).or_default().on_device = true;
        }
    }
    let filter = RouteFilter { table: Some(table::LOCAL), ..RouteFilter::default() };
    for route in rtnl.routes(&filter)? {
        let address = route.destination.address();
        let on_dummy = route.next_hops.iter().any(|hop| hop.link == Some(dummy));
        let ours = on_dummy && route.kind == RouteKind::Local && route.destination.is_host();
        if !ours || is_link_local(address) {
            continue;
        }
        match (route.protocol, route.source) {
            (OWN, Some(source)) => vips.entry(address).or_default().source = Some(source),
            // kube-router writes its routes under the kernel's protocol number; ours takes their place.
            _ => vips.entry(address).or_default().kernel_route = true,
        }
    }
    Ok(vips)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    }
}

fn route(address: IpAddr, dummy: u32, number: u8) -> Route {
    Route::new(Prefix::host(address))
        .kind(RouteKind::Local)
        .table(table::LOCAL)
        .protocol(number)
        .next_hop(NextHop::link(dummy))
}

/// Takes steps in their order; the outcome of each. What is there, or gone, already is no error: the goal is reached.
pub(super) fn take(rtnl: &mut Rtnl, dummy: u32, steps: &[VipStep]) -> Vec<Result<()>> {
    let changes: Vec<Change> = steps.iter().map(|step| change(dummy, step)).collect();
    let reached = |(change, outcome): (&Change, Result<()>)| match (change, outcome) {
        (Change::AddAddress(_), Err(error)) if error.is_exists() => Ok(()),
        (Change::DeleteAddress(..) | Change::DeleteRoute(_), Err(error)) if error.is_not_found() => Ok(()),
        (_, outcome) => outcome,
    };
    changes.iter().zip(rtnl.change_each(&changes)).map(reached).collect()
}

fn change(dummy: u32, step: &VipStep) -> Change {
    match *step {
        VipStep::AddAddress(address) => Change::AddAddress(new_address(dummy, address)),
        VipStep::DeleteAddress(address) => Change::DeleteAddress(dummy, address, Family::of(address).bits()),
        VipStep::SetRoute(address, source) => Change::ReplaceRoute(route(address, dummy, OWN).source(source)),
        VipStep::DeleteRoute(address) => Change::DeleteRoute(route(address, dummy, OWN)),
        VipStep::DeleteKernelRoute(address) => Change::DeleteRoute(route(address, dummy, protocol::KERNEL)),
    }
}

fn new_address(dummy: u32, address: IpAddr) -> NewAddress {
    NewAddress {
        // So that the kernel never takes it for the source of anything else: a tunnel without an address asks around.
        scope: address.is_ipv4().then_some(Scope::Link),
        no_dad: true,
        no_prefix_route: true,
        ..NewAddress::new(dummy, address, Family::of(address).bits())
    }
}

/// The addresses that the node's other devices have.
pub(super) fn local_addresses(rtnl: &mut Rtnl, dummy: u32) -> Result<LocalAddresses> {
    let names: BTreeMap<u32, String> =
        rtnl.links()?.into_iter().map(|link| (link.index, link.name)).collect();
    let mut found = LocalAddresses::default();
    for address in rtnl.addresses(None, None)?.into_iter().filter(|address| address.link != dummy) {
        found.all.insert(address.address);
        let name = names.get(&address.link).map(String::as_str).unwrap_or_default();
        if name != KUBE_PROXYS_DEVICE {
            found.own.insert(address.address, name.to_owned());
        }
        let foreign = name.is_empty() || NOT_THE_NODES.iter().any(|word| name.contains(word));
        // A client at a loopback address never gets its reply from another node, and a link-local address needs a device.
        if !foreign && !address.address.is_loopback() && !is_link_local(address.address) {
            found.for_node_ports.insert(address.address);
        }
    }
    Ok(found)
}
