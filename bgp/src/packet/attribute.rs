//! One path attribute at a time: its frame, and what a mistake in it means (RFC 7606).

use std::collections::HashMap;

use netgauze_bgp_pkt::community::Community;
use netgauze_bgp_pkt::path_attribute::{
    AsPath as CodecPath, AsPathSegmentType, ClusterId, PathAttribute, PathAttributeValue,
};
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;

use super::Context;
use super::reader::{Reader, Short};
use super::types::{AsPath, Attributes, Origin, RawAttribute, Segment};

/// Type codes of attributes.
pub(super) mod code {
    pub(in super::super) const NEXT_HOP: u8 = 3;
    pub(in super::super) const LOCAL_PREF: u8 = 5;
    pub(in super::super) const ATOMIC_AGGREGATE: u8 = 6;
    pub(in super::super) const AGGREGATOR: u8 = 7;
    pub(in super::super) const ORIGINATOR_ID: u8 = 9;
    pub(in super::super) const CLUSTER_LIST: u8 = 10;
    pub(in super::super) const MP_REACH: u8 = 14;
    pub(in super::super) const MP_UNREACH: u8 = 15;
    pub(in super::super) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(in super::super) const AS4_PATH: u8 = 17;
    pub(in super::super) const AS4_AGGREGATOR: u8 = 18;
}

pub(super) const OPTIONAL: u8 = 0x80;
pub(super) const TRANSITIVE: u8 = 0x40;
const PARTIAL: u8 = 0x20;
pub(super) const EXTENDED_LENGTH: u8 = 0x10;

/// One attribute as it was on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Cuts the next attribute off.
    pub(super) fn next(reader: &mut Reader<'a>) -> Result<Self, Short> {
        let start = reader.rest();
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let extended = flags & EXTENDED_LENGTH != 0;
        let length = if extended { reader.u16()? } else { u16::from(reader.u8()?) };
        let value = reader.take(usize::from(length))?;
        let whole = start.get(..start.len() - reader.rest().len()).ok_or(Short)?;
        Ok(Self { flags, code, value, whole })
    }
}

/// What an attribute that cannot be taken means for its UPDATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its routes count as withdrawn.
    Withdraw(String),
    /// It counts as not there.
    Discard(String),
}

/// The attributes read so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) attributes: Attributes,
    pub(super) has_origin: bool,
    pub(super) has_as_path: bool,
    pub(super) next_hop: Option<std::net::Ipv4Addr>,
    as4_path: Option<AsPath>,
}

impl Collected {
    /// Takes in one attribute, not a multiprotocol one.
    pub(super) fn read(&mut self, raw: Raw<'_>, context: Context) -> Result<(), Fault> {
        match raw.code {
            // Outside of an AS these have no meaning, whatever they hold.
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST if !context.internal => Ok(()),
            code::ATOMIC_AGGREGATE => {
                self.attributes.atomic_aggregate = raw.value.is_empty();
                if raw.value.is_empty() { Ok(()) } else { Err(discard(raw, "it is not empty")) }
            }
            code::AGGREGATOR => self.aggregator(raw, context),
            code::EXTENDED_COMMUNITIES if !raw.value.len().is_multiple_of(8) || raw.value.is_empty() => {
                Err(withdraw(raw, "its length is no multiple of 8"))
            }
            code::EXTENDED_COMMUNITIES if raw.flags & (OPTIONAL | TRANSITIVE) != OPTIONAL | TRANSITIVE => {
                Err(withdraw(raw, "its flags are wrong"))
            }
            code::EXTENDED_COMMUNITIES => {
                self.attributes.extended_communities = raw.value.as_chunks::<8>().0.to_vec();
                Ok(())
            }
            // Both are only for speakers that do not know four-octet AS numbers (RFC 6793 §4.1).
            code::AS4_PATH | code::AS4_AGGREGATOR if context.four_octet_as => Ok(()),
            code::AS4_AGGREGATOR => Ok(()),
            1..=5 | 8..=10 | code::AS4_PATH | 32 => self.typed(raw, context),
            _ => self.unknown(raw),
        }
    }

    fn aggregator(&mut self, raw: Raw<'_>, context: Context) -> Result<(), Fault> {
        let expected = if context.four_octet_as { 8 } else { 6 };
        if raw.value.len() != expected {
            return Err(discard(raw, "its length is wrong"));
        }
        // Passing the short form on would need AS4_AGGREGATOR; the attribute informs and nothing depends on it.
        if context.four_octet_as {
            self.keep(raw, raw.flags & PARTIAL != 0);
        }
        Ok(())
    }

    fn keep(&mut self, raw: Raw<'_>, partial: bool) {
        let value = raw.value.to_vec();
        self.attributes.others.push(RawAttribute { code: raw.code, partial, value });
    }

    fn unknown(&mut self, raw: Raw<'_>) -> Result<(), Fault> {
        match (raw.flags & OPTIONAL != 0, raw.flags & TRANSITIVE != 0) {
            (false, _) => Err(withdraw(raw, "it is well-known and unknown to us")),
            (true, true) => {
                self.keep(raw, true);
                Ok(())
            }
            (true, false) => Ok(()),
        }
    }

