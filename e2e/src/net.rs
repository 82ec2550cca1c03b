//! The segment that joins the nodes: a bridge in the run's own network namespace, with one TAP
//! device (guest) or veth (name space) a node.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::process::{capture, command};

/// The lab's own address on the segment: "outside" of the cluster.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The address of the node with this number (from 1).
pub fn node_address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 10 + index)
}

/// The lab's own IPv6 address on the segment (from the documentation range, RFC 3849).
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0xc0de, 0, 0, 0, 1);

/// The IPv6 address of the node with this number (from 1), where nodes have one.
pub fn node_address6(index: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0xc0de, 0, 0, 0, 0x10 + u16::from(index))
}

/// The IPv4 range of the pods of a node, `10.244.N.0/24`.
pub fn pod_range(index: u8) -> String {
    format!("10.244.{index}.0/24")
}

/// Makes the bridge. The process must be in the network namespace of the run.
pub fn make_segment() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "br0", "type", "bridge"])?;
    ip(&["addr", "add", &format!("{GATEWAY}/24"), "dev", "br0"])?;
    // Nobody else is there who could have it: nothing to wait for.
    ip(&["addr", "add", &format!("{GATEWAY6}/64"), "dev", "br0", "nodad"])?;
    ip(&["link", "set", "br0", "up"])
}

/// Makes a TAP device on the bridge for a guest, if it is not there from an earlier boot, and returns its name.
pub fn make_tap(index: u8) -> Result<String> {
    let name = format!("tap{index}");
    if std::path::Path::new("/sys/class/net").join(&name).exists() {
        return Ok(name);
    }
    ip(&["tuntap", "add", &name, "mode", "tap"])?;
    ip(&["link", "set", &name, "master", "br0", "up"])?;
    Ok(name)
}

/// Makes a veth pair between the bridge and the network namespace of a process, where it is called `vec0`.
pub fn make_veth(index: u8, process: u32) -> Result<()> {
    let (ours, theirs) = (format!("veth{index}"), process.to_string());
    ip(&["link", "add", &ours, "type", "veth", "peer", "name", "vec0", "netns", &theirs])?;
    ip(&["link", "set", &ours, "master", "br0", "up"])
}

/// Takes the veth of a node down: nothing of it is heard any more.
pub fn cut(index: u8) -> Result<()> {
    ip(&["link", "set", &format!("veth{index}"), "down"])
}

/// Runs `ip` in the lab's own network namespace.
pub fn ip(args: &[&str]) -> Result<()> {
    capture(command("ip").args(args)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_addresses_and_pod_ranges_of_their_own() {
        assert_eq!(node_address(1), Ipv4Addr::new(192, 0, 2, 11));
        assert_eq!(pod_range(3), "10.244.3.0/24");
        assert_ne!(node_address(1), GATEWAY);
    }
}
