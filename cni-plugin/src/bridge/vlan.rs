//! The keys `vlan`, `vlanTrunk` and `preserveDefaultVlan`: which VLANs a pod's port is in, and the gateway of one.
//!
//! ```text
//!   bridge (filters by VLAN) ── port (VLAN 100, untagged) ══ <bridge>.100 (the gateway's address)
//!        └── port (VLAN 100, untagged) ══ pod
//! ```

use std::collections::BTreeMap;

use kernel::rtnl::{Link, LinkKind, NewLink, PortVlans, Rtnl, VethPeer, VlanFlags};
use kernel::{KernelError, sysctl};

use super::names;
use super::segment::{ignore_ipv6_absent, remove};
use super::shared::Shared;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::undo::Undo;

/// The VLAN a port is in when nobody says otherwise (`default_pvid`).
const DEFAULT: u16 = 1;

/// The key that asks for VLANs, if one does.
pub(super) fn key(conf: &BridgeConf) -> Option<&'static str> {
    match (conf.vlan, conf.vlan_trunk.is_empty()) {
        (0, true) => None,
        (0, false) => Some("vlanTrunk"),
        _ => Some("vlan"),
    }
}

/// A bridge that does not filter would carry every pod's frames to every other, whatever VLAN they are in.
pub(super) fn check_bridge(bridge: &Link, conf: &BridgeConf) -> Result<(), CniError> {
    let Some(key) = key(conf).filter(|_| !bridge.vlan_filtering) else { return Ok(()) };
    let name = &bridge.name;
    Err(CniError::new(Code::UNSUPPORTED, format!("{key}: bridge {name} does not filter by VLAN")).with_details(
        format!(
            "switch it on (`ip link set {name} type bridge vlan_filtering 1`) where no other pods are on {name}, \
             name a bridge of its own in the key `bridge`, or remove {key}"
        ),
    ))
}

/// The error for a kernel that refused a step of which VLANs are part.
pub(super) fn lacking(error: KernelError, conf: &BridgeConf) -> CniError {
    match key(conf) {
        Some(key) if error.is_unsupported() => CniError::new(
            Code::UNSUPPORTED,
            format!("{key}: this kernel cannot filter bridges by VLAN: {error}"),
        )
        .with_details(format!(
            "it was built without CONFIG_BRIDGE_VLAN_FILTERING; use another kernel or remove {key}"
        )),
        _ => error.into(),
    }
}

/// The VLANs the pod's port shall be in; none if no key asks for any.
pub(super) fn wanted(conf: &BridgeConf) -> Vec<PortVlans> {
    if key(conf).is_none() {
        return Vec::new();
    }
    let mut vlans: Vec<PortVlans> =
        conf.vlan_trunk.iter().map(|range| PortVlans::tagged(range.first, range.last)).collect();
    if conf.preserve_default_vlan && conf.vlan > DEFAULT {
        let flags = VlanFlags { pvid: false, untagged: true };
        vlans.push(PortVlans { first: DEFAULT, last: DEFAULT, flags });
    }
    // Last, so that a trunk that holds it does not take its tag back.
    vlans.push(PortVlans::access(if conf.vlan == 0 { DEFAULT } else { conf.vlan }));
    vlans
}

/// The same as the kernel will tell it.
pub(super) fn wanted_each(conf: &BridgeConf) -> BTreeMap<u16, VlanFlags> {
    let each = |vlans: PortVlans| (vlans.first..=vlans.last).map(move |id| (id, vlans.flags));
    wanted(conf).into_iter().flat_map(each).collect()
}

/// Puts a port into exactly the VLANs that the keys ask for.
pub(super) fn set(host: &mut Rtnl, port: u32, conf: &BridgeConf) -> Result<(), CniError> {
    put(host, port, &wanted(conf)).map_err(|error| lacking(error, conf))
}

fn put(host: &mut Rtnl, port: u32, vlans: &[PortVlans]) -> Result<(), KernelError> {
    if vlans.is_empty() {
        return Ok(());
    }
    // A new port is in the bridge's default VLAN, whichever that is.
    host.delete_port_vlans(port, &[PortVlans::tagged(1, 4094)])?;
    host.add_port_vlans(port, vlans)
}

/// The name of the gateway's device in a VLAN.
pub(super) fn gateway_name(conf: &BridgeConf) -> Option<String> {
    (conf.vlan != 0 && conf.is_gateway).then(|| format!("{}.{}", conf.bridge, conf.vlan))
}

