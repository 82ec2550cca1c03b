//! The node as the pods' gateway: its addresses on the bridge (or on the gateway's device of a VLAN), and forwarding.

use std::net::{IpAddr, Ipv4Addr};

use kernel::rtnl::{Address, Link, NewAddress, Rtnl};
use prefix::{Family, Prefix};

use super::shared::Shared;
use crate::address::Cidr;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::result::AddResult;
use crate::undo::Undo;

/// What was changed of a device's addresses.
#[derive(Debug, Default)]
struct Changed {
    added: Vec<Cidr>,
    replaced: Vec<Address>,
}

/// Gives `device` the gateway addresses. The way back is on `undo`: it counts where no other
/// pod is on the bridge whose index is `bridge`; `own` is the port of a VLAN's gateway.
pub(super) fn ensure(
    host: &mut Rtnl,
    device: &Link,
    conf: &BridgeConf,
    wanted: &[Cidr],
    bridge: u32,
    shared: &Shared,
    undo: &mut Undo,
) -> Result<(), CniError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let present = host.addresses(Some(device.index), None)?;
    let mut changed = Changed::default();
    let outcome = change(host, device, conf, wanted, &present, &mut changed);
    if !changed.added.is_empty() || !changed.replaced.is_empty() {
        let (index, what) = (device.index, format!("the addresses of {}", device.name));
        let own = (device.index != bridge).then_some(device.peer_index).flatten();
        shared.push(undo, what, bridge, own, move |host| restore(host, index, &changed));
    }
    outcome
}

fn change(
    host: &mut Rtnl,
    device: &Link,
    conf: &BridgeConf,
    wanted: &[Cidr],
    present: &[Address],
    changed: &mut Changed,
) -> Result<(), CniError> {
    for gateway in wanted {
        if present.iter().any(|one| is(one, gateway)) {
            continue;
        }
        for other in present.iter().filter(|one| conflicts(one, gateway, wanted, conf)) {
            if !conf.force_address {
                return Err(conflict(&device.name, gateway, other));
            }
            match host.delete_address(device.index, other.address, other.prefix_length) {
                // Another ADD was faster.
                Err(error) if error.is_not_found() => {}
                deleted => {
                    deleted?;
                    changed.replaced.push(other.clone());
                }
            }
        }
        if add(host, device.index, gateway)? {
            changed.added.push(*gateway);
        }
    }
    Ok(())
}

fn restore(host: &mut Rtnl, device: u32, changed: &Changed) -> Result<(), CniError> {
    for gateway in &changed.added {
        match host.delete_address(device, gateway.address, gateway.length()) {
            // The device went with the pair.
            Err(error) if error.is_not_found() => {}
            deleted => deleted?,
        }
    }
    for old in &changed.replaced {
        let address = NewAddress {
            broadcast: old.broadcast,
            scope: Some(old.scope),
            no_dad: true,
            ..NewAddress::new(device, old.address, old.prefix_length)
        };
        host.replace_address(&address)?;
    }
    Ok(())
}

/// True if the address on a device is that gateway's.
pub(super) fn is(present: &Address, gateway: &Cidr) -> bool {
    present.address == gateway.address && present.prefix_length == gateway.length()
}

/// In the reference plugin an IPv4 bridge has the gateway addresses of one ADD and no other; IPv6 addresses live side by
/// side unless their networks overlap, and on a bridge of `routerd-cni` those of both families do.
fn conflicts(present: &Address, gateway: &Cidr, wanted: &[Cidr], conf: &BridgeConf) -> bool {
    if Family::of(present.address) != gateway.family() || wanted.iter().any(|cidr| is(present, cidr)) {
        return false;
    }
    let overlap = |prefix: Prefix| prefix.covers(&gateway.prefix()) || gateway.prefix().covers(&prefix);
    (present.address.is_ipv4() && !conf.beside_others) || present.prefix().is_some_and(overlap)
}

fn conflict(device: &str, gateway: &Cidr, other: &Address) -> CniError {
    CniError::new(Code::EXISTS, format!("{device:?} already has an IP address different from {gateway}"))
        .with_details(format!(
            "it has {}/{}; set forceAddress to replace it, or remove it",
            other.address, other.prefix_length
        ))
}

/// `false` if it was there, because another ADD was faster.
fn add(host: &mut Rtnl, device: u32, gateway: &Cidr) -> Result<bool, CniError> {
    let address = NewAddress {
        broadcast: broadcast(gateway),
        no_dad: true,
        ..NewAddress::new(device, gateway.address, gateway.length())
    };
    match host.add_address(&address) {
        Err(error) if error.is_exists() => Ok(false),
        added => Ok(added.map(|()| true)?),
    }
}

/// The IPv4 broadcast address of a subnet that has one.
pub(super) fn broadcast(cidr: &Cidr) -> Option<Ipv4Addr> {
    match cidr.prefix().range().1 {
        IpAddr::V4(last) if cidr.length() < 31 => Some(last),
        _ => None,
    }
}

/// Lets the node forward what pods with the addresses of `result` send. It changes settings of all devices, and makes the
/// node forget default routes that routers told it: nothing that could be set back.
pub(super) fn forward_for(conf: &BridgeConf, result: &AddResult) -> Result<(), CniError> {
    if !conf.is_gateway {
        return Ok(());
    }
    let mut host = Rtnl::open()?;
    let has = |family: &Family| result.ips.iter().any(|ip| ip.address.family() == *family);
    Family::BOTH.into_iter().filter(has).try_for_each(|family| forward(&mut host, family))
}

fn forward(host: &mut Rtnl, family: Family) -> Result<(), CniError> {
    // Where it forwards already nothing is written: that would restart what hangs on it. Should the kernel not say,
    // the setting itself is looked at.
    if host.forwards(family).unwrap_or(false) {
        return Ok(());
    }
    kernel::forward(family).map(drop).map_err(|error| {
        CniError::from(error)
            .with_details(format!("the node cannot be a gateway of {family} pods until it forwards"))
    })
}
