//! Writing UPDATE messages.

use std::net::{IpAddr, Ipv4Addr};

use prefix::{Family, Prefix};

use super::Context;
use super::attribute::{AS_SEQUENCE, AS_SET, EXTENDED_LENGTH, OPTIONAL, PARTIAL, TRANSITIVE, code};
use super::frame::{HEADER, Kind, MAX_MESSAGE, begin};
use super::open::AS_TRANS;
use super::types::{AsPath, Attributes, Origin, Segment};

/// Octets that a prefix takes at most.
fn prefix_size(family: Family) -> usize {
    1 + usize::from(family.bits() / 8)
}

/// What the UPDATEs of a route have in common, whatever its prefixes: the attributes as they are on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    family: Family,
    attributes: Vec<u8>,
    /// The next hop where MP_REACH_NLRI holds it. Else it is one of the attributes.
    reach: Option<IpAddr>,
}

impl Template {
    /// Of a route of `family`. `None` if the attributes leave no room for a prefix, or the next hop's family needs what the peer
    /// cannot do.
    pub fn new(attributes: &Attributes, next_hop: IpAddr, family: Family, context: Context) -> Option<Self> {
        let (classic, reach) = match (family, next_hop) {
            (Family::V4, IpAddr::V4(next_hop)) => (Some(next_hop), None),
            (Family::V4, IpAddr::V6(_)) if !context.extended_next_hop => return None,
            (Family::V6, IpAddr::V4(_)) => return None,
            _ => (None, Some(next_hop)),
        };
        let template = Self { family, attributes: written(attributes, classic, context), reach };
        (template.room() > 0).then_some(template)
    }

    /// How many prefixes a message has room for.
    fn room(&self) -> usize {
        // Header, two lengths, and the fixed part of MP_REACH_NLRI.
        let left = MAX_MESSAGE.saturating_sub(HEADER + 4 + 32 + self.attributes.len());
        left / prefix_size(self.family)
    }

    /// The messages that announce `prefixes`, which are of its family, and withdraw nothing, one behind the other.
    pub fn write(&self, prefixes: &[Prefix], bytes: &mut Vec<u8>) {
        for chunk in prefixes.chunks(self.room().max(1)) {
            self.message(chunk, bytes);
        }
    }

    fn message(&self, prefixes: &[Prefix], bytes: &mut Vec<u8>) {
        let list = nlri(prefixes);
        match self.reach {
            None => update(bytes, &[], &[&self.attributes], &list),
            // RFC 7606 §5.1: it comes first, so that a reader that stumbles later still has the prefixes.
            Some(next_hop) => {
                update(bytes, &[], &[&reach(self.family, next_hop, &list), &self.attributes], &[]);
            }
        }
    }
}

/// The messages that announce `prefixes` (all of one family) with `attributes` and `next_hop`; `None` as of [`Template::new`].
pub fn encode_update(
    attributes: &Attributes,
    next_hop: IpAddr,
    prefixes: &[Prefix],
    context: Context,
) -> Option<Vec<Vec<u8>>> {
    let Some(family) = prefixes.first().map(Prefix::family) else { return Some(Vec::new()) };
    let template = Template::new(attributes, next_hop, family, context)?;
    Some(
        prefixes.chunks(template.room()).map(|chunk| alone(|bytes| template.message(chunk, bytes))).collect(),
    )
}

/// The messages that withdraw `prefixes`, all of one family.
pub fn encode_withdrawals(prefixes: &[Prefix]) -> Vec<Vec<u8>> {
    let Some(family) = prefixes.first().map(Prefix::family) else { return Vec::new() };
    let count = (MAX_MESSAGE - 19 - 4 - 7) / prefix_size(family);
    let message = |chunk: &[Prefix]| match family {
        Family::V4 => alone(|bytes| update(bytes, &nlri(chunk), &[], &[])),
        Family::V6 => unreach(&nlri(chunk)),
    };
    prefixes.chunks(count).map(message).collect()
}

/// The message that says that all routes of `family` have been sent (RFC 4724 §2).
pub fn end_of_rib(family: Family) -> Vec<u8> {
    match family {
        Family::V4 => alone(|bytes| update(bytes, &[], &[], &[])),
        Family::V6 => unreach(&[]),
    }
}