/// Finds or makes the device `name` that carries the gateway's address in the VLAN.
pub(super) fn gateway_device(
    host: &mut Rtnl,
    name: &str,
    conf: &BridgeConf,
    bridge: &Link,
    shared: &Shared,
    undo: &mut Undo,
) -> Result<Link, CniError> {
    if let Some(link) = host.link_by_name(name)? {
        let near = gateway_port(host, &link, bridge)?;
        // Whoever made it may have been killed before it was in its VLAN.
        if host.port_vlans(near.index)? != of_gateway(conf) {
            finish(host, near.index, [name, &near.name], conf)?;
        }
        if !link.up {
            host.set_up(link.index)?;
        }
        return Ok(link);
    }
    let port = names::gateway_port(&conf.bridge, conf.vlan);
    let peer = VethPeer { name, mtu: Some(bridge.mtu), mac: None, netns: None };
    let pair =
        NewLink { mtu: Some(bridge.mtu), master: Some(bridge.index), up: true, ..NewLink::veth(&port, peer) };
    let made = match host.create_link(&pair) {
        Err(error) if error.is_exists() => false,
        created => created.map(|()| true)?,
    };
    let link = host.link_by_name(name)?.ok_or_else(|| {
        CniError::new(Code::EXISTS, format!("{name} could not be made: {port} already exists"))
            .with_details(format!("remove {port}, which is no gateway's port"))
    })?;
    if made {
        let index = link.index;
        shared.push(
            undo,
            format!("the gateway's device {name}"),
            bridge.index,
            link.peer_index,
            move |host| remove(host, index),
        );
        finish(host, link.peer_index.unwrap_or_default(), [name, &port], conf)?;
        host.set_up(index)?;
    }
    Ok(link)
}

/// Puts the gateway's port, `near`, into its VLAN alone, and makes both ends of the pair, the device and the port, take no
/// router advertisements.
fn finish(host: &mut Rtnl, near: u32, [device, port]: [&str; 2], conf: &BridgeConf) -> Result<(), CniError> {
    put(host, near, &[PortVlans::access(conf.vlan)]).map_err(|error| lacking(error, conf))?;
    for (link, key) in [(device, "accept_dad"), (device, "accept_ra"), (port, "accept_ra")] {
        ignore_ipv6_absent(sysctl::write_blindly(&["net", "ipv6", "conf", link, key], "0"))?;
    }
    Ok(())
}

/// The VLAN that the gateway's port is in, as the kernel tells it.
fn of_gateway(conf: &BridgeConf) -> BTreeMap<u16, VlanFlags> {
    let vlans = PortVlans::access(conf.vlan);
    BTreeMap::from([(vlans.first, vlans.flags)])
}

/// The gateway's device is one end of a pair whose other end, which is returned, is a port of the bridge.
fn gateway_port(host: &mut Rtnl, link: &Link, bridge: &Link) -> Result<Link, CniError> {
    let port = match (&link.kind, link.peer_index) {
        (LinkKind::Veth, Some(index)) => host.link_by_index(index)?,
        _ => None,
    };
    port.filter(|port| port.master == Some(bridge.index)).ok_or_else(|| {
        let (name, bridge) = (&link.name, &bridge.name);
        let msg = format!("{name:?} already exists but is not the gateway's device on {bridge}");
        CniError::new(Code::EXISTS, msg).with_details("remove it, or choose another name in the key `bridge`")
    })
}

/// The gateway's device leads to the bridge, in its VLAN.
pub(super) fn check_gateway_device(
    host: &mut Rtnl,
    link: &Link,
    bridge: &Link,
    conf: &BridgeConf,
) -> Result<(), CniError> {
    let port = gateway_port(host, link, bridge)?;
    let found = host.port_vlans(port.index)?;
    if found == of_gateway(conf) {
        return Ok(());
    }
    let ids = found.keys().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let (name, vlan) = (&link.name, conf.vlan);
    let msg = format!("vlan: the port of {name} is in the VLANs {ids}, not in {vlan} alone");
    Err(CniError::new(Code::KERNEL, msg).with_details("the next ADD of a pod in this VLAN mends it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use crate::config::NetConf;

    fn shown(body: &str) -> String {
        let text = format!(r#"{{"name":"n",{body}}}"#);
        let conf = NetConf::parse(text.as_bytes()).unwrap();
        let conf = BridgeConf::parse(&conf, &Args::default(), "cni0").unwrap();
        let words = wanted_each(&conf).into_iter().map(|(id, flags)| {
            format!("{id}{}{}", if flags.pvid { "p" } else { "" }, if flags.untagged { "u" } else { "" })
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_port_is_in_the_vlans_that_the_keys_ask_for_and_in_no_other() {
        for (body, vlans) in [
            (r#""mtu":1400"#, ""),
            (r#""vlan":100"#, "100pu"),
            (r#""vlan":1"#, "1pu"),
            (r#""vlan":100,"preserveDefaultVlan":true"#, "1u 100pu"),
            (r#""vlanTrunk":[{"minID":10,"maxID":12},{"id":7}]"#, "1pu 7 10 11 12"),
            (r#""vlan":11,"vlanTrunk":[{"minID":10,"maxID":12}]"#, "10 11pu 12"),
            (r#""vlanTrunk":[{"id":1}],"preserveDefaultVlan":true"#, "1pu"),
        ] {
            assert_eq!(shown(body), vlans, "{body}");
        }
    }
}
