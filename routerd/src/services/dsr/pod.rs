//! The pod's side: a tunnel device that takes packets out of their tunnel, with the Services' addresses on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use kernel::rtnl::{Encapsulation, NewAddress, Rtnl, Tunnel};
use kernel::{NetNs, Result, sysctl};
use prefix::Family;

/// As kube-router calls them.
const DEVICE: [(Family, &str); 2] = [(Family::V4, "kube-tunnel-if"), (Family::V6, "kube-tunnel-v6")];
/// Only what the device sends would be bound by it, and it sends nothing.
const MTU: u32 = 1480;
/// A source that is reached by another device than it came in by is no forgery here (`rp_filter` 2, loose).
const LOOSE: &str = "2";

/// What a pod should have in a family: its own address, and those of Services. No addresses: no device.
pub(super) type Side = BTreeMap<Family, (IpAddr, BTreeSet<IpAddr>)>;

/// Makes the pod whose namespace is at `path` as `side` says; how many writes that took.
pub(super) fn bring(path: &Path, side: &Side) -> Result<u64> {
    NetNs::open(path)?.run_in(|| {
        let mut rtnl = Rtnl::open()?;
        let mut writes = 0;
        for (family, name) in DEVICE {
            writes += match side.get(&family) {
                Some((pod, addresses)) if !addresses.is_empty() => device(&mut rtnl, name, *pod, addresses)?,
                _ => u64::from(rtnl.delete_link_by_name(name)?),
            };
        }
        Ok(writes)
    })?
}

fn device(rtnl: &mut Rtnl, name: &str, pod: IpAddr, wanted: &BTreeSet<IpAddr>) -> Result<u64> {
    let (index, mut writes) = tunnel(rtnl, name, pod)?;
    if pod.is_ipv4() {
        writes += u64::from(sysctl::write(&["net", "ipv4", "conf", name, "rp_filter"], LOOSE)?);
    }
    let length = Family::of(pod).bits();
    let has: BTreeSet<IpAddr> = rtnl
        .addresses(Some(index), Some(Family::of(pod)))?
        .into_iter()
        .map(|address| address.address)
        .filter(|address| !is_link_local(*address))
        .collect();
    for address in wanted.difference(&has) {
        rtnl.add_address(&NewAddress { no_dad: true, ..NewAddress::new(index, *address, length) })?;
        writes += 1;
    }
    for address in has.difference(wanted) {
        rtnl.delete_address(index, *address, length)?;
        writes += 1;
    }
    Ok(writes)
}

/// The device's index; one that takes packets for another address is made anew.
fn tunnel(rtnl: &mut Rtnl, name: &str, pod: IpAddr) -> Result<(u32, u64)> {
    let found = rtnl.tunnels()?.into_iter().find(|found| found.link.name == name);
    let mut writes = 0;
    if let Some(found) = found {
        if found.tunnel.local == pod {
            return Ok((found.link.index, 0));
        }
        rtnl.delete_link(found.link.index)?;
        writes += 1;
    }
    let anybody: IpAddr = match pod {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let tunnel = Tunnel { carries_ipv4: pod.is_ipv4(), ..Tunnel::new(pod, anybody, Encapsulation::Bare) };
    Ok((rtnl.create_tunnel(name, &tunnel, MTU)?, writes + 1))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