    fn typed(&mut self, raw: Raw<'_>, context: Context) -> Result<(), Fault> {
        let attribute = parse(raw, context.four_octet_as)?;
        let attributes = &mut self.attributes;
        match attribute.value() {
            PathAttributeValue::Origin(origin) => {
                self.has_origin = true;
                attributes.origin = match u8::from(*origin) {
                    0 => Origin::Igp,
                    1 => Origin::Egp,
                    _ => Origin::Incomplete,
                };
            }
            PathAttributeValue::AsPath(path) => {
                self.has_as_path = true;
                attributes.as_path = as_path(path);
                if attributes.as_path.contains(0) {
                    return Err(withdraw(raw, "AS 0 does not exist (RFC 7607)"));
                }
            }
            PathAttributeValue::As4Path(path) => {
                let path = as_path(&CodecPath::as4_path_segments(path.segments()));
                if path.contains(0) {
                    return Err(discard(raw, "AS 0 does not exist (RFC 7607)"));
                }
                self.as4_path = Some(path);
            }
            PathAttributeValue::NextHop(next_hop) => self.next_hop = Some(next_hop.next_hop()),
            PathAttributeValue::MultiExitDiscriminator(med) => attributes.med = Some(med.metric()),
            PathAttributeValue::LocalPreference(value) => attributes.local_pref = Some(value.metric()),
            PathAttributeValue::Communities(list) => {
                attributes.communities = list.communities().iter().map(Community::value).collect();
            }
            PathAttributeValue::LargeCommunities(list) => {
                attributes.large_communities = list
                    .communities()
                    .iter()
                    .map(|one| (one.global_admin(), one.local_data1(), one.local_data2()))
                    .collect();
            }
            PathAttributeValue::Originator(id) => attributes.originator_id = Some(id.id()),
            PathAttributeValue::ClusterList(list) => {
                attributes.cluster_list = list.cluster_list().iter().map(ClusterId::id).collect();
            }
            _ => return Err(discard(raw, "the codec took it for something else")),
        }
        Ok(())
    }

    /// The attributes, with AS4_PATH merged in (RFC 6793 §4.2.3).
    pub(super) fn finish(mut self) -> Attributes {
        if let Some(as4_path) = self.as4_path.take() {
            self.attributes.as_path = merge(&self.attributes.as_path, as4_path);
        }
        self.attributes.others.sort();
        self.attributes
    }
}

fn describe(raw: Raw<'_>, why: &str) -> String {
    format!("attribute {}: {why}", raw.code)
}

fn withdraw(raw: Raw<'_>, why: &str) -> Fault {
    Fault::Withdraw(describe(raw, why))
}

fn discard(raw: Raw<'_>, why: &str) -> Fault {
    Fault::Discard(describe(raw, why))
}

/// Gives the attribute to the codec alone, because after an error the codec does not know where the next one begins.
fn parse(raw: Raw<'_>, four_octet_as: bool) -> Result<PathAttribute, Fault> {
    let mut context =
        BgpParsingContext::new(four_octet_as, HashMap::new(), HashMap::new(), true, true, true, true);
    let mut reader = SliceReader::new(raw.whole);
    match PathAttribute::parse(&mut reader, &mut context) {
        Ok(attribute) if reader.is_empty() => Ok(attribute),
        Ok(_) => Err(fault(raw, "octets are left over")),
        Err(error) => Err(fault(raw, &error.to_string())),
    }
}

fn fault(raw: Raw<'_>, why: &str) -> Fault {
    // AS4_PATH is judged by itself: RFC 6793 §6.
    if raw.code == code::AS4_PATH { discard(raw, why) } else { withdraw(raw, why) }
}

fn as_path(path: &CodecPath) -> AsPath {
    fn segment(kind: AsPathSegmentType, asns: Vec<u32>) -> Segment {
        match kind {
            AsPathSegmentType::AsSet => Segment::Set(asns),
            AsPathSegmentType::AsSequence => Segment::Sequence(asns),
        }
    }
    AsPath(match path {
        CodecPath::As2PathSegments(segments) => segments
            .iter()
            .map(|one| {
                segment(one.segment_type(), one.as_numbers().iter().map(|asn| u32::from(*asn)).collect())
            })
            .collect(),
        CodecPath::As4PathSegments(segments) => {
            segments.iter().map(|one| segment(one.segment_type(), one.as_numbers().to_vec())).collect()
        }
    })
}

/// The leading ASes of `as_path` that `as4_path` lacks, and then `as4_path`. If it is the longer one it was not made
/// from this path and is ignored.
fn merge(as_path: &AsPath, as4_path: AsPath) -> AsPath {
    let Some(missing) = as_path.length().checked_sub(as4_path.length()) else {
        return as_path.clone();
    };
    let mut left = missing;
    let mut segments = Vec::new();
    for segment in &as_path.0 {
        match segment {
            _ if left == 0 => break,
            Segment::Sequence(asns) => {
                let take = left.min(asns.len());
                segments.push(Segment::Sequence(asns[..take].to_vec()));
                left -= take;
            }
            Segment::Set(asns) => {
                segments.push(Segment::Set(asns.clone()));
                left -= 1;
            }
        }
    }
    segments.extend(as4_path.0);
    AsPath(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as4_path_fills_in_what_two_octets_could_not_hold() {
        let seen = AsPath(vec![Segment::Sequence(vec![100, 23456, 23456])]);
        let real = AsPath(vec![Segment::Sequence(vec![70000, 80000])]);
        let merged = merge(&seen, real.clone());
        assert_eq!(merged.0.iter().flat_map(Segment::asns).copied().collect::<Vec<_>>(), [100, 70000, 80000]);
        let shorter = AsPath(vec![Segment::Sequence(vec![100])]);
        assert_eq!(merge(&shorter, real), shorter);
    }
}
