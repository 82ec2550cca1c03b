//! CHECK: the kernel still holds what the ADD's result says.

use std::collections::BTreeSet;

use kernel::rtnl::{BridgePort, Link, LinkKind, RouteFilter, Rtnl};

use super::pod::to_kernel;
use super::{open_pod, supported};
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::result::{AddResult, Interface};

pub(super) fn check(request: &Request, conf: &BridgeConf, prev: &AddResult) -> Result<(), CniError> {
    supported(conf)?;
    let pod = open_pod(request)?;
    let mut host = Rtnl::open()?;
    let mut inside = pod.visit(Rtnl::open)??;
    let bridge = check_bridge(&mut host, conf, prev)?;
    let far = check_pod_end(&mut inside, request, conf, prev)?;
    check_port(&mut host, conf, prev, &bridge, &far)?;
    check_addresses(&mut inside, request, prev, &far)?;
    check_routes(&mut inside, prev, &far)
}

fn failed(what: impl Into<String>) -> CniError {
    CniError::new(Code::CHECK_FAILED, what)
}

fn on_node<'a>(prev: &'a AddResult, name: &str) -> Option<&'a Interface> {
    prev.interfaces.iter().find(|interface| interface.sandbox.is_empty() && interface.name == name)
}

fn same_mac(interface: &Interface, link: &Link) -> Result<(), CniError> {
    let found = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if interface.mac.is_empty() || interface.mac.eq_ignore_ascii_case(&found) {
        return Ok(());
    }
    Err(failed(format!("{} has the address {found}, but had {}", link.name, interface.mac)))
}

fn check_bridge(host: &mut Rtnl, conf: &BridgeConf, prev: &AddResult) -> Result<Link, CniError> {
    let name = conf.bridge.as_str();
    let interface =
        on_node(prev, name).ok_or_else(|| failed(format!("prevResult does not name the bridge {name}")))?;
    let link = host.link_by_name(name)?.ok_or_else(|| failed(format!("bridge {name} is gone")))?;
    if link.kind != LinkKind::Bridge {
        return Err(failed(format!("{name} is a {} and not a bridge", link.kind)));
    }
    same_mac(interface, &link)?;
    if !link.up {
        return Err(failed(format!("bridge {name} is down")));
    }
    if link.promiscuous != conf.promisc_mode {
        return Err(failed(format!("promiscuous mode of {name} is {}", link.promiscuous)));
    }
    Ok(link)
}

fn check_pod_end(
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

fn check_port(
    host: &mut Rtnl,
    conf: &BridgeConf,
    prev: &AddResult,
    bridge: &Link,
    far: &Link,
) -> Result<(), CniError> {
    let near = far.peer_index.map(|index| host.link_by_index(index)).transpose()?.flatten();
    let near = near.ok_or_else(|| failed(format!("the other end of {} is not on the node", far.name)))?;
    let name = &near.name;
    let interface =
        on_node(prev, name).ok_or_else(|| failed(format!("prevResult does not name the host end {name}")))?;
    same_mac(interface, &near)?;
    if near.master != Some(bridge.index) {
        return Err(failed(format!("{name} is not a port of {}", bridge.name)));
    }
    let wanted = BridgePort { hairpin: conf.hairpin_mode, isolated: conf.port_isolation };
    if near.port.unwrap_or_default() != wanted {
        return Err(failed(format!("port {name} is {:?} and not {wanted:?}", near.port.unwrap_or_default())));
    }
    Ok(())
}

fn check_addresses(
    inside: &mut Rtnl,
    request: &Request,
    prev: &AddResult,
    far: &Link,
) -> Result<(), CniError> {
    let present: BTreeSet<_> = inside
        .addresses(Some(far.index), None)?
        .into_iter()
        .map(|address| (address.address, address.prefix_length))
        .collect();
    let ours = |index: usize| prev.interfaces.get(index).is_some_and(|one| one.name == request.env.ifname);
    for ip in prev.ips.iter().filter(|ip| ip.interface.is_none_or(ours)) {
        if !present.contains(&(ip.address.address, ip.address.length())) {
            return Err(failed(format!("{} lost the address {}", far.name, ip.address)));
        }
    }
    Ok(())
}

fn check_routes(inside: &mut Rtnl, prev: &AddResult, far: &Link) -> Result<(), CniError> {
    if prev.routes.is_empty() {
        return Ok(());
    }
    let present = inside.routes(&RouteFilter::default())?;
    for route in &prev.routes {
        let wanted = to_kernel(route, far.index);
        let found = present.iter().any(|one| {
            one.destination == wanted.destination
                && one.table == wanted.table
                // Where the result names no gateway, the ADD took the one of the address.
                && (route.gw.is_none() || one.next_hops.iter().any(|hop| hop.gateway == route.gw))
        });
        if !found {
            return Err(failed(format!("the pod lost its route to {wanted}")));
        }
    }
    Ok(())
}
