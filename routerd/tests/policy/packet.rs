//! Packets that open a flow, and what tells them apart when they arrive. Each carries a number of its own.

use std::net::IpAddr;

use crate::oracle::{Flow, Transport};

/// Begins the payload of our UDP packets.
const MAGIC: [u8; 4] = *b"rtpl";
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
/// The first of the source ports.
const SOURCE_PORTS: u32 = 10_000;

/// What was heard of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The packet with this number has arrived.
    Arrival(u32),
    /// The answer to it has (TCP: no kernel answers the others in a way of its own).
    Answer(u32),
}

/// The IP protocol number.
pub(crate) fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
        Transport::Sctp => 132,
    }
}

/// The IP packet that opens `flow`.
pub(crate) fn opening(flow: &Flow, number: u32) -> Vec<u8> {
    // Together with the rest no flow that the kernel still knows.
    let source = u16::try_from(SOURCE_PORTS + number % 50_000).unwrap();
    let ports = [source.to_be_bytes(), flow.port.to_be_bytes()].concat();
    let mut segment = match flow.transport {
        Transport::Tcp => {
            let mut segment =
                [&ports[..], &number.to_be_bytes(), &[0; 4], &[5 << 4, SYN, 0xff, 0xff]].concat();
            segment.extend([0; 4]);
            segment
        }
        Transport::Udp => {
            [&ports[..], &16_u16.to_be_bytes(), &[0; 2], &MAGIC, &number.to_be_bytes()].concat()
        }
        Transport::Sctp => {
            // INIT: tag, window, streams out and in, first transmission number (RFC 9260 §3.3.2).
            let chunk = [&[1, 0, 0, 20][..], &number.to_be_bytes(), &[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]];
            [&ports[..], &[0; 8], &chunk.concat()].concat()
        }
    };
    seal(flow, &mut segment);
    let mut packet = header(flow.from, flow.to, protocol(flow.transport), segment.len());
    packet.extend(segment);
    packet
}

/// Fills in the checksum.
fn seal(flow: &Flow, segment: &mut [u8]) {
    match flow.transport {
        Transport::Sctp => {
            let sum = crc32c(segment);
            segment[8..12].copy_from_slice(&sum.to_le_bytes());
        }
        transport => {
            let at = if transport == Transport::Tcp { 16 } else { 6 };
            let sum = checksum(flow.from, flow.to, protocol(transport), segment);
            segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// The header of a packet; the kernel fills in the checksum of IPv4.
pub(crate) fn header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (length + 20).to_be_bytes();
            [&[0x45, 0][..], &total, &[0, 0, 0, 0, 64, protocol, 0, 0], &from.octets(), &to.octets()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let head = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, 64]].concat();
            [&head[..], &from.octets(), &to.octets()].concat()
        }
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// The checksum over a segment with its pseudo header (RFC 9293 §3.1, RFC 8200 §8.1).
pub(crate) fn checksum(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = u32::try_from(segment.len()).unwrap();
    let pseudo = [octets(from), octets(to), vec![0, 0, 0, protocol], length.to_be_bytes().to_vec()].concat();
    fold(&[&pseudo, segment])
}

/// The Internet checksum (RFC 1071) of parts, all but the last of an even length.
pub(crate) fn fold(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// The checksum of SCTP (RFC 9260 appendix A), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// What a segment (without the IP header) tells; `None` if it is none of ours.
pub(crate) fn read(transport: Transport, segment: &[u8]) -> Option<Heard> {
    let word = |at: usize| Some(u32::from_be_bytes(segment.get(at..at + 4)?.try_into().ok()?));
    match transport {
        Transport::Tcp => match segment.get(13)? {
            &SYN => Some(Heard::Arrival(word(4)?)),
            flags if flags & RST != 0 => Some(Heard::Answer(word(8)?.wrapping_sub(1))),
            _ => None,
        },
        Transport::Udp => (segment.get(8..12)? == MAGIC).then(|| Some(Heard::Arrival(word(12)?)))?,
        Transport::Sctp => (*segment.get(12)? == 1).then(|| Some(Heard::Arrival(word(16)?)))?,
    }
}

#[test]
fn checksums_are_those_of_the_standards() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    // RFC 1071 §3.
    assert_eq!(fold(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
}
