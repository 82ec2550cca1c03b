//! Who sends what to whom, from the first bytes of a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// More extension headers than any sane packet has.
const MOST_EXTENSIONS: usize = 16;

/// Addresses and protocol of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// The number of the transport protocol.
    pub protocol: u8,
    /// What the beginning of the transport header says; `None` if it is cut off, in another fragment or has no ports.
    pub transport: Option<Transport>,
}

/// The beginning of a transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Of a protocol with ports.
    Ports {
        /// Where it comes from.
        source: u16,
        /// Where it goes.
        destination: u16,
    },
    /// Of ICMP and ICMPv6.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
}

impl Flow {
    /// Reads a packet from its IP header on (RFC 791, RFC 8200); `None` if it is no whole IP header.
    pub fn read(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => read4(packet),
            6 => read6(packet),
            _ => None,
        }
    }

    fn new(source: IpAddr, destination: IpAddr, protocol: u8, header: Option<&[u8]>) -> Self {
        let transport = header.and_then(|header| read_transport(protocol, header));
        Self { source, destination, protocol, transport }
    }
}

fn bytes<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn read4(packet: &[u8]) -> Option<Flow> {
    let source = Ipv4Addr::from(bytes::<4>(packet, 12)?);
    let destination = Ipv4Addr::from(bytes::<4>(packet, 16)?);
    let header_length = usize::from(packet[0] & 0x0f) * 4;
    let offset = u16::from_be_bytes(bytes(packet, 6)?) & 0x1fff;
    let header = (offset == 0 && header_length >= 20).then(|| packet.get(header_length..)).flatten();
    Some(Flow::new(source.into(), destination.into(), packet[9], header))
}

fn read6(packet: &[u8]) -> Option<Flow> {
    let source = Ipv6Addr::from(bytes::<16>(packet, 8)?);
    let destination = Ipv6Addr::from(bytes::<16>(packet, 24)?);
    let (protocol, header) = behind_extensions(packet);
    Some(Flow::new(source.into(), destination.into(), protocol, header))
}

/// The transport protocol and its header, or the last extension that can be read and no header.
fn behind_extensions(packet: &[u8]) -> (u8, Option<&[u8]>) {
    let (mut kind, mut at) = (packet[6], 40);
    for _ in 0..MOST_EXTENSIONS {
        // The length of most is in units of 8 bytes without the first, of AH (51) in units of 4 without the first two.
        let length = match (kind, bytes::<2>(packet, at)) {
            (0 | 43 | 60 | 135, Some([_, length])) => 8 + usize::from(length) * 8,
            (51, Some([_, length])) => 8 + usize::from(length) * 4,
            (44, Some(_)) => 8,
            (0 | 43 | 44 | 51 | 60 | 135, None) => return (kind, None),
            _ => return (kind, packet.get(at..)),
        };
        let is_later_fragment =
            kind == 44 && bytes(packet, at + 2).is_some_and(|o| u16::from_be_bytes(o) & !7 != 0);
        kind = packet[at];
        if is_later_fragment {
            return (kind, None);
        }
        at += length;
    }
    (kind, None)
}

fn read_transport(protocol: u8, header: &[u8]) -> Option<Transport> {
    match protocol {
        TCP | UDP | DCCP | SCTP | UDP_LITE => Some(Transport::Ports {
            source: u16::from_be_bytes(bytes(header, 0)?),
            destination: u16::from_be_bytes(bytes(header, 2)?),
        }),
        ICMP | ICMP6 => {
            let [kind, code] = bytes(header, 0)?;
            Some(Transport::Icmp { kind, code })
        }
        _ => None,
    }
}
