//! One path attribute at a time: its frame, and what a mistake in it means (RFC 7606).

use std::net::Ipv4Addr;

use super::Context;
use super::reader::{Reader, Short};
use super::types::{AsPath, Attributes, Origin, RawAttribute, Segment};

/// Type codes of attributes.
pub(super) mod code {
    pub(in super::super) const ORIGIN: u8 = 1;
    pub(in super::super) const AS_PATH: u8 = 2;
    pub(in super::super) const NEXT_HOP: u8 = 3;
    pub(in super::super) const MED: u8 = 4;
    pub(in super::super) const LOCAL_PREF: u8 = 5;
    pub(in super::super) const ATOMIC_AGGREGATE: u8 = 6;
    pub(in super::super) const AGGREGATOR: u8 = 7;
    pub(in super::super) const COMMUNITIES: u8 = 8;
    pub(in super::super) const ORIGINATOR_ID: u8 = 9;
    pub(in super::super) const CLUSTER_LIST: u8 = 10;
    pub(in super::super) const MP_REACH: u8 = 14;
    pub(in super::super) const MP_UNREACH: u8 = 15;
    pub(in super::super) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(in super::super) const AS4_PATH: u8 = 17;
    pub(in super::super) const AS4_AGGREGATOR: u8 = 18;
    pub(in super::super) const LARGE_COMMUNITIES: u8 = 32;
}

pub(super) const OPTIONAL: u8 = 0x80;
pub(super) const TRANSITIVE: u8 = 0x40;
pub(super) const PARTIAL: u8 = 0x20;
pub(super) const EXTENDED_LENGTH: u8 = 0x10;

/// Types of segments of an AS_PATH (RFC 4271 §4.3).
pub(super) const AS_SET: u8 = 1;
pub(super) const AS_SEQUENCE: u8 = 2;

/// One attribute as it was on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Cuts the next attribute off.
    pub(super) fn next(reader: &mut Reader<'a>) -> Result<Self, Short> {
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let extended = flags & EXTENDED_LENGTH != 0;
        let length = if extended { reader.u16()? } else { u16::from(reader.u8()?) };
        let value = reader.take(usize::from(length))?;
        Ok(Self { flags, code, value })
    }

    /// The value of an attribute that has so many octets.
    fn array<const N: usize>(self) -> Result<[u8; N], Fault> {
        self.value.try_into().map_err(|_| withdraw(self, &format!("its length is not {N}")))
    }

    /// The value of an attribute that is a list of parts of so many octets, at least one.
    fn list<const N: usize>(self) -> Result<&'a [[u8; N]], Fault> {
        match self.value.as_chunks() {
            (parts, []) if !parts.is_empty() => Ok(parts),
            _ => Err(withdraw(self, &format!("its length is no multiple of {N}"))),
        }
    }

    /// RFC 7606 §3c: what kind of attribute it is must be as its specification says.
    fn check_kind(self) -> Result<(), Fault> {
        let expected = match self.code {
            code::ORIGIN | code::AS_PATH | code::NEXT_HOP | code::LOCAL_PREF => TRANSITIVE,
            code::MED | code::ORIGINATOR_ID | code::CLUSTER_LIST => OPTIONAL,
            _ => OPTIONAL | TRANSITIVE,
        };
        let right = self.flags & (OPTIONAL | TRANSITIVE) == expected;
        right.then_some(()).ok_or_else(|| withdraw(self, "its flags are wrong"))
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
    pub(super) next_hop: Option<Ipv4Addr>,
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
            // Both are only for speakers that do not know four-octet AS numbers (RFC 6793 §4.1).
            code::AS4_PATH | code::AS4_AGGREGATOR if context.four_octet_as => Ok(()),
            code::AS4_AGGREGATOR => Ok(()),
            code::AS4_PATH => self.as4_path(raw),
            1..=5 | 8..=10 | code::EXTENDED_COMMUNITIES | code::LARGE_COMMUNITIES => self.known(raw, context),
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

    /// One of which RFC 4271, 1997, 4360, 4456 or 8092 says the form.
    fn known(&mut self, raw: Raw<'_>, context: Context) -> Result<(), Fault> {
        raw.check_kind()?;
        let attributes = &mut self.attributes;
        match raw.code {
            code::ORIGIN => {
                attributes.origin = match raw.value {
                    [0] => Origin::Igp,
                    [1] => Origin::Egp,
                    [2] => Origin::Incomplete,
                    _ => return Err(withdraw(raw, "it is none of 0, 1 and 2")),
                };
                self.has_origin = true;
            }
            code::AS_PATH => {
                let path = as_path(raw.value, context.four_octet_as);
                attributes.as_path = path.map_err(|why| withdraw(raw, why))?;
                self.has_as_path = true;
            }
            code::NEXT_HOP => self.next_hop = Some(raw.array()?.into()),
            code::MED => attributes.med = Some(u32::from_be_bytes(raw.array()?)),
            code::LOCAL_PREF => attributes.local_pref = Some(u32::from_be_bytes(raw.array()?)),
            code::COMMUNITIES => {
                attributes.communities = raw.list()?.iter().copied().map(u32::from_be_bytes).collect();
            }
            code::ORIGINATOR_ID => attributes.originator_id = Some(raw.array()?.into()),
            code::CLUSTER_LIST => {
                attributes.cluster_list = raw.list::<4>()?.iter().copied().map(Ipv4Addr::from).collect();
            }
            code::EXTENDED_COMMUNITIES => attributes.extended_communities = raw.list()?.to_vec(),
            _ => attributes.large_communities = raw.list()?.iter().map(large_community).collect(),
        }
        Ok(())
    }

    /// It is judged by itself: RFC 6793 §6.
    fn as4_path(&mut self, raw: Raw<'_>) -> Result<(), Fault> {
        self.as4_path = Some(as_path(raw.value, true).map_err(|why| discard(raw, why))?);
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

/// Reads an AS_PATH of two or four octets a number, or why it is none (RFC 7606 §7.2).
fn as_path(value: &[u8], four_octets: bool) -> Result<AsPath, &'static str> {
    let mut reader = Reader::new(value);
    let mut segments = Vec::with_capacity(1);
    while !reader.is_empty() {
        segments
            .push(segment(&mut reader, four_octets).map_err(|Short| "it ends in the middle of a segment")??);
    }
    Ok(AsPath(segments))
}

fn segment(reader: &mut Reader<'_>, four_octets: bool) -> Result<Result<Segment, &'static str>, Short> {
    let (kind, count) = (reader.u8()?, usize::from(reader.u8()?));
    let asns: Vec<u32> = if four_octets {
        reader.take(count * 4)?.as_chunks().0.iter().copied().map(u32::from_be_bytes).collect()
    } else {
        reader.take(count * 2)?.as_chunks().0.iter().map(|asn| u16::from_be_bytes(*asn).into()).collect()
    };
    Ok(match kind {
        _ if asns.is_empty() => Err("a segment is empty"),
        _ if asns.contains(&0) => Err("AS 0 does not exist (RFC 7607)"),
        AS_SET => Ok(Segment::Set(asns)),
        AS_SEQUENCE => Ok(Segment::Sequence(asns)),
        _ => Err("a segment is of an unknown type"),
    })
}

fn large_community(octets: &[u8; 12]) -> (u32, u32, u32) {
    let part =
        |at: usize| octets.iter().skip(at * 4).take(4).fold(0, |sum, octet| sum << 8 | u32::from(*octet));
    (part(0), part(1), part(2))
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
