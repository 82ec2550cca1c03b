//! ICMP messages by hand: errors about flows that exist or do not, pings, and who hears them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use kernel::testing::TestNs;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, socket};

use crate::packet::{checksum, fold, header};

/// IP protocol numbers.
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// Messages, with their types in IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    TooBig,
    Unreachable,
    TimeExceeded,
    Echo,
    /// A neighbour solicitation: only IPv6 has it.
    Solicitation,
}

impl Kind {
    /// Type and code.
    fn number(self, is_four: bool) -> [u8; 2] {
        match (self, is_four) {
            (Kind::TooBig, true) => [3, 4],
            (Kind::Unreachable, true) => [3, 1],
            (Kind::TimeExceeded, true) => [11, 0],
            (Kind::Echo, true) => [8, 0],
            (Kind::TooBig, false) => [2, 0],
            (Kind::Unreachable, false) => [1, 0],
            (Kind::TimeExceeded, false) => [3, 0],
            (Kind::Echo, false) => [128, 0],
            (Kind::Solicitation, _) => [135, 0],
        }
    }
}

/// Source, destination and bytes of a packet.
pub(crate) type Packet = (IpAddr, IpAddr, Vec<u8>);

/// A router's error about a packet, to whoever sent it.
pub(crate) fn error_about(kind: Kind, router: IpAddr, about: &[u8]) -> Packet {
    let to = sender(about);
    // What is unused in other errors: the MTU of the next link (RFC 1191 §4, RFC 4443 §3.2).
    let mtu = if kind == Kind::TooBig { 1280_u32 } else { 0 };
    let quoted = about.to_vec();
    message(kind, router, to, &[&mtu.to_be_bytes()[..], &quoted].concat())
}

/// A ping.
pub(crate) fn echo(from: IpAddr, to: IpAddr) -> Packet {
    message(Kind::Echo, from, to, b"\x12\x34\x00\x01policy")
}

/// A neighbour solicitation for `to`, or something that looks like it: a real one has a hop limit of 255 (RFC 4861 §7.1.1).
pub(crate) fn solicitation(from: IpAddr, to: IpAddr, hop_limit: u8) -> Packet {
    let IpAddr::V6(target) = to else { panic!("{to} has no neighbours of this kind") };
    let (from, to, mut packet) =
        message(Kind::Solicitation, from, to, &[&[0; 4][..], &target.octets()].concat());
    packet[7] = hop_limit;
    (from, to, packet)
}

fn message(kind: Kind, from: IpAddr, to: IpAddr, rest: &[u8]) -> Packet {
    let mut body = [&kind.number(from.is_ipv4())[..], &[0, 0], rest].concat();
    let (protocol, sum) =
        if from.is_ipv4() { (ICMP, fold(&[&body])) } else { (ICMP6, checksum(from, to, ICMP6, &body)) };
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = header(from, to, protocol, body.len());
    packet.extend(body);
    (from, to, packet)
}

/// The source of an IP packet.
fn sender(packet: &[u8]) -> IpAddr {
    if packet[0] >> 4 == 4 {
        IpAddr::from(<[u8; 4]>::try_from(&packet[12..16]).unwrap())
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&packet[8..24]).unwrap())
    }
}

/// Hears all ICMP of a family that comes to a namespace.
pub(crate) struct Ear {
    socket: OwnedFd,
    is_four: bool,
}

impl Ear {
    pub(crate) fn new(namespace: &TestNs, is_four: bool) -> Self {
        let (family, protocol) = if is_four {
            (AddressFamily::Inet, SockProtocol::Icmp)
        } else {
            (AddressFamily::Inet6, SockProtocol::IcmpV6)
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = namespace.run_in(|| socket(family, SockType::Raw, flags, protocol).unwrap());
        Self { socket, is_four }
    }

    /// The senders of the messages of a kind that have come since the last time, in order.
    pub(crate) fn heard(&self, kind: Kind) -> Vec<IpAddr> {
        let (mut senders, mut buffer) = (Vec::new(), [0; 2048]);
        loop {
            match recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((length, from)) => {
                    let at = if self.is_four { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
                    if buffer.get(at..length.min(at + 2)) == Some(&kind.number(self.is_four)) {
                        senders.extend(from.and_then(|from| address(&from)));
                    }
                }
                Err(Errno::EAGAIN) => return senders,
                Err(error) => panic!("listening: {error}"),
            }
        }
    }
}

fn address(from: &SockaddrStorage) -> Option<IpAddr> {
    let four = from.as_sockaddr_in().map(|from| SocketAddr::from(std::net::SocketAddrV4::from(*from)));
    let six = || from.as_sockaddr_in6().map(|from| SocketAddr::from(std::net::SocketAddrV6::from(*from)));
    four.or_else(six).map(|from| from.ip())
}
