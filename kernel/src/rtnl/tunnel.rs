//! Tunnels: IPv4 in IPv4 (`ipip`) and IP in IPv6 (`ip6tnl`), bare or in UDP.
//!
//! Sources: `include/uapi/linux/if_tunnel.h`, RFC 2003, RFC 2473; `net/ipv4/ipip.c` and `net/ipv6/ip6_tunnel.c` for what
//! can be changed of a tunnel that is in use.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::IpProtocol;
use netlink_packet_route::link::{
    InfoData, InfoIpTunnel, InfoKind, Ip6TunnelFlags, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
    LinkMessage, TunnelEncapFlags, TunnelEncapType,
};
use prefix::Family;

use super::codec::{bytes, check_name, decode_event, kinds};
use super::{Link, LinkKind, Rtnl};
use crate::error::{KernelError, Result};
use crate::netlink::{Message, Request, flags};

/// Lengths of headers in bytes.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const UDP_HEADER: u32 = 8;
const GUE_HEADER: u32 = 4;
/// The destination option that says how deep tunnels may nest (RFC 2473, section 4.1.1), with its padding.
const LIMIT_OPTION: u32 = 8;
/// `IPPROTO_IPIP`, `IPPROTO_IPV6`, and for `ip6tnl` "whatever is IP".
const IPIP: u8 = 4;
const IPV6: u8 = 41;
const ANY: u8 = 0;

/// What stands between the outer IP header and the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encapsulation {
    /// Nothing.
    Bare,
    /// UDP to this port, with nothing more (Foo over UDP).
    Fou(u16),
    /// UDP to this port, with a header that says what is inside (Generic UDP Encapsulation).
    Gue(u16),
    /// Something else, by number (`TUNNEL_ENCAP_*`).
    Other(u16),
}

impl Encapsulation {
    fn length(self) -> u32 {
        match self {
            Self::Bare | Self::Other(_) => 0,
            Self::Fou(_) => UDP_HEADER,
            Self::Gue(_) => UDP_HEADER + GUE_HEADER,
        }
    }

    /// The UDP port of the other end.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Fou(port) | Self::Gue(port) => Some(port),
            Self::Bare | Self::Other(_) => None,
        }
    }

    fn to_wire(self) -> [InfoIpTunnel; 4] {
        let kind = match self {
            Self::Bare => TunnelEncapType::None,
            Self::Fou(_) => TunnelEncapType::Fou,
            Self::Gue(_) => TunnelEncapType::Gue,
            Self::Other(number) => number.into(),
        };
        [
            InfoIpTunnel::EncapType(kind),
            InfoIpTunnel::EncapFlags(TunnelEncapFlags::empty()),
            // The kernel chooses the source port by the flow inside, so that what shares load can tell flows apart.
            InfoIpTunnel::EncapSPort(0),
            InfoIpTunnel::EncapDPort(self.port().unwrap_or(0)),
        ]
    }

    fn from_wire(kind: TunnelEncapType, port: u16) -> Self {
        match kind {
            TunnelEncapType::None => Self::Bare,
            TunnelEncapType::Fou => Self::Fou(port),
            TunnelEncapType::Gue => Self::Gue(port),
            other => Self::Other(other.into()),
        }
    }
}

/// A tunnel between two addresses of one family: `ipip` for IPv4, which carries IPv4, and `ip6tnl` for IPv6, which
/// carries both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// This end; unspecified for any address of this machine.
    pub local: IpAddr,
    /// The other end.
    pub remote: IpAddr,
    /// Inside of what the packets go.
    pub encapsulation: Encapsulation,
    /// Time to live of the outer packets; 0 is that of the inner one.
    pub ttl: u8,
    /// Outer packets are not fragmented: what is too large is answered. Always so for IPv6.
    pub path_mtu_discovery: bool,
    /// Outer packets have the option that limits nesting. Never so for IPv4.
    pub nesting_limit: bool,
    /// It carries IPv4, and not IPv6 alone. Always so for IPv4.
    pub carries_ipv4: bool,
}

impl Tunnel {
    /// A tunnel with nothing special.
    pub fn new(local: IpAddr, remote: IpAddr, encapsulation: Encapsulation) -> Self {
        Self {
            local,
            remote,
            encapsulation,
            ttl: 64,
            path_mtu_discovery: true,
            nesting_limit: false,
            carries_ipv4: true,
        }
    }

    /// The kind of its device.
    pub fn kind(&self) -> LinkKind {
        match Family::of(self.remote) {
            Family::V4 => LinkKind::IpIp,
            Family::V6 => LinkKind::Ip6Tunnel,
        }
    }

    /// How many bytes it puts in front of a packet.
    pub fn overhead(&self) -> u32 {
        let header = if self.remote.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        let option = if self.nesting_limit { LIMIT_OPTION } else { 0 };
        header + option + self.encapsulation.length()
    }

    fn protocol(&self) -> u8 {
        match (Family::of(self.remote), self.carries_ipv4) {
            // Of a tunnel that is there it cannot be changed, and each value carries IPv4.
            (Family::V4, _) => IPIP,
            (Family::V6, true) => ANY,
            (Family::V6, false) => IPV6,
        }
    }

    fn data(&self) -> InfoData {
        let mut data = vec![
            InfoIpTunnel::Local(self.local),
            InfoIpTunnel::Remote(self.remote),
            InfoIpTunnel::Ttl(self.ttl),
            InfoIpTunnel::Protocol(IpProtocol::from(self.protocol())),
        ];
        data.extend(self.encapsulation.to_wire());
        match Family::of(self.remote) {
            Family::V4 => {
                data.push(InfoIpTunnel::PMtuDisc(self.path_mtu_discovery));
            }
            Family::V6 => {
                let mut flags = Ip6TunnelFlags::empty();
                flags.set(Ip6TunnelFlags::IgnEncapLimit, !self.nesting_limit);
                data.push(InfoIpTunnel::Ipv6Flags(flags));
            }
        }
        InfoData::IpTunnel(data)
    }

