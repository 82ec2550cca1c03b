//! The plane's part of the nft table: pure.
//!
//! ```text
//!  prerouting (mangle)   in dsr-guarded and its source not in dsr-sources? -> dropped
//!                        in dsr-marks?                                     -> the mark of the tuple
//!                        an answer, in dsr-answers?                        -> segments that fit into the tunnel
//!  output (route)        the same but for answers; what IPVS sends on loses its mark
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::nft::{
    Chain, ChainType, Data, DataType, Datum, Element, Field, Hook, Key, Rule, Set, Span, priority,
};
use prefix::Family;

use super::marks::{BIT, ROOM};
use crate::ruleset::{Ruleset, table};
use crate::services::gates::{self, Range};
use crate::services::program::tuple_fields;
use crate::services::state::Tuple;

/// What the plane's chains and sets are called by.
pub(super) const PREFIX: &str = "dsr-";
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// What stands before the data of a TCP segment in a tunnel: two IP headers and a TCP header.
const fn headers(family: Family) -> u32 {
    match family {
        Family::V4 => 60,
        Family::V6 => 100,
    }
}

/// Who may come to the tuples that admit only some sources.
pub(super) type Sources = BTreeMap<Tuple, BTreeSet<Range>>;

fn name(base: &str, family: Family) -> String {
    format!("{PREFIX}{base}{}", if family == Family::V4 { "" } else { "6" })
}

fn set(base: &str, family: Family) -> Set {
    let key = [DataType::address(family), DataType::Protocol, DataType::Port];
    Set::new(table().set(name(base, family)), key)
}

fn element(tuple: &Tuple) -> Element {
    Element::new(Key(gates::key(tuple).to_vec()))
}

/// What an opening packet of TCP can be marked by, and an answer told by; and who is let in.
pub(super) fn ruleset(marks: &BTreeMap<Tuple, u32>, sources: &Sources, mtu: u32) -> Ruleset {
    if marks.is_empty() {
        return Ruleset::default();
    }
    let mut ruleset = Ruleset::default();
    for family in Family::BOTH {
        let of = || marks.iter().filter(move |(tuple, _)| Family::of(tuple.address) == family);
        let map = set("marks", family).values([DataType::Mark]);
        let elements = of().map(|(tuple, mark)| element(tuple).value(Datum::Number(*mark)));
        ruleset = ruleset.set(map, elements.collect());
        ruleset = ruleset.set(set("answers", family), of().map(|(tuple, _)| element(tuple)).collect());
    }
    let (ruleset, guards) = guarded(ruleset, sources);
    let base = |base: &str, kind, hook, place| {
        Chain::base(table().chain(format!("{PREFIX}{base}")), kind, hook, place)
    };
    let marking =
        Family::BOTH.map(|family| Rule::new().set_mark_map(&tuple_fields(family), name("marks", family)));
    let marking: Vec<Rule> = guards.into_iter().chain(marking).collect();
    // What IPVS sends on has the mark still. By it the way to a pod whose address it has written would lead back here.
    let done = Rule::new().masked(Field::Mark, BIT, BIT).set_mark(0, BIT | ROOM);
    let own = std::iter::once(done).chain(marking.clone());
    let segments = Family::BOTH.map(|family| {
        let fields = [Field::source(family), Field::L4Proto, Field::SourcePort];
        // The client's segments are to fit into the tunnel: it hears of their size in the pod's answer.
        let size = u16::try_from(mtu.saturating_sub(headers(family))).unwrap_or(u16::MAX);
        Rule::new().protocol(TCP).in_set(&fields, name("answers", family)).limit_segment_size(size)
    });
    ruleset
        .chain(base("mark", ChainType::Filter, Hook::Prerouting, priority::MANGLE), marking)
        // Of the kind that looks the route up again, now that there is a mark, or none any more.
        .chain(base("mark-own", ChainType::Route, Hook::Output, priority::MANGLE), own.collect())
        .chain(base("segments", ChainType::Filter, Hook::Prerouting, priority::MANGLE), segments.to_vec())
}

/// Adds who is let in, and the rules that drop all others: none where nobody asks for them.
fn guarded(mut ruleset: Ruleset, sources: &Sources) -> (Ruleset, Vec<Rule>) {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        let of = || sources.iter().filter(move |(tuple, _)| Family::of(tuple.address) == family);
        if of().next().is_none() {
            continue;
        }
        let guarded = set("guarded", family);
        let (address, to) = (DataType::address(family), guarded.key.clone());
        let key: Vec<DataType> = std::iter::once(address).chain(to).collect();
        let admitted = Set::new(table().set(name("sources", family)), key).intervals();
        let ranges = of().flat_map(|(tuple, all)| all.iter().map(|range| gates::source(tuple, range)));
        let from: Vec<Field> = std::iter::once(Field::source(family)).chain(tuple_fields(family)).collect();
        let rule = Rule::new().in_set(&tuple_fields(family), guarded.name.name.clone());
        rules.push(rule.not_in_set(&from, admitted.name.name.clone()).drop());
        ruleset = ruleset.set(admitted, ranges.collect());
        ruleset = ruleset.set(guarded, of().map(|(tuple, _)| element(tuple)).collect());
    }
    (ruleset, rules)
}

fn tuple_and_mark(element: &Element) -> Option<(Tuple, u32)> {
    let Span::Key(key) = &element.span else { return None };
    let [ip, Datum::Byte(protocol), Datum::Port(port)] = &key.0[..] else { return None };
    let address = match ip {
        Datum::Ip4(address) => IpAddr::V4(*address),
        Datum::Ip6(address) => IpAddr::V6(*address),
        _ => return None,
    };
    let Some(Data::Value(Key(value))) = &element.data else { return None };
    let [Datum::Number(mark)] = &value[..] else { return None };
    Some((Tuple { address, protocol: *protocol, port: *port }, *mark))
}

/// The marks in a ruleset of ours.
pub(super) fn marks_of(ruleset: &Ruleset) -> BTreeMap<Tuple, u32> {
    let maps = Family::BOTH.map(|family| name("marks", family));
    let elements = maps.iter().filter_map(|map| ruleset.sets.get(map)).flat_map(|set| &set.elements);
    elements.filter_map(tuple_and_mark).collect()
}
