//! The segments that join the nodes: bridges in the run's own network namespace, with one TAP
//! device (guest) or veth (name space) a node. Most runs have one; with more, the run's namespace is the router between.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};

use crate::process::{capture, command};

/// The lab's own address on the segment: "outside" of the cluster.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A network of machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Segment {
    /// Where nodes are if nothing else is said.
    #[default]
    Near,
    /// Another network of nodes.
    Far,
    /// A network of machines that are no nodes.
    Outside,
}

impl Segment {
    const ALL: [Self; 3] = [Self::Near, Self::Far, Self::Outside];

    /// The name that the environment of a machine's processes has for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
            Self::Outside => "outside",
        }
    }

    /// The segment of that name.
    pub(crate) fn from_word(word: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|segment| segment.word() == word) {
            Some(segment) => Ok(segment),
            None => bail!("there is no segment {word:?}"),
        }
    }

    /// Its bridge.
    pub const fn bridge(self) -> &'static str {
        match self {
            Self::Near => "br0",
            Self::Far => "br1",
            Self::Outside => "br2",
        }
    }

    /// The lab's own address on it, from ranges for documentation (RFC 5737).
    pub const fn gateway(self) -> Ipv4Addr {
        match self {
            Self::Near => GATEWAY,
            Self::Far => Ipv4Addr::new(198, 51, 100, 1),
            Self::Outside => Ipv4Addr::new(203, 0, 113, 1),
        }
    }

    /// The lab's own IPv6 address on it.
    pub const fn gateway6(self) -> Ipv6Addr {
        match self {
            Self::Near => GATEWAY6,
            Self::Far => Ipv6Addr::new(0x2001, 0xdb8, 0, 0xc0df, 0, 0, 0, 1),
            Self::Outside => Ipv6Addr::new(0x2001, 0xdb8, 0, 0xc0e0, 0, 0, 0, 1),
        }
    }

    /// The address of the machine with this number (from 1).
    pub fn address(self, index: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.gateway().octets();
        Ipv4Addr::new(a, b, c, 10 + index)
    }

    /// The IPv6 address of the machine with this number (from 1), where machines have one.
    pub fn address6(self, index: u8) -> Ipv6Addr {
        let [a, b, c, d, ..] = self.gateway6().segments();
        Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0x10 + u16::from(index))
    }

    /// Makes its bridge. The process must be in the network namespace of the run.
    pub fn make(self) -> Result<()> {
        let bridge = self.bridge();
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", self.gateway()), "dev", bridge])?;
        // Nobody else is there who could have it: nothing to wait for.
        ip(&["addr", "add", &format!("{}/64", self.gateway6()), "dev", bridge, "nodad"])?;
        ip(&["link", "set", bridge, "up"])
    }

    /// Takes the cable of a guest out of its switch. Its device is not told, as behind a switch of another room.
    pub fn unplug(index: u8) -> Result<()> {
        ip(&["link", "set", &tap(index), "nomaster"])
    }

    /// Puts it in again.
    pub fn plug(self, index: u8) -> Result<()> {
        ip(&["link", "set", &tap(index), "master", self.bridge(), "up"])
    }
}

/// The address of the node with this number (from 1) on the segment that nodes are on.
pub fn node_address(index: u8) -> Ipv4Addr {
    Segment::Near.address(index)
}

/// The lab's own IPv6 address on the segment (from the documentation range, RFC 3849).
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0xc0de, 0, 0, 0, 1);

/// The IPv6 address of the node with this number (from 1) there, where nodes have one.
pub fn node_address6(index: u8) -> Ipv6Addr {
    Segment::Near.address6(index)
}

/// The IPv4 range of the pods of a node, `10.244.N.0/24`.
pub fn pod_range(index: u8) -> String {
    format!("10.244.{index}.0/24")
}

/// Makes the segment that nodes are on. The process must be in the network namespace of the run.
pub fn make_segment() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    Segment::Near.make()
}

/// The TAP device of the guest with this number.
fn tap(index: u8) -> String {
    format!("tap{index}")
}

/// Makes a TAP device on a segment for a guest, if it is not there from an earlier boot, and returns its name.
pub fn make_tap(index: u8, segment: Segment) -> Result<String> {
    let name = tap(index);
    if std::path::Path::new("/sys/class/net").join(&name).exists() {
        return Ok(name);
    }
    ip(&["tuntap", "add", &name, "mode", "tap"])?;
    segment.plug(index)?;
    Ok(name)
}

/// Makes a veth pair between a segment and the network namespace of a process, where it is called `vec0`.
pub fn make_veth(index: u8, segment: Segment, process: u32) -> Result<()> {
    let (ours, theirs) = (format!("veth{index}"), process.to_string());
    ip(&["link", "add", &ours, "type", "veth", "peer", "name", "vec0", "netns", &theirs])?;
    ip(&["link", "set", &ours, "master", segment.bridge(), "up"])
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

    #[test]
    fn segments_are_known_by_name_and_share_no_address() {
        for segment in Segment::ALL {
            assert_eq!(Segment::from_word(segment.word()).unwrap(), segment);
            let others = Segment::ALL.into_iter().filter(|other| *other != segment);
            for other in others {
                assert_ne!(segment.address(1), other.address(1));
                assert_ne!(segment.address6(1), other.address6(1));
            }
        }
        assert!(Segment::from_word("").is_err());
        assert_eq!(Segment::Near.address6(1), node_address6(1));
    }
}