    fn from_wire(data: &[InfoIpTunnel]) -> Option<Self> {
        let address = |wanted: fn(&InfoIpTunnel) -> Option<IpAddr>| data.iter().find_map(wanted);
        let local = address(|attribute| match attribute {
            InfoIpTunnel::Local(address) => Some(*address),
            _ => None,
        })?;
        let remote = address(|attribute| match attribute {
            InfoIpTunnel::Remote(address) => Some(*address),
            _ => None,
        })?;
        let mut tunnel = Self::new(local, remote, Encapsulation::Bare);
        let (mut kind, mut port) = (TunnelEncapType::None, 0);
        for attribute in data {
            match attribute {
                InfoIpTunnel::Ttl(ttl) => tunnel.ttl = *ttl,
                InfoIpTunnel::Protocol(protocol) => {
                    tunnel.carries_ipv4 = remote.is_ipv4() || u8::from(*protocol) != IPV6;
                }
                InfoIpTunnel::PMtuDisc(on) => tunnel.path_mtu_discovery = *on,
                InfoIpTunnel::Ipv6Flags(flags) => {
                    tunnel.nesting_limit = !flags.contains(Ip6TunnelFlags::IgnEncapLimit);
                }
                InfoIpTunnel::EncapType(found) => kind = *found,
                InfoIpTunnel::EncapDPort(found) => port = *found,
                _ => {}
            }
        }
        tunnel.encapsulation = Encapsulation::from_wire(kind, port);
        Some(tunnel)
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tunnel {} to {}", self.kind(), self.local, self.remote)?;
        match self.encapsulation {
            Encapsulation::Bare => Ok(()),
            Encapsulation::Fou(port) => write!(f, " in fou to port {port}"),
            Encapsulation::Gue(port) => write!(f, " in gue to port {port}"),
            Encapsulation::Other(number) => write!(f, " in encapsulation {number}"),
        }
    }
}

/// A tunnel's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelLink {
    /// The device.
    pub link: Link,
    /// The tunnel.
    pub tunnel: Tunnel,
}

impl TunnelLink {
    fn read(answer: &Message) -> Option<Self> {
        let message = decode_event(answer, LinkMessage::parse)?;
        let infos = message.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        })?;
        let tunnel = infos.into_iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::IpTunnel(data)) => Tunnel::from_wire(&data),
            _ => None,
        })?;
        Some(Self { link: Link::read(answer)?, tunnel })
    }
}

fn info(tunnel: &Tunnel) -> LinkAttribute {
    let kind = if tunnel.remote.is_ipv4() { InfoKind::IpIp } else { InfoKind::Ip6Tnl };
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(tunnel.data())])
}

impl Rtnl {
    /// The tunnels of both kinds, those that the kernel makes by itself (`tunl0`, `ip6tnl0`) too.
    pub fn tunnels(&mut self) -> Result<Vec<TunnelLink>> {
        let mut found = Vec::new();
        for kind in [InfoKind::IpIp, InfoKind::Ip6Tnl] {
            let mut message = LinkMessage::default();
            let operation = format!("list tunnels of kind {kind}");
            message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind.clone())]));
            message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
            let answers = self.dump(&operation, kinds::GET_LINK, &bytes(&message))?;
            let all = answers.iter().filter_map(TunnelLink::read);
            // A kernel that does not know the kind gives all links.
            found.extend(all.filter(|found| found.link.kind == LinkKind::from(kind.to_string().as_str())));
        }
        Ok(found)
    }

    /// Makes a tunnel's device, up; its number is returned. A device of that name and a tunnel between these addresses are
    /// errors with `is_exists()`, a kernel without the kind one with `is_unsupported()`.
    pub fn create_tunnel(&mut self, name: &str, tunnel: &Tunnel, mtu: u32) -> Result<u32> {
        let operation = format!("create {tunnel} as {name} with MTU {mtu}");
        check_name(&operation, name)?;
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes =
            vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu), info(tunnel)];
        let create = flags::CREATE | flags::EXCLUSIVE;
        self.ask(&Request {
            operation: operation.clone(),
            kind: kinds::NEW_LINK,
            flags: create,
            payload: bytes(&message),
        })?;
        let made = self.link_by_name(name)?;
        made.map(|link| link.index).ok_or_else(|| KernelError::malformed(operation, "it is not there"))
    }

    /// Makes the tunnel of device `index` another one between addresses of the same family, and sets its MTU; it is up
    /// afterwards. Routes by it stay, and packets go by the old or the new tunnel.
    pub fn change_tunnel(&mut self, index: u32, tunnel: &Tunnel, mtu: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::Mtu(mtu), info(tunnel)];
        let operation = format!("make link {index} {tunnel} with MTU {mtu}");
        self.ask(&Request { operation, kind: kinds::NEW_LINK, flags: 0, payload: bytes(&message) }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_is_what_stands_in_front_of_a_packet() {
        let [v4, v6]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        let overhead = |address, encapsulation| Tunnel::new(address, address, encapsulation).overhead();
        assert_eq!(overhead(v4, Encapsulation::Bare), 20);
        assert_eq!(overhead(v4, Encapsulation::Gue(5555)), 32);
        assert_eq!(overhead(v6, Encapsulation::Bare), 40);
        assert_eq!(overhead(v6, Encapsulation::Gue(5555)), 52);
        let limited = Tunnel { nesting_limit: true, ..Tunnel::new(v6, v6, Encapsulation::Bare) };
        assert_eq!(limited.overhead(), 48);
    }
}
