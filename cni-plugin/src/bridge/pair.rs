//! The virtual Ethernet pair between node and pod.

use std::time::{Duration, Instant};

use kernel::rtnl::{Batch, BridgePort, Link, LinkChange, MacAddress, NewLink, OperState, Rtnl, VethPeer};
use kernel::{KernelError, NetNs, sysctl};

use super::segment::ignore_ipv6_absent;
use super::{names, vlan};
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::tag::Tag;
use crate::undo::Undo;

/// How long the host end may take to carry packets once both ends are up. It takes less than a millisecond.
const PORT_WAIT: Duration = Duration::from_secs(5);

/// Makes the pair, its far end in the pod, its near end a port of the bridge. The way back is on `undo` before
/// anything else happens to it.
pub(super) fn make(
    host: &mut Rtnl,
    request: &Request,
    conf: &BridgeConf,
    bridge: &Link,
    pod: &NetNs,
    undo: &mut Undo,
) -> Result<Link, CniError> {
    let name = create(host, request, conf, bridge, pod)?;
    let back = name.clone();
    undo.push(format!("the pair of {name}"), move || {
        Ok(Rtnl::open()?.delete_link_by_name(&back).map(drop)?)
    });
    let tag = Tag::of_request(request).to_string();
    let port = BridgePort { hairpin: conf.hairpin_mode, isolated: conf.port_isolation };
    let change = LinkChange {
        alias: Some(&tag),
        port: (port != BridgePort::default()).then_some(port),
        ..LinkChange::default()
    };
    let mut batch = Batch::new();
    batch.change_link_named(&name, &change)?.look_up(&name)?;
    let link = host.run_for_link(&batch)?;
    vlan::set(host, link.index, conf)?;
    ignore_ipv6_absent(sysctl::write_blindly(&["net", "ipv6", "conf", &name, "accept_ra"], "0"))?;
    Ok(link)
}

fn create(
    host: &mut Rtnl,
    request: &Request,
    conf: &BridgeConf,
    bridge: &Link,
    pod: &NetNs,
) -> Result<String, CniError> {
    let ifname = request.env.ifname.as_str();
    let mut last = None;
    for name in names::candidates(&request.env) {
        let mac = conf.mac.map(|mac| MacAddress(mac.0));
        let peer = VethPeer { name: ifname, mtu: conf.mtu, mac, netns: Some(pod) };
        let pair =
            NewLink { mtu: conf.mtu, master: Some(bridge.index), up: true, ..NewLink::veth(&name, peer) };
        match host.create_link(&pair) {
            Ok(()) => return Ok(name),
            // The kernel does not say which of the two names is taken.
            Err(error) if error.is_exists() => {
                if pod.visit(Rtnl::open)??.link_by_name(ifname)?.is_some() {
                    return Err(taken(&name, ifname, &error));
                }
                last = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.map_or_else(|| CniError::new(Code::INTERNAL, "no name for the host end"), CniError::from))
}

fn taken(name: &str, ifname: &str, error: &KernelError) -> CniError {
    let msg = format!("container veth name ({ifname:?}) peer provided ({name:?}) already exists");
    CniError::new(Code::EXISTS, msg).with_details(error.to_string())
}

fn find(host: &mut Rtnl, name: &str) -> Result<Link, CniError> {
    host.link_by_name(name)?.ok_or_else(|| {
        CniError::new(Code::KERNEL, format!("{name} was removed by somebody else while it was configured"))
    })
}

/// Waits until the host end carries packets, so that the pod's first packet is not lost, and looks that it is still a
/// port of the bridge.
///
/// From Linux 6.8 on, looking at the link itself makes the kernel finish what it had put off, so the first look is
/// mostly enough.
pub(super) fn wait_for_port(host: &mut Rtnl, name: &str, bridge: &Link) -> Result<(), CniError> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        let link = find(host, name)?;
        if link.master != Some(bridge.index) {
            let msg = format!("bridge {} was removed by somebody else meanwhile", bridge.name);
            return Err(CniError::new(Code::TRY_AGAIN, msg));
        }
        if link.oper_state == OperState::Up {
            return Ok(());
        }
        if start.elapsed() > PORT_WAIT {
            let msg = format!("bridge port in error state: {:?}", link.oper_state);
            return Err(CniError::new(Code::KERNEL, msg).with_details(format!("port {name}")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
