//! Gates as nf_tables has them: four sets a family and the rules that ask them.
//!
//! ```text
//!  prerouting, output (mangle)   in services-private? -> no mark; where packets are refused: without the mark of a Service,
//!                                that is not led here, refused
//!  prerouting, output (mangle)   in services-guarded?  -> services-sources: its source in services-sources, or dropped
//!  prerouting (dstnat)           from a pod of this node? -> to what services-detours says
//!  output (dstnat)               -> to what services-detours says
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use kernel::KernelError;
use kernel::nft::{
    Chain, ChainType, Data, DataType, Datum, Element, Field, Hook, Key, Nft, Rule, Set, Span, Transaction,
    priority,
};
use prefix::Family;

use super::{GateChange, Gates, Range};
use crate::ruleset::table;
use crate::services::desired::NodeFacts;
use crate::services::pods;
use crate::services::program::{MARK, Program, REJECT, tuple_fields};
use crate::services::state::Tuple;

const SOURCES: &str = "services-sources";
const PRIVATE: &str = "services-private";
const DETOUR: &str = "services-detour";
const DETOUR_OWN: &str = "services-detour-own";

fn name(base: &str, family: Family) -> String {
    match family {
        Family::V4 => base.to_owned(),
        Family::V6 => format!("{base}6"),
    }
}

/// The tuples that admit only some sources.
fn guarded_set(family: Family) -> Set {
    let key = [DataType::address(family), DataType::Protocol, DataType::Port];
    Set::new(table().set(name("services-guarded", family)), key)
}

/// Ranges of sources with the tuple they are admitted to.
fn source_set(family: Family) -> Set {
    let address = DataType::address(family);
    let key = [address, address, DataType::Protocol, DataType::Port];
    Set::new(table().set(name(SOURCES, family)), key).intervals()
}

/// Where clients of this node are led instead of a tuple.
fn detour_map(family: Family) -> Set {
    let key = [DataType::address(family), DataType::Protocol, DataType::Port];
    let to = [DataType::address(family), DataType::Port];
    Set::new(table().set(name("services-detours", family)), key).values(to)
}

/// The tuples that only those reach who are led there.
fn private_set(family: Family) -> Set {
    let key = [DataType::address(family), DataType::Protocol, DataType::Port];
    Set::new(table().set(name(PRIVATE, family)), key)
}

fn sets(family: Family) -> [Set; 4] {
    [guarded_set(family), source_set(family), detour_map(family), private_set(family)]
}

/// Before marks are set: who asks for a private place gets none.
pub(in crate::services) fn unmarked_rule(family: Family) -> Rule {
    Rule::new().in_set(&tuple_fields(family), name(PRIVATE, family)).return_()
}

/// Who asks for a private place by its own address: the mark of a Service comes from where clients were led away.
pub(in crate::services) fn private_rule(family: Family) -> Rule {
    Rule::new().masked(Field::Mark, 0, MARK).in_set(&tuple_fields(family), name(PRIVATE, family)).goto(REJECT)
}

/// Adds sets and chains to the program.
pub(in crate::services) fn lay(program: &mut Program, node: &NodeFacts) {
    for set in Family::BOTH.into_iter().flat_map(sets) {
        program.sets.insert(set.name.name.clone(), set);
    }
    program.chain(Chain::new(table().chain(SOURCES)), source_rules());
    let base = |name, hook| Chain::base(table().chain(name), ChainType::Nat, hook, priority::DSTNAT);
    let in_ranges = node.pod_cidrs.iter().map(|pods| detour_rule(Rule::new().source(pods), pods.family()));
    let others = Family::BOTH.map(|family| detour_rule(pods::from_one(family), family));
    program.chain(base(DETOUR, Hook::Prerouting), in_ranges.chain(others).collect());
    let own = Family::BOTH.map(|family| detour_rule(Rule::new(), family));
    program.chain(base(DETOUR_OWN, Hook::Output), own.to_vec());
}

/// For what has the mark of a Service: everything else is passed by without a lookup.
pub(in crate::services) fn guard_rule(family: Family) -> Rule {
    let marked = Rule::new().masked(Field::Mark, MARK, MARK);
    marked.in_set(&tuple_fields(family), guarded_set(family).name.name).jump(SOURCES)
}

fn source_rules() -> Vec<Rule> {
    let admitted = |family| {
        let fields =
            [Field::source(family), Field::destination(family), Field::L4Proto, Field::DestinationPort];
        Rule::new().in_set(&fields, source_set(family).name.name).return_()
    };
    Family::BOTH.map(admitted).into_iter().chain([Rule::new().drop()]).collect()
}

