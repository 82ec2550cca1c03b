//! Writing UPDATE messages.

use std::net::IpAddr;

use netgauze_bgp_pkt::community::{Community, LargeCommunity};
use netgauze_bgp_pkt::path_attribute::{
    As2PathSegment, As4Path, As4PathSegment, AsPath as CodecPath, AsPathSegmentType, AtomicAggregate,
    ClusterId, ClusterList, Communities, LargeCommunities, LocalPreference, MultiExitDiscriminator,
    Origin as CodecOrigin, Originator, PathAttribute, PathAttributeValue, UnknownAttribute,
};
use netgauze_parse_utils::WritablePdu;
use prefix::{Family, Prefix};

use super::Context;
use super::attribute::{EXTENDED_LENGTH, OPTIONAL, TRANSITIVE, code};
use super::frame::{HEADER, Kind, MAX_MESSAGE, framed};
use super::open::AS_TRANS;
use super::types::{AsPath, Attributes, Origin, Segment};

/// Octets that a prefix takes at most.
fn prefix_size(family: Family) -> usize {
    1 + usize::from(family.bits() / 8)
}

/// The messages that announce `prefixes` (all of one family) with `attributes` and `next_hop`, and withdraw nothing.
/// `None` if the attributes leave no room for a prefix, or the next hop's family needs what the peer cannot do.
pub fn encode_update(
    attributes: &Attributes,
    next_hop: IpAddr,
    prefixes: &[Prefix],
    context: Context,
) -> Option<Vec<Vec<u8>>> {
    let Some(family) = prefixes.first().map(Prefix::family) else { return Some(Vec::new()) };
    let classic = match (family, next_hop) {
        (Family::V4, IpAddr::V4(next_hop)) => Some(next_hop),
        (Family::V4, IpAddr::V6(_)) if !context.extended_next_hop => return None,
        (Family::V6, IpAddr::V4(_)) => return None,
        _ => None,
    };
    let fixed = written(&attribute_list(attributes, context)?)?;
    // Header, two lengths, and the larger of NEXT_HOP and the fixed part of MP_REACH_NLRI.
    let room = MAX_MESSAGE.checked_sub(HEADER + 4 + 32 + fixed.len())?;
    let count = room / prefix_size(family);
    if count == 0 {
        return None;
    }
    let message = |chunk: &[Prefix]| {
        let list = nlri(chunk);
        match classic {
            Some(next_hop) => {
                let next_hop = [&[TRANSITIVE, code::NEXT_HOP, 4][..], &next_hop.octets()].concat();
                update(&[], &[&fixed, &next_hop], &list)
            }
            // RFC 7606 §5.1: it comes first, so that a reader that stumbles later still has the prefixes.
            None => update(&[], &[&reach(family, next_hop, &list), &fixed], &[]),
        }
    };
    Some(prefixes.chunks(count).map(message).collect())
}

/// The messages that withdraw `prefixes`, all of one family.
pub fn encode_withdrawals(prefixes: &[Prefix]) -> Vec<Vec<u8>> {
    let Some(family) = prefixes.first().map(Prefix::family) else { return Vec::new() };
    let count = (MAX_MESSAGE - 19 - 4 - 7) / prefix_size(family);
    let message = |chunk: &[Prefix]| match family {
        Family::V4 => update(&nlri(chunk), &[], &[]),
        Family::V6 => unreach(&nlri(chunk)),
    };
    prefixes.chunks(count).map(message).collect()
}

/// The message that says that all routes of `family` have been sent (RFC 4724 §2).
pub fn end_of_rib(family: Family) -> Vec<u8> {
    match family {
        Family::V4 => update(&[], &[], &[]),
        Family::V6 => unreach(&[]),
    }
}

/// Its makers see to it that all of it has room in a message.
fn length(octets: usize) -> [u8; 2] {
    u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes()
}

/// An UPDATE of its three parts (RFC 4271 §4.3), the second of which is a list itself.
fn update(withdrawn: &[u8], attributes: &[&[u8]], announced: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let parts = [&length(withdrawn.len())[..], withdrawn, &length(attributes.len()), &attributes, announced];
    framed(Kind::Update, &parts.concat())
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
    update(&[], &[&optional(code::MP_UNREACH, &[&family_code(Family::V6)[..], list].concat())], &[])
}

/// An optional attribute that is not passed on.
fn optional(code: u8, value: &[u8]) -> Vec<u8> {
    [&[OPTIONAL | EXTENDED_LENGTH, code][..], &length(value.len()), value].concat()
}

/// Attributes as they are on the wire.
fn written(attributes: &[PathAttribute]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for attribute in attributes {
        if let Err(error) = attribute.write(&mut bytes) {
            tracing::error!(%error, "cannot write an attribute");
            return None;
        }
    }
    Some(bytes)
}

