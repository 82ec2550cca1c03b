//! What a transaction promises: all or nothing, in order, and a refusal that names its cause.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]

use std::net::{IpAddr, Ipv4Addr};

use kernel::nft::{
    Chain, ChainType, DataType, Element, Hook, Nft, Operation, Position, Removal, Rule, Set, Table,
    TableFamily, Transaction, Verdict, priority,
};
use kernel::testing::TestNs;
use nix::errno::Errno;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

struct Bench {
    space: TestNs,
    nft: Nft,
    table: Table,
    chain: Chain,
    set: Set,
}

impl Bench {
    fn new() -> Self {
        let space = TestNs::new("nftcommit");
        let nft = Nft::open_in(space.namespace()).unwrap();
        let table = Table::new(TableFamily::Inet, "t");
        let chain = Chain::base(table.name.chain("c"), ChainType::Filter, Hook::Input, priority::FILTER);
        let set = Set::new(table.name.set("s"), [DataType::Ip4]);
        let mut bench = Self { space, nft, table, chain, set };
        let (table, chain, set) = (bench.table.clone(), bench.chain.clone(), bench.set.clone());
        let mut transaction = Transaction::new();
        transaction.add_table(table).add_chain(chain).add_set(set);
        bench.nft.commit(&transaction).unwrap();
        bench
    }

    fn ruleset(&self) -> String {
        self.space.run("nft", &["-a", "list", "ruleset"])
    }

    fn comments(&mut self) -> Vec<String> {
        let rules = self.nft.list_rules(&self.table.name).unwrap();
        rules.into_iter().filter_map(|rule| rule.rule.comment).collect()
    }

    fn handle(&mut self, comment: &str) -> u64 {
        let rules = self.nft.list_rules(&self.table.name).unwrap();
        rules.iter().find(|rule| rule.rule.comment.as_deref() == Some(comment)).unwrap().handle
    }
}

#[test]
fn one_bad_operation_undoes_all_and_is_named() {
    let mut bench = Bench::new();
    let before = bench.ruleset();
    let mut transaction = Transaction::new();
    transaction
        .add_elements(&bench.set, vec![Element::new(ip("10.0.0.1"))])
        .add_chain(Chain::new(bench.table.name.chain("new")))
        .add_rule(&bench.chain.name, Rule::new().jump("nowhere").comment("leads nowhere"))
        .add_rule(&bench.chain.name, Rule::new().accept());
    let refused = bench.nft.commit(&transaction).unwrap_err();
    assert_eq!(refused.operation, Some(2));
    assert_eq!(refused.error.errno, Errno::ENOENT);
    let text = refused.to_string();
    assert!(text.contains("nothing was changed: add rule inet t c (leads nowhere)"), "{text}");
    assert_eq!(bench.ruleset(), before);
}

#[test]
fn of_many_elements_the_one_at_fault_is_named() {
    let mut bench = Bench::new();
    let mut elements: Vec<_> = (0..9000u32).map(|n| Element::new(Ipv4Addr::from(0x0a00_0000 + n))).collect();
    elements[8765] = Element::new(ip("fd00::1"));
    let mut transaction = Transaction::new();
    transaction.add_elements(&bench.set, elements);
    let refused = bench.nft.commit(&transaction).unwrap_err();
    assert_eq!((refused.operation, refused.element), (Some(0), Some(8765)));
    assert_eq!(refused.error.operation, "add element fd00::1 to inet t s");
    assert!(bench.nft.list_elements(&bench.set.clone()).unwrap().is_empty());

    let mut transaction = Transaction::new();
    transaction.delete_elements(&bench.set, vec![Element::new(ip("10.9.9.9"))]);
    let refused = bench.nft.commit(&transaction).unwrap_err();
    assert!(refused.error.is_not_found());
    assert_eq!(refused.error.operation, "delete element 10.9.9.9 of inet t s");
}

#[test]
fn more_errors_than_fit_the_socket_still_name_the_first() {
    let mut bench = Bench::new();
    let mut transaction = Transaction::new();
    for n in 0..20_000 {
        transaction.add_rule(&bench.chain.name, Rule::new().jump(format!("missing{n}")));
    }
    let refused = bench.nft.commit(&transaction).unwrap_err();
    assert_eq!(refused.operation, Some(0));
    // The connection is as good as before.
    let mut transaction = Transaction::new();
    transaction.add_elements(&bench.set, vec![Element::new(ip("10.0.0.1"))]);
    bench.nft.commit(&transaction).unwrap();
}

