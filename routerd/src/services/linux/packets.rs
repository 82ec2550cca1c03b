//! Our part of the nft table, read and written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kernel::nft::{Chain, Data, Datum, Element, Nft, Rule, Set, Span};
use prefix::Family;

use super::Result;
use crate::ruleset::table;
use crate::services::plan::PacketChange;
use crate::services::program::{self, Program, hairpin_set, refused_map, tuple_set};
use crate::services::state::{Packets, Tuple};

/// What is there of ours.
pub(super) fn observe(nft: &mut Nft) -> Result<Packets> {
    let sets: BTreeMap<String, Set> = nft
        .list_sets(&table())?
        .into_iter()
        .filter_map(|listed| Some((listed.name.name, listed.set?)))
        .collect();
    let mut packets = Packets::default();
    let mut ours = BTreeMap::new();
    for family in Family::BOTH {
        for set in [tuple_set(family), refused_map(family), hairpin_set(family)] {
            if sets.get(&set.name.name) == Some(&set) {
                ours.insert(set.name.name.clone(), set);
            }
        }
        for element in elements(nft, &ours, &tuple_set(family))? {
            packets.tuples.extend(tuple(&element));
        }
        for element in elements(nft, &ours, &refused_map(family))? {
            let Some(Data::Verdict(verdict)) = &element.data else { continue };
            packets.refused.extend(tuple(&element).zip(program::refusal_of(verdict)));
        }
        for element in elements(nft, &ours, &hairpin_set(family))? {
            packets.hairpin.extend(pair(&element));
        }
    }
    packets.program = Some(Program { chains: chains(nft)?, sets: ours });
    Ok(packets)
}

fn elements(nft: &mut Nft, present: &BTreeMap<String, Set>, set: &Set) -> Result<Vec<Element>> {
    match present.get(&set.name.name) {
        Some(set) => nft.list_elements(set),
        None => Ok(Vec::new()),
    }
}

fn own_chains(nft: &mut Nft) -> Result<Vec<Chain>> {
    let listed = nft.list_chains(&table())?.into_iter().map(|listed| listed.chain);
    Ok(listed.filter(|chain| chain.name.name.starts_with(program::PREFIX)).collect())
}

fn chains(nft: &mut Nft) -> Result<BTreeMap<String, (Chain, Vec<Rule>)>> {
    let mut chains: BTreeMap<String, (Chain, Vec<Rule>)> =
        own_chains(nft)?.into_iter().map(|chain| (chain.name.name.clone(), (chain, Vec::new()))).collect();
    if chains.is_empty() {
        return Ok(chains);
    }
    for listed in nft.list_rules(&table())? {
        if let Some((_, rules)) = chains.get_mut(&listed.chain.name) {
            rules.push(listed.rule);
        }
    }
    Ok(chains)
}

fn fields(element: &Element) -> &[Datum] {
    match &element.span {
        Span::Key(key) => &key.0,
        _ => &[],
    }
}

fn address(datum: &Datum) -> Option<IpAddr> {
    match datum {
        Datum::Ip4(address) => Some(IpAddr::V4(*address)),
        Datum::Ip6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn tuple(element: &Element) -> Option<Tuple> {
    match fields(element) {
        [ip, Datum::Byte(protocol), Datum::Port(port)] => {
            Some(Tuple { address: address(ip)?, protocol: *protocol, port: *port })
        }
        _ => None,
    }
}

fn pair(element: &Element) -> Option<IpAddr> {
    match fields(element) {
        [first, second] if first == second => address(first),
        _ => None,
    }
}

/// Commits a change.
pub(super) fn change(nft: &mut Nft, change: &PacketChange) -> Result<()> {
    let present = if change.program.is_some() { own_chains(nft)? } else { Vec::new() };
    Ok(nft.commit(&program::transaction(change, &present))?)
}
