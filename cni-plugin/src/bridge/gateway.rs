//! The node as the pods' gateway: its addresses on the bridge, and forwarding.

use std::net::{IpAddr, Ipv4Addr};

use kernel::rtnl::{Address, Link, NewAddress, Rtnl};
use kernel::sysctl;
use prefix::Family;

use crate::address::Cidr;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};

/// Gives the bridge the gateway addresses and lets the node forward.
pub(super) fn ensure(
    host: &mut Rtnl,
    bridge: &Link,
    conf: &BridgeConf,
    wanted: &[Cidr],
) -> Result<(), CniError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let present = host.addresses(Some(bridge.index), None)?;
    for gateway in wanted {
        let same = |one: &Address| one.address == gateway.address && one.prefix_length == gateway.length();
        if present.iter().any(same) {
            continue;
        }
        for other in present.iter().filter(|one| conflicts(one, gateway, wanted)) {
            if !conf.force_address {
                return Err(conflict(&conf.bridge, gateway, other));
            }
            match host.delete_address(bridge.index, other.address, other.prefix_length) {
                // Another ADD was faster.
                Err(error) if error.is_not_found() => {}
                deleted => deleted?,
            }
        }
        add(host, bridge.index, gateway)?;
    }
    for family in Family::BOTH {
        if wanted.iter().any(|gateway| gateway.family() == family) {
            forward(family)?;
        }
    }
    Ok(())
}

/// An IPv4 bridge has one gateway address a subnet of ours and no other; IPv6 addresses live side by side unless their
/// networks overlap.
fn conflicts(present: &Address, gateway: &Cidr, wanted: &[Cidr]) -> bool {
    let is_wanted = |cidr: &Cidr| cidr.address == present.address && cidr.length() == present.prefix_length;
    if Family::of(present.address) != gateway.family() || wanted.iter().any(is_wanted) {
        return false;
    }
    match present.address {
        IpAddr::V4(_) => true,
        IpAddr::V6(_) => present
            .prefix()
            .is_some_and(|prefix| prefix.covers(&gateway.prefix()) || gateway.prefix().covers(&prefix)),
    }
}

fn conflict(bridge: &str, gateway: &Cidr, other: &Address) -> CniError {
    CniError::new(Code::EXISTS, format!("{bridge:?} already has an IP address different from {gateway}"))
        .with_details(format!(
            "it has {}/{}; set forceAddress to replace it, or remove it",
            other.address, other.prefix_length
        ))
}

fn add(host: &mut Rtnl, bridge: u32, gateway: &Cidr) -> Result<(), CniError> {
    let address = NewAddress {
        broadcast: broadcast(gateway),
        no_dad: true,
        ..NewAddress::new(bridge, gateway.address, gateway.length())
    };
    match host.add_address(&address) {
        Err(error) if error.is_exists() => Ok(()),
        added => Ok(added?),
    }
}

/// The IPv4 broadcast address of a subnet that has one.
pub(super) fn broadcast(cidr: &Cidr) -> Option<Ipv4Addr> {
    match cidr.prefix().range().1 {
        IpAddr::V4(last) if cidr.length() < 31 => Some(last),
        _ => None,
    }
}

fn forward(family: Family) -> Result<(), CniError> {
    // Another value than 1 is never written over a 1: that would restart what hangs on it.
    let key = match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    };
    sysctl::set(key, "1").map(drop).map_err(|error| {
        CniError::from(error).with_details(format!("the node cannot be a gateway without {key}=1"))
    })
}
