//! Writing UPDATE messages.

use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::community::{Community, LargeCommunity};
use netgauze_bgp_pkt::nlri::{Ipv4Unicast, Ipv4UnicastAddress, Ipv6Unicast, Ipv6UnicastAddress};
use netgauze_bgp_pkt::path_attribute::{
    As2PathSegment, As4Path, As4PathSegment, AsPath as CodecPath, AsPathSegmentType, AtomicAggregate,
    ClusterId, ClusterList, Communities, LargeCommunities, LocalPreference, MpReach, MpUnreach,
    MultiExitDiscriminator, NextHop, Origin as CodecOrigin, Originator, PathAttribute, PathAttributeValue,
    UnknownAttribute,
};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_parse_utils::WritablePdu;
use prefix::{Family, Prefix};

use super::Context;
use super::attribute::code;
use super::frame::MAX_MESSAGE;
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
    let fixed = attribute_list(attributes, context)?;
    let classic = match (family, next_hop) {
        (Family::V4, IpAddr::V4(next_hop)) => Some(next_hop),
        (Family::V4, IpAddr::V6(_)) if !context.extended_next_hop => return None,
        (Family::V6, IpAddr::V4(_)) => return None,
        _ => None,
    };
    let used: usize = fixed.iter().map(PathAttribute::len).sum();
    // Header, two lengths, and the larger of NEXT_HOP and the fixed part of MP_REACH_NLRI.
    let room = MAX_MESSAGE.checked_sub(19 + 4 + 32 + used)?;
    let count = room / prefix_size(family);
    if count == 0 {
        return None;
    }
    prefixes
        .chunks(count)
        .map(|chunk| {
            let mut list = fixed.clone();
            let mut trailing = Vec::new();
            match classic {
                Some(next_hop) => {
                    let value = PathAttributeValue::NextHop(NextHop::new(next_hop));
                    list.push(attribute(value, false, true)?);
                    trailing = chunk.iter().filter_map(ipv4).collect();
                }
                // RFC 7606 §5.1: it comes first, so that a reader that stumbles later still has the prefixes.
                None => list.insert(0, attribute(reach(chunk, next_hop)?, true, false)?),
            }
            message(BgpUpdateMessage::new(Vec::new(), list, trailing))
        })
        .collect()
}

/// The messages that withdraw `prefixes`, all of one family.
pub fn encode_withdrawals(prefixes: &[Prefix]) -> Vec<Vec<u8>> {
    let Some(family) = prefixes.first().map(Prefix::family) else { return Vec::new() };
    let count = (MAX_MESSAGE - 19 - 4 - 7) / prefix_size(family);
    prefixes
        .chunks(count)
        .filter_map(|chunk| match family {
            Family::V4 => {
                let withdrawn: Vec<_> = chunk.iter().filter_map(ipv4).collect();
                message(BgpUpdateMessage::new(withdrawn, Vec::new(), Vec::new()))
            }
            Family::V6 => unreach(chunk),
        })
        .collect()
}

/// The message that says that all routes of `family` have been sent (RFC 4724 §2).
pub fn end_of_rib(family: Family) -> Option<Vec<u8>> {
    match family {
        Family::V4 => message(BgpUpdateMessage::new(Vec::new(), Vec::new(), Vec::new())),
        Family::V6 => unreach(&[]),
    }
}

fn unreach(prefixes: &[Prefix]) -> Option<Vec<u8>> {
    let nlri = prefixes.iter().filter_map(ipv6).collect();
    let value = PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri });
    message(BgpUpdateMessage::new(Vec::new(), vec![attribute(value, true, false)?], Vec::new()))
}

fn message(update: BgpUpdateMessage) -> Option<Vec<u8>> {
    let message = BgpMessage::Update(update);
    let mut bytes = Vec::with_capacity(message.len());
    match message.write(&mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) => {
            tracing::error!(%error, "cannot write an UPDATE");
            None
        }
    }
}

fn ipv4(prefix: &Prefix) -> Option<Ipv4UnicastAddress> {
    let IpAddr::V4(address) = prefix.address() else { return None };
    let net = Ipv4Net::new(address, prefix.length()).ok()?;
    Some(Ipv4UnicastAddress::new_no_path_id(Ipv4Unicast::from_net(net).ok()?))
}

fn ipv6(prefix: &Prefix) -> Option<Ipv6UnicastAddress> {
    let IpAddr::V6(address) = prefix.address() else { return None };
    let net = Ipv6Net::new(address, prefix.length()).ok()?;
    Some(Ipv6UnicastAddress::new(None, Ipv6Unicast::from_net(net).ok()?))
}

fn reach(prefixes: &[Prefix], next_hop: IpAddr) -> Option<PathAttributeValue> {
    let family = prefixes.first()?.family();
    Some(PathAttributeValue::MpReach(match (family, next_hop) {
        (Family::V6, IpAddr::V6(next_hop_global)) => MpReach::Ipv6Unicast {
            next_hop_global,
            next_hop_local: None,
            nlri: prefixes.iter().filter_map(ipv6).collect(),
        },
        (Family::V4, next_hop) => MpReach::Ipv4Unicast {
            next_hop,
            next_hop_local: None,
            nlri: prefixes.iter().filter_map(ipv4).collect(),
        },
        (Family::V6, IpAddr::V4(_)) => return None,
    }))
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