fn detour_rule(rule: Rule, family: Family) -> Rule {
    rule.dnat_map(&tuple_fields(family), detour_map(family).name.name, family, true)
}

/// A tuple as sets have it.
pub(in crate::services) fn key(tuple: &Tuple) -> [Datum; 3] {
    [tuple.address.into(), Datum::Byte(tuple.protocol), Datum::Port(tuple.port)]
}

/// A range of sources with the tuple that they are admitted to.
pub(in crate::services) fn source(tuple: &Tuple, (first, last): &Range) -> Element {
    let with = |source: &IpAddr| Key([Datum::from(*source)].into_iter().chain(key(tuple)).collect());
    Element::range(with(first), with(last))
}

fn detour(tuple: &Tuple, to: &SocketAddr) -> Element {
    let value = Key(vec![to.ip().into(), Datum::Port(to.port())]);
    Element::new(Key(key(tuple).to_vec())).value(value)
}

/// The elements of each set of `family`.
fn elements(gates: &Gates, family: Family) -> [Vec<Element>; 4] {
    let within = |tuple: &&Tuple| Family::of(tuple.address) == family;
    let [guarded, private] = [&gates.guarded, &gates.private].map(|tuples| {
        tuples.iter().filter(within).map(|tuple| Element::new(Key(key(tuple).to_vec()))).collect()
    });
    let sources = gates.sources.iter().filter(|(tuple, _)| within(tuple));
    let sources = sources.flat_map(|(tuple, ranges)| ranges.iter().map(|range| source(tuple, range)));
    let detours = gates.detours.iter().filter(|(tuple, _)| within(tuple));
    [guarded, sources.collect(), detours.map(|(tuple, to)| detour(tuple, to)).collect(), private]
}

/// Writes a change.
pub(in crate::services) fn transaction(out: &mut Transaction, change: &GateChange) {
    for family in Family::BOTH {
        for (set, gone) in sets(family).iter().zip(elements(&change.remove, family)) {
            out.delete_elements(set, gone);
        }
        for (set, new) in sets(family).iter().zip(elements(&change.add, family)) {
            out.add_elements(set, new);
        }
    }
}

/// Reads what is there; `present` are the sets of the table. Those that are ours go to `program`.
pub(in crate::services) fn observe(
    nft: &mut Nft,
    present: &BTreeMap<String, Set>,
    ours: &mut BTreeMap<String, Set>,
) -> Result<Gates, KernelError> {
    let mut gates = Gates::default();
    for family in Family::BOTH {
        for set in sets(family) {
            if present.get(&set.name.name) != Some(&set) {
                continue;
            }
            for element in nft.list_elements(&set)? {
                take(&mut gates, &element, set == private_set(family));
            }
            ours.insert(set.name.name.clone(), set);
        }
    }
    Ok(gates)
}

fn take(gates: &mut Gates, element: &Element, private: bool) {
    let (first, last) = match &element.span {
        Span::Key(key) => (&key.0[..], &key.0[..]),
        Span::Range(first, last) => (&first.0[..], &last.0[..]),
        Span::Others => return,
    };
    match (first, &element.data) {
        (_, Some(Data::Value(to))) => {
            gates.detours.extend(tuple_of(first).zip(socket(&to.0)));
        }
        ([from, rest @ ..], None) if rest.len() == 3 => {
            let range = address(from).zip(last.first().and_then(address));
            if let Some((tuple, range)) = tuple_of(rest).zip(range) {
                gates.sources.entry(tuple).or_default().insert(range);
            }
        }
        _ if private => gates.private.extend(tuple_of(first)),
        _ => gates.guarded.extend(tuple_of(first)),
    }
}

fn address(datum: &Datum) -> Option<IpAddr> {
    match datum {
        Datum::Ip4(address) => Some(IpAddr::V4(*address)),
        Datum::Ip6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn tuple_of(fields: &[Datum]) -> Option<Tuple> {
    match fields {
        [ip, Datum::Byte(protocol), Datum::Port(port)] => {
            Some(Tuple { address: address(ip)?, protocol: *protocol, port: *port })
        }
        _ => None,
    }
}

fn socket(fields: &[Datum]) -> Option<SocketAddr> {
    match fields {
        [ip, Datum::Port(port)] => Some(SocketAddr::new(address(ip)?, *port)),
        _ => None,
    }
}