#[test]
fn a_clash_of_definitions_or_data_is_refused() {
    let mut bench = Bench::new();
    let mut transaction = Transaction::new();
    transaction.add_set(Set::new(bench.set.name.clone(), [DataType::Ip6]));
    let refused = bench.nft.commit(&transaction).unwrap_err();
    assert!(refused.error.is_exists(), "{refused}");
    assert_eq!(refused.error.operation, "add set inet t s");

    let map = Set::new(bench.table.name.set("m"), [DataType::Ip4]).verdicts();
    let element = |verdict| Element::new(ip("10.0.0.1")).verdict(verdict);
    let mut transaction = Transaction::new();
    transaction.add_set(map.clone()).add_elements(&map, vec![element(Verdict::Drop)]);
    bench.nft.commit(&transaction).unwrap();
    let mut transaction = Transaction::new();
    transaction.add_elements(&map, vec![element(Verdict::Accept)]);
    assert!(bench.nft.commit(&transaction).unwrap_err().error.is_exists());
    // Taken away and added in one transaction it changes, and there is no moment without it.
    let mut transaction = Transaction::new();
    transaction
        .delete_elements(&map, vec![element(Verdict::Drop)])
        .add_elements(&map, vec![element(Verdict::Accept)]);
    bench.nft.commit(&transaction).unwrap();
    assert_eq!(bench.nft.list_elements(&map).unwrap(), [element(Verdict::Accept)]);
}

#[test]
fn what_must_be_new_is_refused_if_it_is_there_and_one_element_is_read_by_its_key() {
    let mut bench = Bench::new();
    let map =
        Set::new(bench.table.name.set("m"), [DataType::Protocol, DataType::Port]).values([DataType::Ip4]);
    let element = |comment: &str| Element::new((6u8, 80u16)).value(ip("10.0.0.1")).comment(comment);
    let create = |comment: &str| {
        let mut transaction = Transaction::new();
        transaction.create_elements(&map, vec![element(comment)]);
        transaction
    };
    let absent = bench.nft.commit(&create("first")).unwrap_err();
    assert!(absent.error.is_not_found() && absent.operation == Some(0), "{absent}");
    let mut transaction = Transaction::new();
    transaction.add_set(map.clone()).append(create("first"));
    bench.nft.commit(&transaction).unwrap();
    let refused = bench.nft.commit(&create("second")).unwrap_err();
    assert!(refused.error.is_exists() && refused.element == Some(0), "{refused}");
    assert_eq!(refused.error.operation, "create element 6 . 80 : 10.0.0.1 in inet t m");
    assert_eq!(bench.nft.get_element(&map, &(6u8, 80u16).into()).unwrap(), Some(element("first")));
    assert_eq!(bench.nft.get_element(&map, &(6u8, 81u16).into()).unwrap(), None);
    let gone = Set::new(bench.table.name.set("gone"), [DataType::Ip4]);
    assert_eq!(bench.nft.get_element(&gone, &ip("10.0.0.1").into()).unwrap(), None);
    for transaction in [
        Transaction::new().create_table(bench.table.clone()),
        Transaction::new().create_chain(bench.chain.clone()),
    ] {
        assert!(bench.nft.commit(transaction).unwrap_err().error.is_exists());
    }
}

#[test]
fn what_is_in_use_cannot_be_removed_but_can_together_with_its_user() {
    let mut bench = Bench::new();
    let target = bench.table.name.chain("target");
    let using = Rule::new().in_set(&[kernel::nft::Field::Ip4Source], "s").jump("target");
    let mut transaction = Transaction::new();
    transaction.add_chain(Chain::new(target.clone())).add_rule(&bench.chain.name, using);
    bench.nft.commit(&transaction).unwrap();
    let mut transaction = Transaction::new();
    transaction.delete_set(bench.set.name.clone());
    let refused = bench.nft.commit(&transaction).unwrap_err();
    assert_eq!((refused.error.errno, &*refused.error.operation), (Errno::EBUSY, "delete set inet t s"));
    let mut transaction = Transaction::new();
    transaction.flush_chain(bench.chain.name.clone()).delete_chain(target).delete_set(bench.set.name.clone());
    bench.nft.commit(&transaction).unwrap();
    assert!(bench.nft.list_sets(&bench.table.name).unwrap().is_empty());
}

#[test]
fn a_change_in_between_is_noticed() {
    let mut bench = Bench::new();
    let generation = bench.nft.generation().unwrap();
    bench.space.run("nft", &["add", "table", "ip", "foreign"]);
    let mut transaction = Transaction::new();
    transaction.add_elements(&bench.set, vec![Element::new(ip("10.0.0.1"))]);
    let refused = bench.nft.commit_if(&transaction, generation).unwrap_err();
    assert_eq!((refused.operation, refused.error.errno), (None, Errno::ERESTART));
    let generation = bench.nft.generation().unwrap();
    bench.nft.commit_if(&transaction, generation).unwrap();
}