/// A message of its own.
fn alone(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

/// Its makers see to it that all of it has room in a message.
fn length(octets: usize) -> [u8; 2] {
    u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes()
}

/// Writes an UPDATE of its three parts (RFC 4271 §4.3), the second of which is a list itself.
fn update(bytes: &mut Vec<u8>, withdrawn: &[u8], attributes: &[&[u8]], announced: &[u8]) {
    let size = attributes.iter().map(|part| part.len()).sum();
    begin(bytes, Kind::Update, withdrawn.len() + size + announced.len() + 4);
    bytes.extend(length(withdrawn.len()));
    bytes.extend(withdrawn);
    bytes.extend(length(size));
    for part in attributes {
        bytes.extend(*part);
    }
    bytes.extend(announced);
}

/// Prefixes: their lengths in bits, and as many octets as hold them.
fn nlri(prefixes: &[Prefix]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(prefixes.len() * 5);
    for prefix in prefixes {
        let octets = usize::from(prefix.length().div_ceil(8));
        bytes.push(prefix.length());
        match prefix.address() {
            IpAddr::V4(address) => bytes.extend(address.octets().iter().take(octets)),
            IpAddr::V6(address) => bytes.extend(address.octets().iter().take(octets)),
        }
    }
    bytes
}

/// AFI and SAFI of unicast (RFC 4760).
fn family_code(family: Family) -> [u8; 3] {
    match family {
        Family::V4 => [0, 1, 1],
        Family::V6 => [0, 2, 1],
    }
}

/// MP_REACH_NLRI (RFC 4760 §3).
fn reach(family: Family, next_hop: IpAddr, list: &[u8]) -> Vec<u8> {
    let hop = match next_hop {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let size = u8::try_from(hop.len()).unwrap_or(u8::MAX);
    optional(code::MP_REACH, &[&family_code(family)[..], &[size], &hop, &[0], list].concat())
}

/// A message with MP_UNREACH_NLRI alone (RFC 4760 §4).
fn unreach(list: &[u8]) -> Vec<u8> {
    let value = [&family_code(Family::V6)[..], list].concat();
    alone(|bytes| update(bytes, &[], &[&optional(code::MP_UNREACH, &value)], &[]))
}

/// An optional attribute that is not passed on.
fn optional(code: u8, value: &[u8]) -> Vec<u8> {
    [&[OPTIONAL | EXTENDED_LENGTH, code][..], &length(value.len()), value].concat()
}

/// One attribute. A value of more than 255 octets has a longer length.
fn put(bytes: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    if let Ok(length) = u8::try_from(value.len()) {
        bytes.extend([flags, code, length]);
    } else {
        bytes.extend([flags | EXTENDED_LENGTH, code]);
        bytes.extend(length(value.len()));
    }
    bytes.extend(value);
}

/// A list of values, unless there are none.
fn put_list<T: Copy, const N: usize>(
    bytes: &mut Vec<u8>,
    (flags, code): (u8, u8),
    list: &[T],
    octets: impl Fn(T) -> [u8; N],
) {
    if !list.is_empty() {
        put(bytes, flags, code, &list.iter().flat_map(|one| octets(*one)).collect::<Vec<u8>>());
    }
}

/// Attributes as they are on the wire, in the order of their codes.
fn written(attributes: &Attributes, next_hop: Option<Ipv4Addr>, context: Context) -> Vec<u8> {
    const PASSED_ON: u8 = OPTIONAL | TRANSITIVE;
    let origin = match attributes.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    let mut bytes = Vec::with_capacity(128);
    put(&mut bytes, TRANSITIVE, code::ORIGIN, &[origin]);
    put(&mut bytes, TRANSITIVE, code::AS_PATH, &as_path(&attributes.as_path, context.four_octet_as));
    if let Some(next_hop) = next_hop {
        put(&mut bytes, TRANSITIVE, code::NEXT_HOP, &next_hop.octets());
    }
    if let Some(med) = attributes.med {
        put(&mut bytes, OPTIONAL, code::MED, &med.to_be_bytes());
    }
    if let Some(local_pref) = attributes.local_pref {
        put(&mut bytes, TRANSITIVE, code::LOCAL_PREF, &local_pref.to_be_bytes());
    }
    if attributes.atomic_aggregate {
        put(&mut bytes, TRANSITIVE, code::ATOMIC_AGGREGATE, &[]);
    }
    put_list(&mut bytes, (PASSED_ON, code::COMMUNITIES), &attributes.communities, u32::to_be_bytes);
    if let Some(id) = attributes.originator_id {
        put(&mut bytes, OPTIONAL, code::ORIGINATOR_ID, &id.octets());
    }
    put_list(&mut bytes, (OPTIONAL, code::CLUSTER_LIST), &attributes.cluster_list, |id| id.octets());
    put_list(&mut bytes, (PASSED_ON, code::EXTENDED_COMMUNITIES), &attributes.extended_communities, |one| {
        one
    });
    if needs_as4_path(&attributes.as_path, context) {
        put(&mut bytes, PASSED_ON, code::AS4_PATH, &as_path(&attributes.as_path, true));
    }
    let parts: Vec<u32> = attributes.large_communities.iter().flat_map(|(a, b, c)| [*a, *b, *c]).collect();
    put_list(&mut bytes, (PASSED_ON, code::LARGE_COMMUNITIES), &parts, u32::to_be_bytes);
    for raw in &attributes.others {
        let partial = if raw.partial { PARTIAL } else { 0 };
        put(&mut bytes, PASSED_ON | partial, raw.code, &raw.value);
    }
    bytes
}

fn needs_as4_path(path: &AsPath, context: Context) -> bool {
    let wide = |asn: &u32| u16::try_from(*asn).is_err();
    !context.four_octet_as && path.0.iter().flat_map(Segment::asns).any(wide)
}

/// An AS_PATH of two or four octets a number. A number that needs four stands as AS_TRANS where there are two (RFC 6793).
fn as_path(path: &AsPath, four_octets: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in &path.0 {
        let kind = match segment {
            Segment::Sequence(_) => AS_SEQUENCE,
            Segment::Set(_) => AS_SET,
        };
        // Their number is one octet.
        for asns in segment.asns().chunks(u8::MAX.into()) {
            bytes.extend([kind, u8::try_from(asns.len()).unwrap_or(u8::MAX)]);
            for asn in asns {
                if four_octets {
                    bytes.extend(asn.to_be_bytes());
                } else {
                    bytes.extend(u16::try_from(*asn).unwrap_or(AS_TRANS).to_be_bytes());
                }
            }
        }
    }
    bytes
}

/// True if `address` can be a next hop at all.
pub fn is_valid_next_hop(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_unspecified()
                && !address.is_broadcast()
                && !address.is_multicast()
                && !address.is_loopback()
        }
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast() && !address.is_loopback(),
    }
}
