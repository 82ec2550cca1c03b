//! Our part of the nft table, read and written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kernel::nft::{Chain, Data, Datum, Element, Nft, Rule, Set, Span};
use prefix::Family;

use super::Result;
use crate::ruleset::table;
use crate::services::firewall::exposed_set;
use crate::services::gates;
use crate::services::plan::PacketChange;
use crate::services::pods;
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
        for set in [
            tuple_set(family),
            refused_map(family),
            hairpin_set(family),
            exposed_set(family),
            pods::set(family),
        ] {
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
        for (set, to) in [(exposed_set(family), &mut packets.exposed), (pods::set(family), &mut packets.pods)]
        {
            for element in elements(nft, &ours, &set)? {
                to.extend(fields(&element).first().and_then(address));
            }
        }
    }
    packets.gates = gates::observe(nft, &sets, &mut ours)?;
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use kernel::testing::TestNs;

    use super::*;
    use crate::services::Settings;
    use crate::services::desired::NodeFacts;
    use crate::services::effect::apply_packets;
    use crate::services::state::Refusal;

    fn tuple(address: &str, port: u16) -> Tuple {
        Tuple { address: address.parse().unwrap(), protocol: 6, port }
    }

    fn program() -> Program {
        let addresses = vec!["192.0.2.11".parse().unwrap()];
        let pod_cidrs = vec!["10.1.1.0/24".parse().unwrap(), "fd00:1:1::/64".parse().unwrap()];
        Program::new(&NodeFacts { addresses, pod_cidrs }, &Settings::default())
    }

    #[test]
    fn what_is_written_reads_back_equal_and_foreign_chains_stay() {
        let namespace = TestNs::new("svc-nft");
        namespace.run("nft", &["add table inet routerd; add chain inet routerd policy-x"]);
        // As an older release might have left them.
        namespace.run("nft", &["add chain inet routerd services-old"]);
        namespace
            .run("nft", &["add chain inet routerd services-input { type filter hook input priority 7; }"]);
        let mut nft = Nft::open_in(namespace.namespace()).unwrap();
        let (four, six) = (tuple("10.96.0.1", 80), tuple("fd00:96::1", 81));
        let first = PacketChange {
            program: Some(program()),
            add_tuples: BTreeSet::from([four, six]),
            refuse: BTreeMap::from([(four, Refusal::Reject), (six, Refusal::Drop)]),
            add_hairpin: BTreeSet::from(["10.1.1.2".parse().unwrap(), "fd00:1:1::2".parse().unwrap()]),
            ..PacketChange::default()
        };
        let second = PacketChange {
            remove_tuples: BTreeSet::from([six]),
            unrefuse: BTreeSet::from([four, six]),
            refuse: BTreeMap::from([(four, Refusal::Drop)]),
            remove_hairpin: BTreeSet::from(["10.1.1.2".parse().unwrap()]),
            ..PacketChange::default()
        };
        let mut expected = Packets::default();
        for step in [first, second] {
            change(&mut nft, &step).unwrap();
            apply_packets(&step, &mut expected);
            assert_eq!(observe(&mut nft).unwrap(), expected);
        }
        let seen = namespace.run("nft", &["list", "table", "inet", "routerd"]);
        for line in [
            "ip daddr . meta l4proto . th dport @services-tuples",
            "elements = { 10.96.0.1 . tcp . 80 }",
            "elements = { 10.96.0.1 . tcp . 80 : drop }",
            "chain policy-x",
            "snat ip to 192.0.2.11 fully-random",
        ] {
            assert!(seen.contains(line), "no {line:?} in\n{seen}");
        }
        assert!(!seen.contains("services-old"), "{seen}");
    }
}
