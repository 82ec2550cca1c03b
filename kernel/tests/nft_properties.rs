//! Whatever is committed reads back equal.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::nft::{
    Chain, ChainType, CtState, DataType, Datum, Element, Hook, Key, Nft, Rule, Set, Table, TableFamily,
    Transaction, Verdict, priority,
};
use kernel::testing::TestNs;
use prefix::Prefix;
use proptest::prelude::*;

fn datum(kind: DataType) -> BoxedStrategy<Datum> {
    match kind {
        DataType::Ip4 => any::<u32>().prop_map(|n| Datum::Ip4(Ipv4Addr::from(n))).boxed(),
        DataType::Ip6 => any::<u128>().prop_map(|n| Datum::Ip6(Ipv6Addr::from(n))).boxed(),
        DataType::Port => any::<u16>().prop_map(Datum::Port).boxed(),
        DataType::Protocol => any::<u8>().prop_map(Datum::Byte).boxed(),
        _ => any::<u32>().prop_map(Datum::Number).boxed(),
    }
}

fn key(types: &[DataType]) -> impl Strategy<Value = Key> + use<> {
    types.iter().map(|kind| datum(*kind)).collect::<Vec<_>>().prop_map(Key)
}

fn types() -> impl Strategy<Value = Vec<DataType>> {
    let kinds = [DataType::Ip4, DataType::Ip6, DataType::Port, DataType::Protocol];
    proptest::collection::vec(proptest::sample::select(kinds.to_vec()), 1..4)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    proptest::sample::select(vec![
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Return,
        Verdict::Goto("other".into()),
        Verdict::Jump("other".into()),
    ])
}

/// A verdict map of single keys, or a set.
fn contents() -> impl Strategy<Value = (Vec<DataType>, BTreeMap<Key, Verdict>, bool)> {
    types().prop_flat_map(|types| {
        let elements = proptest::collection::btree_map(key(&types), verdict(), 0..60);
        (Just(types), elements, any::<bool>())
    })
}

fn prefixes() -> impl Strategy<Value = BTreeSet<Prefix>> {
    let four = (any::<u32>(), 0..=32u8).prop_map(|(n, length)| (IpAddr::from(Ipv4Addr::from(n)), length));
    let six = (any::<u128>(), 0..=128u8).prop_map(|(n, length)| (IpAddr::from(Ipv6Addr::from(n)), length));
    let prefix = prop_oneof![four, six].prop_map(|(address, length)| Prefix::new(address, length).unwrap());
    proptest::collection::btree_set(prefix, 0..40).prop_map(|all| without_overlaps(&all))
}

/// The kernel refuses overlapping intervals.
fn without_overlaps(all: &BTreeSet<Prefix>) -> BTreeSet<Prefix> {
    let covered = |prefix: &Prefix| all.iter().any(|other| other != prefix && other.covers(prefix));
    all.iter().filter(|prefix| !covered(prefix)).copied().collect()
}

fn rule() -> impl Strategy<Value = Rule> {
    let step = prop_oneof![
        any::<u32>().prop_map(|n| Step::Source(Prefix::host(Ipv4Addr::from(n).into()))),
        (any::<u128>(), 1..=128u8)
            .prop_map(|(n, length)| Step::Source(Prefix::new(Ipv6Addr::from(n).into(), length).unwrap())),
        any::<u16>().prop_map(Step::Port),
        (any::<u32>(), any::<u32>()).prop_map(|(value, mask)| Step::Mark(value & mask, mask)),
        (1u32..8).prop_map(Step::State),
        Just(Step::Counter),
    ];
    (proptest::collection::vec(step, 0..5), verdict(), proptest::option::of("[a-z/ .äß]{0,40}")).prop_map(
        |(steps, verdict, comment)| {
            let rule = steps.iter().fold(Rule::new(), Step::apply).verdict(verdict);
            comment.map_or(rule.clone(), |comment| rule.comment(&comment))
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Source(Prefix),
    Port(u16),
    Mark(u32, u32),
    State(u32),
    Counter,
}

impl Step {
    fn apply(rule: Rule, step: &Self) -> Rule {
        match step {
            Step::Source(prefix) => rule.source(prefix),
            Step::Port(port) => rule.to_port(6, *port),
            Step::Mark(value, mask) => rule.set_mark(*value, *mask),
            Step::State(bits) => rule.state(CtState(*bits)),
            Step::Counter => rule.counter(),
        }
    }
}

fn base(table: &Table) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.add_table(table.clone()).add_chain(Chain::new(table.name.chain("other")));
    transaction
}

/// Runs the cases in one namespace, each in a table that is removed again.
fn in_namespace<S: Strategy>(strategy: &S, test: impl Fn(&mut Nft, &Table, S::Value)) {
    let space = TestNs::new("nftprop");
    let table = Table::new(TableFamily::Inet, "t");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    let outcome = runner.run(strategy, |value| {
        let mut nft = Nft::open_in(space.namespace()).unwrap();
        test(&mut nft, &table, value);
        let mut transaction = Transaction::new();
        transaction.add_table(table.clone()).delete_table(table.name.clone());
        nft.commit(&transaction).unwrap();
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn elements_of_sets_and_verdict_maps_read_back_equal() {
    in_namespace(&contents(), |nft, table, (types, contents, is_map)| {
        let set = Set::new(table.name.set("s"), types);
        let set = if is_map { set.verdicts() } else { set };
        let elements: Vec<_> = contents
            .into_iter()
            .map(|(key, verdict)| {
                let element = Element::new(key);
                if is_map { element.verdict(verdict) } else { element }
            })
            .collect();
        let mut transaction = base(table);
        transaction.add_set(set.clone()).add_elements(&set, elements.clone());
        nft.commit(&transaction).unwrap();
        assert_eq!(nft.list_elements(&set).unwrap(), elements);
    });
}

#[test]
fn prefixes_read_back_equal() {
    in_namespace(&prefixes(), |nft, table, prefixes| {
        let mut transaction = base(table);
        for kind in [DataType::Ip4, DataType::Ip6] {
            let set = Set::new(table.name.set(format!("{kind:?}")), [kind]).intervals();
            let of_kind = prefixes.iter().filter(|prefix| DataType::address(prefix.family()) == kind);
            transaction.add_set(set.clone()).add_elements(&set, of_kind.map(Element::prefix).collect());
        }
        nft.commit(&transaction).unwrap();
        let mut listed = BTreeSet::new();
        for set in nft.list_sets(&table.name).unwrap() {
            listed.extend(nft.list_elements(&set.set.unwrap()).unwrap());
        }
        assert_eq!(listed, prefixes.iter().map(Element::prefix).collect());
    });
}

#[test]
fn rules_read_back_equal() {
    in_namespace(&proptest::collection::vec(rule(), 0..20), |nft, table, rules| {
        let chain = Chain::base(table.name.chain("c"), ChainType::Filter, Hook::Forward, priority::FILTER);
        let mut transaction = base(table);
        transaction.add_chain(chain.clone());
        for rule in &rules {
            transaction.add_rule(&chain.name, rule.clone());
        }
        nft.commit(&transaction).unwrap();
        let listed: Vec<_> =
            nft.list_rules(&table.name).unwrap().into_iter().map(|listed| listed.rule).collect();
        assert_eq!(listed, rules);
    });
}
