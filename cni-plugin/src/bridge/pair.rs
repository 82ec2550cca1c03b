//! The virtual Ethernet pair between node and pod.

use std::time::{Duration, Instant};

use kernel::rtnl::{Batch, BridgePort, Link, LinkChange, MacAddress, NewLink, OperState, Rtnl, VethPeer};
use kernel::{KernelError, NetNs, sysctl};
use nix::errno::Errno;

use super::segment::ignore_ipv6_absent;
use super::{names, vlan, without_link_local};
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::tag::Tag;
use crate::undo::Undo;

/// How long an end may take to carry packets once both ends are up. It takes less than a millisecond.
const PORT_WAIT: Duration = Duration::from_secs(5);

/// Makes the pair, its far end in the pod, its near end a port of the bridge, both down. The way back is on `undo`
/// before anything else happens to it.
///
/// The near end is a port before it is up, and comes up last ([`open`]): a port that comes up, loses its carrier and
/// gets it again makes the kernel walk all other ports and all IPv6 routes each time. On a bridge with 1,000 ports that
/// is most of an ADD.
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
    // A port has no address, and with one of its own it would only talk to the pod.
    let link = without_link_local(&change, |change| name_it(host, &name, change))?;
    vlan::set(host, link.index, conf)?;
    ignore_ipv6_absent(sysctl::write_blindly(&["net", "ipv6", "conf", &name, "accept_ra"], "0"))?;
    Ok(link)
}

fn name_it(host: &mut Rtnl, name: &str, change: &LinkChange<'_>) -> Result<Link, KernelError> {
    let mut batch = Batch::new();
    batch.change_link_named(name, change)?.look_up(name)?;
    host.run_for_link(&batch)
}

/// Sets the near end up, which starts both ends, and waits until it carries packets.
pub(super) fn open(host: &mut Rtnl, near: &Link, bridge: &Link) -> Result<(), CniError> {
    let mut batch = Batch::new();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    batch.change_link(near.index, &up)?.look_up(&near.name)?;
    let mut link = match host.run_for_link(&batch) {
        Err(error) if error.is_not_found() => Err(removed(&near.name)),
        done => Ok(done?),
    }?;
    if link.oper_state != OperState::Up {
        link = wait_until_up(host, &near.name)?;
    }
    if link.master == Some(bridge.index) {
        return Ok(());
    }
    let msg = format!("bridge {} was removed by somebody else meanwhile", bridge.name);
    Err(CniError::new(Code::TRY_AGAIN, msg))
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
        let pair = NewLink { mtu: conf.mtu, master: Some(bridge.index), ..NewLink::veth(&name, peer) };
        match host.create_link(&pair) {
            Ok(()) => return Ok(name),
            // The kernel does not say which of the two names is taken.
            Err(error) if error.is_exists() => {
                if pod.visit(Rtnl::open)??.link_by_name(ifname)?.is_some() {
                    return Err(taken(&name, ifname, &error));
                }
                last = Some(error);
            }
            Err(error) if error.errno == Errno::EXFULL => return Err(full(&bridge.name, &error)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.map_or_else(|| CniError::new(Code::INTERNAL, "no name for the host end"), CniError::from))
}

fn taken(name: &str, ifname: &str, error: &KernelError) -> CniError {
    let msg = format!("container veth name ({ifname:?}) peer provided ({name:?}) already exists");
    CniError::new(Code::EXISTS, msg).with_details(error.to_string())
}

/// A kernel's bridge numbers its ports from 1 to 1023 (`BR_MAX_PORTS`).
fn full(bridge: &str, error: &KernelError) -> CniError {
    let msg =
        format!("bridge {bridge} is full: it has 1023 ports, the most that the kernel gives to a bridge");
    CniError::new(Code::TRY_AGAIN, msg).with_details(format!(
        "it will be tried again, and there is room when a pod of this node goes; let kubelet put fewer pods here \
         (maxPods), or give some of them a network with a bridge of its own ({error})"
    ))
}

fn removed(name: &str) -> CniError {
    CniError::new(Code::KERNEL, format!("{name} was removed by somebody else while it was configured"))
}

/// Waits until an end carries packets, so that the pod's first packet is not lost.
///
/// From Linux 6.8 on, looking at the link itself makes the kernel finish what it had put off, so the first look is
/// mostly enough.
pub(super) fn wait_until_up(rtnl: &mut Rtnl, name: &str) -> Result<Link, CniError> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        let link = rtnl.link_by_name(name)?.ok_or_else(|| removed(name))?;
        if link.oper_state == OperState::Up {
            return Ok(link);
        }
        if start.elapsed() > PORT_WAIT {
            let msg = format!("bridge port in error state: {:?}", link.oper_state);
            return Err(CniError::new(Code::KERNEL, msg).with_details(format!("link {name}")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