fn attribute(value: PathAttributeValue, optional: bool, transitive: bool) -> Option<PathAttribute> {
    flagged(value, optional, transitive, false)
}

fn flagged(
    value: PathAttributeValue,
    optional: bool,
    transitive: bool,
    partial: bool,
) -> Option<PathAttribute> {
    // The length of a value needs a second octet from 256 on; the codec counts the header in.
    let short = PathAttribute::from(optional, transitive, partial, false, value).ok()?;
    if short.len() <= 3 + 255 {
        return Some(short);
    }
    PathAttribute::from(optional, transitive, partial, true, short.value().clone()).ok()
}

/// All attributes but the next hop, in the order of their codes.
fn attribute_list(attributes: &Attributes, context: Context) -> Option<Vec<PathAttribute>> {
    let origin = match attributes.origin {
        Origin::Igp => CodecOrigin::IGP,
        Origin::Egp => CodecOrigin::EGP,
        Origin::Incomplete => CodecOrigin::Incomplete,
    };
    let mut list = vec![
        attribute(PathAttributeValue::Origin(origin), false, true)?,
        attribute(PathAttributeValue::AsPath(codec_path(&attributes.as_path, context)), false, true)?,
    ];
    if let Some(med) = attributes.med {
        let value = PathAttributeValue::MultiExitDiscriminator(MultiExitDiscriminator::new(med));
        list.push(attribute(value, true, false)?);
    }
    if let Some(local_pref) = attributes.local_pref {
        let value = PathAttributeValue::LocalPreference(LocalPreference::new(local_pref));
        list.push(attribute(value, false, true)?);
    }
    if attributes.atomic_aggregate {
        list.push(attribute(PathAttributeValue::AtomicAggregate(AtomicAggregate), false, true)?);
    }
    if !attributes.communities.is_empty() {
        let all: Vec<_> = attributes.communities.iter().copied().map(Community::new).collect();
        list.push(attribute(PathAttributeValue::Communities(Communities::new(all)), true, true)?);
    }
    if let Some(id) = attributes.originator_id {
        list.push(attribute(PathAttributeValue::Originator(Originator::new(id)), true, false)?);
    }
    if !attributes.cluster_list.is_empty() {
        let all: Vec<_> = attributes.cluster_list.iter().copied().map(ClusterId::new).collect();
        list.push(attribute(PathAttributeValue::ClusterList(ClusterList::new(all)), true, false)?);
    }
    if !attributes.extended_communities.is_empty() {
        let value = attributes.extended_communities.concat();
        let value = UnknownAttribute::new(code::EXTENDED_COMMUNITIES, value);
        list.push(attribute(PathAttributeValue::UnknownAttribute(value), true, true)?);
    }
    if needs_as4_path(&attributes.as_path, context) {
        let segments = as4_segments(&attributes.as_path);
        list.push(attribute(PathAttributeValue::As4Path(As4Path::new(segments)), true, true)?);
    }
    if !attributes.large_communities.is_empty() {
        let all: Vec<_> =
            attributes.large_communities.iter().map(|(a, b, c)| LargeCommunity::new(*a, *b, *c)).collect();
        list.push(attribute(PathAttributeValue::LargeCommunities(LargeCommunities::new(all)), true, true)?);
    }
    for raw in &attributes.others {
        let value = UnknownAttribute::new(raw.code, raw.value.clone());
        list.push(flagged(PathAttributeValue::UnknownAttribute(value), true, true, raw.partial)?);
    }
    Some(list)
}

fn needs_as4_path(path: &AsPath, context: Context) -> bool {
    let wide = |asn: &u32| u16::try_from(*asn).is_err();
    !context.four_octet_as && path.0.iter().flat_map(Segment::asns).any(wide)
}

fn kind(segment: &Segment) -> AsPathSegmentType {
    match segment {
        Segment::Sequence(_) => AsPathSegmentType::AsSequence,
        Segment::Set(_) => AsPathSegmentType::AsSet,
    }
}

fn as4_segments(path: &AsPath) -> Vec<As4PathSegment> {
    path.0.iter().map(|segment| As4PathSegment::new(kind(segment), segment.asns())).collect()
}

fn codec_path(path: &AsPath, context: Context) -> CodecPath {
    if context.four_octet_as {
        return CodecPath::as4_path_segments(as4_segments(path));
    }
    let narrow = |asn: &u32| u16::try_from(*asn).unwrap_or(AS_TRANS);
    let segments: Vec<_> = path
        .0
        .iter()
        .map(|segment| {
            As2PathSegment::new(kind(segment), segment.asns().iter().map(narrow).collect::<Vec<_>>())
        })
        .collect();
    CodecPath::as2_path_segments(segments)
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
