//! Who changed what in nf_tables, seen while it happens.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kernel::nft::{
    Chain, Change, DataType, Element, Identity, Nft, Rule, Set, Table, TableFamily, TableName, Transaction,
    Watch,
};
use kernel::testing::TestNs;

/// Longer than a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// All changes until one is as wanted.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn until(watch: &mut Watch, wanted: impl Fn(&Change) -> bool) -> Vec<Change> {
    let (end, mut seen) = (Instant::now() + PATIENCE, Vec::new());
    while !seen.iter().any(&wanted) {
        assert!(Instant::now() < end, "not told; seen: {seen:?}");
        seen.extend(watch.next(Duration::from_millis(100)).unwrap());
    }
    seen
}

fn is_about(change: &Change, wanted: &str) -> bool {
    matches!(change, Change::Object { name: Some(name), .. } if name == wanted)
}

#[test]
fn a_change_names_its_object_its_table_and_the_socket_it_came_by() {
    let namespace = TestNs::new("nftwatch");
    let mut watch = Watch::open_in(namespace.namespace()).unwrap();
    let own = Identity::new();
    let (mut nft, _other) = namespace.run_in(|| (Nft::open_as(own).unwrap(), Nft::open_as(own).unwrap()));
    let table = TableName::new(TableFamily::Inet, "mine");
    let set = Set::new(table.set("some-set"), [DataType::Ip4]);
    let mut transaction = Transaction::new();
    transaction.add_table(Table::new(TableFamily::Inet, "mine"));
    transaction.add_set(set.clone()).add_chain(Chain::new(table.chain("some-chain")));
    transaction.add_rule(&table.chain("some-chain"), Rule::new().counter());
    transaction.add_elements(&set, vec![Element::new(std::net::Ipv4Addr::new(10, 0, 0, 1))]);
    nft.commit(&transaction).unwrap();
    for change in until(&mut watch, |change| is_about(change, "some-chain")) {
        let Change::Object { by, table: of, .. } = change else { panic!("lost messages") };
        assert!(own.made(by));
        assert_eq!(of, table);
    }
    namespace.run("nft", &["add element inet mine some-set { 10.0.0.2 }"]);
    let seen = until(
        &mut watch,
        |change| matches!(change, Change::Object { by, name: Some(name), .. } if !own.made(*by) && name == "some-set"),
    );
    assert!(seen.iter().all(|change| *change != Change::Lost));
}

#[test]
fn every_way_to_damage_a_table_is_told() {
    let namespace = TestNs::new("nftwatch");
    let made = "add table ip t; add set ip t s { type ipv4_addr; elements = { 10.0.0.1 } }; \
                add chain ip t c; add rule ip t c drop";
    for damage in [
        "delete element ip t s { 10.0.0.1 }",
        "flush set ip t s",
        "flush chain ip t c",
        "insert rule ip t c accept",
        "flush chain ip t c; delete chain ip t c",
        "delete set ip t s",
        "flush table ip t",
        "delete table ip t",
        "flush ruleset",
        "add counter ip t x",
    ] {
        namespace.run("nft", &[made]);
        let mut watch = Watch::open_in(namespace.namespace()).unwrap();
        namespace.run("nft", &[damage]);
        let seen = until(&mut watch, |_| true);
        let tables: BTreeSet<_> = seen
            .iter()
            .filter_map(|change| match change {
                Change::Object { table, .. } => Some(table.to_string()),
                Change::Lost => None,
            })
            .collect();
        assert_eq!(tables, BTreeSet::from(["ip t".to_owned()]), "{damage}");
        namespace.run("nft", &["flush ruleset"]);
    }
}

#[test]
fn a_reader_that_is_too_slow_is_told_that_changes_were_lost() {
    let namespace = TestNs::new("nftwatch");
    let mut watch = namespace.run_in(|| Watch::with_buffer(64 * 1024)).unwrap();
    let mut nft = Nft::open_in(namespace.namespace()).unwrap();
    let table = TableName::new(TableFamily::Inet, "mine");
    let set = Set::new(table.set("many"), [DataType::Ip4]);
    let mut transaction = Transaction::new();
    transaction.add_table(Table::new(TableFamily::Inet, "mine")).add_set(set.clone());
    let elements = (0..10_000u32).map(|number| Element::new(std::net::Ipv4Addr::from(0x0a00_0000 + number)));
    transaction.add_elements(&set, elements.collect());
    nft.commit(&transaction).unwrap();
    until(&mut watch, |change| *change == Change::Lost);
}
