//! As much of BGP's messages as the two ends of the bench need (RFC 4271 §4): own code, so that no speaker under test is
//! measured by itself, and made before the clock runs.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};

/// The AS of everybody.
pub(super) const ASN: u16 = 64_512;
/// Marker, length and type.
pub(super) const HEADER: usize = 19;
/// The types that are told apart.
pub(super) const OPEN: u8 = 1;
pub(super) const UPDATE: u8 = 2;
pub(super) const NOTIFICATION: u8 = 3;
pub(super) const KEEPALIVE: u8 = 4;

/// Seconds. Routers offer less; keepalives go often enough for all of them.
const HOLD_TIME: u16 = 240;
/// The longest message.
const MOST: usize = 4096;
/// The first prefix; they go on from there, a /24 each.
const FIRST: u32 = 0x2000_0000;

/// What one peer tells: prefixes by their numbers, so many of them with the same attributes.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    /// The first number and the one behind the last.
    pub(super) numbers: std::ops::Range<u32>,
    /// Neighbours in number that share their attributes; no other does.
    pub(super) alike: u32,
}

/// The prefix, a /24, with this number.
pub(super) const fn prefix(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST + (number << 8))
}

/// The number of a prefix that somebody told.
pub(super) fn number(prefix: Ipv4Addr) -> Option<u32> {
    prefix.to_bits().checked_sub(FIRST).map(|bits| bits >> 8)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An OPEN of a router with this identifier: IPv4, four-octet AS numbers, route refresh.
pub(super) fn open(id: Ipv4Addr) -> Vec<u8> {
    let asn = ASN.to_be_bytes();
    let capabilities = [&[1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0][..], &asn].concat();
    let length = u8::try_from(capabilities.len()).unwrap_or(u8::MAX);
    let hold = HOLD_TIME.to_be_bytes();
    let head = [&[4][..], &asn, &hold, &id.octets(), &[length + 2, 2, length]].concat();
    message(OPEN, &[head, capabilities].concat())
}

/// A KEEPALIVE.
pub(super) fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

impl Routes {
    /// All UPDATEs, one behind the other: every set of attributes has as few messages as hold its prefixes.
    pub(super) fn updates(&self, next_hop: Ipv4Addr) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut from = self.numbers.start;
        while from < self.numbers.end {
            let to = self.numbers.end.min(from + self.alike);
            let attributes = attributes(from / self.alike, next_hop);
            let room = (MOST - HEADER - 4 - attributes.len()) / 4;
            let all: Vec<u32> = (from..to).collect();
            for some in all.chunks(room) {
                let length = u16::try_from(attributes.len()).unwrap_or(u16::MAX).to_be_bytes();
                let prefixes = some.iter().flat_map(|number| {
                    let [a, b, c, _] = prefix(*number).octets();
                    [24, a, b, c]
                });
                let body = [&[0, 0][..], &length, &attributes].concat();
                bytes.extend(message(UPDATE, &body.into_iter().chain(prefixes).collect::<Vec<u8>>()));
            }
            from = to;
        }
        bytes
    }
}

/// Attributes as routes of the Internet have them: ORIGIN, an AS_PATH of four, NEXT_HOP, LOCAL_PREF and two communities. The AS
/// numbers make them different for every set.
fn attributes(set: u32, next_hop: Ipv4Addr) -> Vec<u8> {
    let path = [100_000 + set % 997, 200_000 + set / 997, 300_000 + set % 89, 64_600];
    let communities = [(u32::from(ASN) << 16) | (set % 1000), (u32::from(ASN) << 16) | 1];
    let flat = |values: &[u32]| values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>();
    [
        &[0x40, 1, 1, 0, 0x40, 2, 18, 2, 4][..],
        &flat(&path),
        &[0x40, 3, 4],
        &next_hop.octets(),
        &[0x40, 5, 4, 0, 0, 0, 100, 0xc0, 8, 8],
        &flat(&communities),
    ]
    .concat()
}

/// What an UPDATE says of IPv4 prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Addresses of prefixes that are reachable.
    pub(super) announced: Vec<Ipv4Addr>,
    /// Addresses of prefixes that no longer are.
    pub(super) withdrawn: Vec<Ipv4Addr>,
}

impl Told {
    /// Reads the part behind the header. Routers under test tell IPv4 in the classic fields only.
    pub(super) fn read(body: &[u8]) -> Result<Self> {
        let (withdrawn, rest) = field(body)?;
        let (_, announced) = field(rest)?;
        Ok(Self { announced: prefixes(announced)?, withdrawn: prefixes(withdrawn)? })
    }
}

/// A field behind its length, and what follows it.
fn field(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>().context("an UPDATE ends in a length")?;
    rest.split_at_checked(u16::from_be_bytes(*length).into()).context("an UPDATE ends in a field")
}

fn prefixes(mut bytes: &[u8]) -> Result<Vec<Ipv4Addr>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let octets = usize::from(length.div_ceil(8));
        let Some((prefix, rest)) = rest.split_at_checked(octets).filter(|_| octets <= 4) else {
            bail!("an UPDATE has a prefix of {length} bits");
        };
        let mut address = [0; 4];
        address[..octets].copy_from_slice(prefix);
        found.push(address.into());
        bytes = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bodies of the messages in a stream.
    fn bodies(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
            assert!(bytes[18] == UPDATE && length <= MOST);
            all.push(&bytes[HEADER..length]);
            bytes = &bytes[length..];
        }
        all
    }

    #[test]
    fn every_prefix_is_told_once_and_only_neighbours_share_attributes() {
        let next_hop = Ipv4Addr::new(10, 99, 0, 1);
        for (alike, messages) in [(10, 251), (3000, 3)] {
            let updates = Routes { numbers: 500..3000, alike }.updates(next_hop);
            let bodies = bodies(&updates);
            assert_eq!(bodies.len() + usize::from(alike == 10), messages, "{alike} alike");
            let told: Vec<u32> = bodies
                .iter()
                .flat_map(|body| Told::read(body).unwrap().announced)
                .map(|prefix| number(prefix).unwrap())
                .collect();
            assert_eq!(told, (500..3000).collect::<Vec<_>>());
        }
        let sets: std::collections::BTreeSet<_> = (0..100_000).map(|set| attributes(set, next_hop)).collect();
        assert_eq!(sets.len(), 100_000);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let updates = Routes { numbers: 0..4, alike: 4 }.updates(Ipv4Addr::new(10, 99, 0, 1));
        let body = &updates[HEADER..];
        assert_eq!(Told::read(body).unwrap().announced.len(), 4);
        assert!((0..body.len() - 16).all(|end| Told::read(&body[..end]).is_err()));
    }
}
