//! Which nodes are reached through a tunnel, and what the tunnel is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::rtnl::{Encapsulation, Tunnel};
use prefix::{Family, Prefix};

/// RFC 8200, section 5: what a link must carry for IPv6; the kernel lets no tunnel in IPv6 have less.
const LEAST_FOR_IPV6: u32 = 1280;
/// RFC 791: the least that every link carries.
const LEAST_FOR_IPV4: u32 = 68;
/// The MTU of an Ethernet, for a node to which there is no way at the moment.
const ETHERNET: u32 = 1500;

/// `--enable-overlay` and `--overlay-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No tunnels.
    Never,
    /// To nodes on none of the subnets of this node's addresses.
    OtherSubnets,
    /// To all nodes.
    Everywhere,
}

/// The flags of the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlay {
    /// To which nodes.
    pub reach: Reach,
    /// `--overlay-encap` and `--overlay-encap-port`.
    pub encapsulation: Encapsulation,
}

impl Overlay {
    /// No tunnels.
    pub const OFF: Self = Self { reach: Reach::Never, encapsulation: Encapsulation::Bare };

    /// The tunnel from `local` to another node, if one is needed. `around` is what this node is attached to.
    pub fn tunnel(&self, local: IpAddr, remote: IpAddr, around: &Around) -> Option<Tunnel> {
        let needed = match self.reach {
            Reach::Never => false,
            Reach::Everywhere => true,
            // An address that is on no device yet says nothing about where this node is.
            Reach::OtherSubnets => {
                around.has(local)
                    && !around.subnets_of(Family::of(remote)).any(|subnet| subnet.contains(remote))
            }
        };
        (needed && local != remote).then(|| Tunnel::new(local, remote, self.encapsulation))
    }
}

/// What a node finds around it in its kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// The node's own addresses that are on a device, and the subnets they are in.
    pub attached: BTreeMap<IpAddr, BTreeSet<Prefix>>,
    /// The largest packet, in bytes, on the way to other nodes.
    pub paths: BTreeMap<IpAddr, u32>,
}

impl Around {
    /// True if the node has the address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.attached.contains_key(&address)
    }

    fn subnets_of(&self, family: Family) -> impl Iterator<Item = &Prefix> {
        self.attached.values().flatten().filter(move |subnet| subnet.family() == family)
    }

    /// What a tunnel can carry, in bytes: what the way to its other end does, less what it puts in front of each packet.
    pub fn mtu(&self, tunnel: &Tunnel) -> u32 {
        let path = self.paths.get(&tunnel.remote).copied().unwrap_or(ETHERNET);
        let least = if tunnel.remote.is_ipv4() { LEAST_FOR_IPV4 } else { LEAST_FOR_IPV6 };
        path.saturating_sub(tunnel.overhead()).max(least)
    }
}