#[test]
fn rules_stand_where_they_were_put() {
    let mut bench = Bench::new();
    let chain = bench.chain.name.clone();
    let rule = |comment: &str| Rule::new().counter().comment(comment);
    let mut transaction = Transaction::new();
    transaction.add_rule(&chain, rule("b")).add_rule(&chain, rule("d")).insert_rule(&chain, rule("a"));
    bench.nft.commit(&transaction).unwrap();
    let (b, d) = (bench.handle("b"), bench.handle("d"));
    let mut transaction = Transaction::new();
    transaction
        .push(Operation::AddRule(chain.clone(), Position::After(b), rule("c")))
        .push(Operation::AddRule(chain.clone(), Position::Before(d), rule("c2")))
        .push(Operation::ReplaceRule(chain.clone(), d, rule("D")));
    bench.nft.commit(&transaction).unwrap();
    assert_eq!(bench.comments(), ["a", "b", "c", "c2", "D"]);
    let c = bench.handle("c");
    let mut transaction = Transaction::new();
    transaction.delete_rule(&chain, c);
    bench.nft.commit(&transaction).unwrap();
    assert_eq!(bench.comments(), ["a", "b", "c2", "D"]);
    let mut transaction = Transaction::new();
    transaction.push(Operation::FlushTable(bench.table.name.clone()));
    bench.nft.commit(&transaction).unwrap();
    assert!(bench.comments().is_empty());
}

#[test]
fn destroying_what_is_gone_is_no_error_and_deleting_it_is_one() {
    let mut bench = Bench::new();
    let table = &bench.table.name;
    let gone = Set::new(table.set("gone"), [DataType::Ip4]);
    let destroy = Removal::Destroy;
    let mut transaction = Transaction::new();
    transaction
        .push(Operation::RemoveRule(bench.chain.name.clone(), 999, destroy))
        .push(Operation::RemoveChain(table.chain("gone"), destroy))
        .push(Operation::RemoveSet(gone.name.clone(), destroy))
        .push(Operation::RemoveElements(
            bench.set.name.clone(),
            bench.set.shape(),
            destroy,
            vec![Element::new(ip("10.0.0.1"))],
        ))
        .destroy_table(Table::new(TableFamily::Bridge, "gone").name);
    bench.nft.commit(&transaction).unwrap();
    for (operation, name) in [
        (Operation::RemoveChain(table.chain("gone"), Removal::Delete), "delete chain inet t gone"),
        (Operation::RemoveSet(gone.name, Removal::Delete), "delete set inet t gone"),
    ] {
        let mut transaction = Transaction::new();
        transaction.push(operation);
        let refused = bench.nft.commit(&transaction).unwrap_err();
        assert!(refused.error.is_not_found());
        assert_eq!(refused.error.operation, name);
    }
    let mut transaction = Transaction::new();
    transaction.delete_table(bench.table.name.clone());
    bench.nft.commit(&transaction).unwrap();
    assert_eq!(bench.ruleset(), "");
    assert!(bench.nft.list_chains(&bench.table.name).unwrap().is_empty());
    assert!(bench.nft.list_rules(&bench.table.name).unwrap().is_empty());
    assert!(bench.nft.list_sets(&bench.table.name).unwrap().is_empty());
}

#[test]
fn foreign_tables_stay_byte_for_byte_the_same() {
    let mut bench = Bench::new();
    bench
        .space
        .run("nft", &["add table ip other; add chain ip other c { type filter hook input priority 5; }"]);
    bench.space.run("nft", &["add rule ip other c tcp dport { 22, 80 } counter accept"]);
    let before = bench.space.run("nft", &["-a", "list", "table", "ip", "other"]);
    let mut transaction = Transaction::new();
    transaction
        .delete_table(bench.table.name.clone())
        .add_table(bench.table.clone())
        .add_chain(bench.chain.clone())
        .add_rule(&bench.chain.name, Rule::new().counter());
    bench.nft.commit(&transaction).unwrap();
    assert_eq!(bench.space.run("nft", &["-a", "list", "table", "ip", "other"]), before);
}

#[test]
fn nothing_to_do_is_not_sent() {
    let mut bench = Bench::new();
    let before = bench.nft.generation().unwrap();
    let mut transaction = Transaction::new();
    transaction.add_elements(&bench.set, Vec::new()).delete_elements(&bench.set, Vec::new());
    assert!(transaction.is_empty());
    bench.nft.commit(&transaction).unwrap();
    assert_eq!(bench.nft.generation().unwrap(), before);
}
