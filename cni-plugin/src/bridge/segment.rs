//! The bridge itself: there, up, with an address that stays.

use std::io::Read;

use kernel::rtnl::{BridgeOptions, Link, LinkChange, LinkKind, MacAddress, NewLink, Rtnl};
use kernel::{KernelError, sysctl, sysfs};

use super::shared::Shared;
use super::{not_a_bridge, vlan};
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::undo::Undo;

/// Finds the bridge or makes it. It is not removed again: other pods may be on it.
pub(super) fn ensure(
    host: &mut Rtnl,
    conf: &BridgeConf,
    shared: &Shared,
    undo: &mut Undo,
) -> Result<Link, CniError> {
    let name = conf.bridge.as_str();
    let (mut link, made) = match host.link_by_name(name)? {
        Some(link) => (link, false),
        None => make(host, conf)?,
    };
    if made {
        let index = link.index;
        shared.push(undo, format!("bridge {name}"), index, None, move |host| remove(host, index));
    }
    // Before anything of it is touched: a device of another kind is somebody else's.
    if link.kind != LinkKind::Bridge {
        return Err(not_a_bridge(name, &link.kind));
    }
    vlan::check_bridge(&link, conf)?;
    if !made {
        keep_settings(&link, conf, shared, undo);
    }
    if !link.up {
        // Before it is up, which is when it gets its link-local address. With duplicate address detection the node
        // would ask for no neighbour in the second after that. Another ADD may have made it just now.
        ignore_ipv6_absent(sysctl::write(&["net", "ipv6", "conf", name, "accept_dad"], "0"))?;
    }
    let change = LinkChange {
        up: (!link.up).then_some(true),
        promiscuous: (conf.promisc_mode && !link.promiscuous).then_some(true),
        mac: address_to_pin(&link, made, conf)?,
        ..LinkChange::default()
    };
    if change != LinkChange::default() {
        host.change_link(link.index, &change)?;
        link.mac = change.mac.or(link.mac);
    }
    // Hosts on the bridge are pods; none of them may offer the node a way out.
    if link.accept_ra != Some(0) {
        ignore_ipv6_absent(sysctl::write(&["net", "ipv6", "conf", name, "accept_ra"], "0"))?;
    }
    Ok(link)
}

/// Puts the way back for what a bridge that was there may get on `undo`.
fn keep_settings(link: &Link, conf: &BridgeConf, shared: &Shared, undo: &mut Undo) {
    let promiscuous = conf.promisc_mode && !link.promiscuous;
    let change = LinkChange {
        up: (!link.up).then_some(false),
        promiscuous: promiscuous.then_some(false),
        ..LinkChange::default()
    };
    let accept_ra = link.accept_ra.filter(|value| *value != 0).map(|value| ("accept_ra", value.to_string()));
    let key = |key| ["net", "ipv6", "conf", link.name.as_str(), key];
    let accept_dad = if link.up { None } else { sysctl::read(&key("accept_dad")).ok() };
    let settings: Vec<(&str, String)> =
        accept_ra.into_iter().chain(accept_dad.map(|value| ("accept_dad", value))).collect();
    if change == LinkChange::default() && settings.is_empty() {
        return;
    }
    let (index, name, what) = (link.index, link.name.clone(), format!("the settings of {}", link.name));
    shared.push(undo, what, index, None, move |host| {
        for (key, value) in &settings {
            ignore_ipv6_absent(sysctl::write(&["net", "ipv6", "conf", &name, key], value))?;
        }
        match host.change_link(index, &change) {
            // Somebody removed it meanwhile.
            Err(error) if error.is_not_found() => Ok(()),
            done => Ok(done?),
        }
    });
}

/// The bridge, and whether it was made here.
fn make(host: &mut Rtnl, conf: &BridgeConf) -> Result<(Link, bool), CniError> {
    let options = BridgeOptions { vlan_filtering: vlan::key(conf).map(|_| true) };
    let bridge = NewLink { mtu: conf.mtu, ..NewLink::bridge(&conf.bridge, options) };
    let made = match host.create_link(&bridge) {
        // Another ADD was faster.
        Err(error) if error.is_exists() => false,
        Err(error) => return Err(vlan::lacking(error, conf)),
        Ok(()) => true,
    };
    let link = host.link_by_name(&conf.bridge)?.ok_or_else(|| {
        CniError::new(
            Code::TRY_AGAIN,
            format!("bridge {} was removed by somebody else meanwhile", conf.bridge),
        )
    })?;
    Ok((link, made))
}

/// Removes a link that may be gone already.
pub(super) fn remove(host: &mut Rtnl, index: u32) -> Result<(), CniError> {
    match host.delete_link(index) {
        Err(error) if error.is_not_found() => Ok(()),
        removed => Ok(removed?),
    }
}

/// The Ethernet address to give to the bridge, if it needs one. Unset, it is that of the port with the smallest one
/// and changes as pods come and go; with no port left it may even be zero, which the kernel would refuse later.
fn address_to_pin(link: &Link, made: bool, conf: &BridgeConf) -> Result<Option<MacAddress>, CniError> {
    match link.mac {
        Some(mac) if !mac.is_zero() => {
            // Setting an address flushes the bridge's neighbours even if it is the same, so it is done only once, unless
            // `/sys` is another namespace's and cannot tell.
            let unset = made || (conf.is_gateway && !sysfs::mac_was_set(&link.name).unwrap_or(false));
            Ok(unset.then_some(mac))
        }
        _ => random_mac().map(Some),
    }
}

fn random_mac() -> Result<MacAddress, CniError> {
    let mut bytes = [0u8; 6];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| CniError::io("read /dev/urandom", &error))?;
    // Locally administered, not a group.
    bytes[0] = (bytes[0] & 0xfe) | 0x02;
    Ok(MacAddress(bytes))
}

/// A kernel without IPv6 has no such settings and needs none.
pub(super) fn ignore_ipv6_absent<T>(written: Result<T, KernelError>) -> Result<(), CniError> {
    match written {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
