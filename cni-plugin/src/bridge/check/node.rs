//! The node's side: bridge, port, gateway.

use kernel::rtnl::{BridgePort, Link, LinkKind, Rtnl};

use super::super::plan::Plan;
use super::super::{gateway, vlan};
use super::{failed, same_mac};
use crate::config::BridgeConf;
use crate::error::CniError;
use crate::result::{AddResult, Interface};

fn on_node<'a>(prev: &'a AddResult, name: &str) -> Option<&'a Interface> {
    prev.interfaces.iter().find(|interface| interface.sandbox.is_empty() && interface.name == name)
}

pub(super) fn check_bridge(host: &mut Rtnl, conf: &BridgeConf, prev: &AddResult) -> Result<Link, CniError> {
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
    vlan::check_bridge(&link, conf).map_err(|error| failed(error.to_string()))?;
    Ok(link)
}

pub(super) fn check_port(
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
    if near.peer_index != Some(far.index) {
        return Err(failed(format!("the other end of {name} is not {}", far.name)));
    }
    if !near.up {
        return Err(failed(format!("{name} is down")));
    }
    if near.master != Some(bridge.index) {
        return Err(failed(format!("{name} is not a port of {}", bridge.name)));
    }
    let wanted = BridgePort { hairpin: conf.hairpin_mode, isolated: conf.port_isolation };
    if near.port.unwrap_or_default() != wanted {
        return Err(failed(format!("port {name} is {:?} and not {wanted:?}", near.port.unwrap_or_default())));
    }
    check_vlans(host, conf, &near)
}

fn check_vlans(host: &mut Rtnl, conf: &BridgeConf, near: &Link) -> Result<(), CniError> {
    let Some(key) = vlan::key(conf) else { return Ok(()) };
    let (wanted, found) = (vlan::wanted_each(conf), host.port_vlans(near.index)?);
    if found == wanted {
        return Ok(());
    }
    let name = &near.name;
    let ids =
        |vlans: Vec<&u16>| vlans.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(failed(format!(
        "{key}: port {name} is in the VLANs {}, which is not as it was made ({})",
        ids(found.keys().collect()),
        ids(wanted.keys().collect())
    )))
}

pub(super) fn check_gateway(
    host: &mut Rtnl,
    conf: &BridgeConf,
    plan: &Plan,
    bridge: &Link,
) -> Result<(), CniError> {
    if plan.gateways.is_empty() {
        return Ok(());
    }
    let device = match vlan::gateway_name(conf) {
        Some(name) => {
            let gone = || failed(format!("the gateway's device {name} is gone"));
            let link = host.link_by_name(&name)?.ok_or_else(gone)?;
            vlan::check_gateway_device(host, &link, bridge, conf)
                .map_err(|error| failed(error.to_string()))?;
            link
        }
        None => bridge.clone(),
    };
    let present = host.addresses(Some(device.index), None)?;
    let lost = plan.gateways.iter().find(|wanted| !present.iter().any(|one| gateway::is(one, wanted)));
    match lost {
        Some(lost) => Err(failed(format!("{} lost the gateway address {lost}", device.name))),
        None => Ok(()),
    }
}
