//! ADD.

use kernel::rtnl::{Link, Rtnl};

use super::plan::Plan;
use super::pod::PodEnd;
use super::shared::Shared;
use super::{gateway, open_pod, pair, segment, vlan};
use crate::address::Mac;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::request::{Addresses, Request, Wired};
use crate::result::{AddResult, Interface};
use crate::undo::Undo;

pub(super) fn add(
    request: &Request,
    conf: &BridgeConf,
    addresses: &Addresses,
    undo: &mut Undo,
) -> Result<Wired, CniError> {
    let plan = Plan::new(conf, addresses);
    plan.check(conf)?;
    let pod = open_pod(request)?;
    let mut host = Rtnl::open()?;
    let shared = Shared::enter();
    let bridge = segment::ensure(&mut host, conf, &shared, undo)?;
    let device = vlan::gateway_name(conf)
        .map(|name| vlan::gateway_device(&mut host, &name, conf, &bridge, &shared, undo))
        .transpose()?;
    let carrier = device.as_ref().unwrap_or(&bridge);
    gateway::ensure(&mut host, carrier, conf, &plan.gateways, bridge.index, &shared, undo)?;
    let near = pair::make(&mut host, request, conf, &bridge, &pod, undo)?;
    let (far, announcement) = pod.visit(|| {
        let mut end = PodEnd::open(&request.env.ifname, &near)?;
        if conf.disable_container_interface {
            end.settings(conf, false)?;
            host.set_up(near.index)?;
            return Ok((end.link()?, None));
        }
        end.configure(conf, &plan)?;
        pair::open(&mut host, &near, &bridge)?;
        let far = end.wait()?;
        end.settle(conf)?;
        let announcement = end.announced(&near, &far)?;
        Ok::<_, CniError>((far, announcement))
    })??;
    // A bridge of somebody else whose address nobody set may have got that of our port.
    let bridge = if conf.is_gateway { bridge } else { host.link_by_index(bridge.index)?.unwrap_or(bridge) };
    let sandbox = request.env.require_netns()?.to_string_lossy().into_owned();
    let mut wired = wired(addresses, plan, [&bridge, &near, &far], sandbox)?;
    wired.announcement = announcement;
    wired.result.interfaces.extend(device.as_ref().map(interface));
    Ok(wired)
}

fn wired(
    addresses: &Addresses,
    plan: Plan,
    [bridge, near, far]: [&Link; 3],
    sandbox: String,
) -> Result<Wired, CniError> {
    let mac = far.mac.ok_or_else(|| {
        CniError::new(Code::KERNEL, format!("{} in the pod has no Ethernet address", far.name))
    })?;
    let interfaces = vec![interface(bridge), interface(near), Interface { sandbox, ..interface(far) }];
    let mut ips = plan.ips;
    for ip in &mut ips {
        ip.interface = Some(2);
    }
    let result = AddResult { interfaces, ips, routes: plan.routes, dns: addresses.dns.clone() };
    Ok(Wired { result, host_interface: near.name.clone(), mac: Mac(mac.0), announcement: None })
}

fn interface(link: &Link) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        ..Interface::default()
    }
}
