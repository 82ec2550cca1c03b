//! What the node's end of a pod's pair is called.

use kernel::rtnl::{Link, LinkKind};

use crate::env::Environment;
use crate::tag::Tag;

/// The host end's name and, for the rare case that another pod's hash is the same, further ones. The name follows
/// from the attachment, so that DEL finds the device with no namespace to look in.
pub const ATTEMPTS: u32 = 8;

/// The host end's name for the attachment `ifname` of `container_id`: `veth` and eight hexadecimal digits.
pub fn host_interface(container_id: &str, ifname: &str, attempt: u32) -> String {
    veth(&format!("{container_id}/{ifname}/{attempt}"))
}

/// The name of the port of a VLAN's gateway. No attachment has it, as an id holds no blank.
pub(super) fn gateway_port(bridge: &str, vlan: u16) -> String {
    veth(&format!("gateway {bridge}.{vlan}"))
}

fn veth(text: &str) -> String {
    // FNV-1a: it must never change, as running pods survive an upgrade of the plugin.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("veth{:08x}", (hash ^ (hash >> 32)) & 0xffff_ffff)
}

/// The candidates for an attachment, the usual one first.
pub(super) fn candidates(env: &Environment) -> impl Iterator<Item = String> {
    (0..ATTEMPTS).map(|attempt| host_interface(&env.container_id, &env.ifname, attempt))
}

/// Whose a host end is, by its name and the [`Tag`] in its alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The attachment's.
    Ours,
    /// Nobody says so.
    Nobodys,
    /// Another attachment's, or something else under that name.
    Anothers,
}

/// Whose a link is. The network is not asked for: a container has an interface name once.
pub(super) fn whose(link: &Link, env: &Environment) -> Whose {
    if link.kind != LinkKind::Veth {
        return Whose::Anothers;
    }
    match link.alias.parse::<Tag>() {
        Ok(tag) if tag.is_of_container(&env.container_id) && tag.ifname() == env.ifname => Whose::Ours,
        // A plugin that was killed right after making it wrote nothing yet.
        Err(_) if link.alias.is_empty() => Whose::Nobodys,
        _ => Whose::Anothers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_stable_short_and_its_attachments_own() {
        assert_eq!(host_interface("c1", "eth0", 0), "vethd955da78");
        let names: std::collections::BTreeSet<String> =
            (0..1000).map(|n| host_interface(&format!("container-{n}"), "eth0", 0)).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 12));
        assert_ne!(host_interface("c1", "eth0", 0), host_interface("c1", "eth1", 0));
        assert_ne!(host_interface("c1", "eth0", 0), host_interface("c1", "eth0", 1));
    }
}
