//! Sets, maps and verdict maps of every shape, as `nft` sees them and as they read back.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use kernel::nft::{
    Chain, DataType, Element, Expression, Key, Nft, Set, Span, Table, TableFamily, TableName, TimeUnit,
    Transaction, Verdict,
};
use kernel::testing::TestNs;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Element {
    Element::prefix(&text.parse().unwrap())
}

struct Bench {
    space: TestNs,
    nft: Nft,
    table: TableName,
}

impl Bench {
    fn new() -> Self {
        let space = TestNs::new("nftset");
        let mut nft = Nft::open_in(space.namespace()).unwrap();
        let table = Table::new(TableFamily::Inet, "t");
        let mut transaction = Transaction::new();
        transaction.add_table(table.clone()).add_chain(Chain::new(table.name.chain("pod")));
        nft.commit(&transaction).unwrap();
        Self { space, nft, table: table.name }
    }

    /// Adds the set with its elements, asks `nft`, and reads both back.
    fn check(&mut self, set: &Set, elements: &[Element], shown: &[&str]) {
        let mut transaction = Transaction::new();
        transaction.add_set(set.clone()).add_elements(set, elements.to_vec());
        self.nft.commit(&transaction).unwrap();
        let kind = if set.data.is_some() { "map" } else { "set" };
        let printed = self.space.run("nft", &["-n", "list", kind, "inet", "t", &set.name.name]);
        let flat = printed.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in shown {
            assert!(flat.contains(text), "no {text:?} in {printed}");
        }
        let listed = self.nft.list_sets(&self.table).unwrap();
        let found = listed.iter().find(|listed| listed.name == set.name).unwrap();
        assert_eq!(found.set.as_ref(), Some(set));
        let mut expected = elements.to_vec();
        expected.sort();
        assert_eq!(self.nft.list_elements(set).unwrap(), expected);
        // Adding what is there changes nothing.
        self.nft.commit(&transaction).unwrap();
        assert_eq!(self.nft.list_elements(set).unwrap(), expected);
        self.half_can_be_removed(set, &expected);
    }

    fn half_can_be_removed(&mut self, set: &Set, elements: &[Element]) {
        let (gone, kept) = elements.split_at(elements.len() / 2);
        let mut transaction = Transaction::new();
        transaction.delete_elements(set, gone.to_vec());
        self.nft.commit(&transaction).unwrap();
        assert_eq!(self.nft.list_elements(set).unwrap(), kept);
        transaction = Transaction::new();
        transaction.flush_set(set.name.clone()).delete_set(set.name.clone());
        self.nft.commit(&transaction).unwrap();
        assert!(self.nft.list_sets(&self.table).unwrap().is_empty());
    }
}

#[test]
fn sets_of_single_keys_of_every_type() {
    let mut bench = Bench::new();
    let set = |name: &str, kind| Set::new(bench.table.set(name), [kind]);
    let cases: Vec<(Set, Vec<Element>, Vec<&str>)> = vec![
        (
            set("a4", DataType::Ip4).comment("peers of default/web"),
            vec![Element::new(ip("10.244.0.1")), Element::new(ip("10.244.255.255")).comment("last")],
            vec!["type ipv4_addr", "comment \"peers of default/web\"", "10.244.255.255 comment \"last\""],
        ),
        (
            set("a6", DataType::Ip6),
            vec![Element::new(ip("fd00::1")), Element::new(ip("64:ff9b::1"))],
            vec!["type ipv6_addr", "fd00::1", "64:ff9b::1"],
        ),
        (
            set("ports", DataType::Port).size(16),
            vec![Element::new(80u16), Element::new(443u16)],
            vec!["type inet_service", "size 16", "80", "443"],
        ),
        (
            set("protocols", DataType::Protocol),
            vec![Element::new(6u8), Element::new(132u8)],
            vec!["type inet_proto", "elements = { 6, 132 }"],
        ),
        (
            set("marks", DataType::Mark),
            vec![Element::new(0x4000u32), Element::new(1u32)],
            vec!["type mark", "0x00000001, 0x00004000"],
        ),
        (
            set("names", DataType::InterfaceName),
            vec![Element::new("eth0"), Element::new("kube-bridge")],
            vec!["type ifname", "\"eth0\"", "\"kube-bridge\""],
        ),
        (
            set("macs", DataType::Ether),
            vec![Element::new([10, 88, 0, 0, 0, 1]), Element::new([10, 88, 0, 0, 0, 2])],
            vec!["type ether_addr", "0a:58:00:00:00:01"],
        ),
    ];
    for (set, elements, shown) in cases {
        bench.check(&set, &elements, &shown);
    }
}

#[test]
fn every_element_of_a_set_has_its_own_counter_and_limit() {
    let mut bench = Bench::new();
    let limit = Expression::Limit { rate: 10, unit: TimeUnit::Second, burst: 20, over: false };
    let counted = Set::new(bench.table.set("counted"), [DataType::Ip4]).each([Expression::Counter]);
    let limited = Set::new(bench.table.set("limited"), [DataType::Ip6]).each([Expression::Counter, limit]);
    let zero = "counter packets 0 bytes 0";
    bench.check(
        &counted,
        &[Element::new(ip("10.244.0.1")), Element::new(ip("10.244.0.2"))],
        &[&format!("10.244.0.1 {zero}")],
    );
    bench.check(
        &limited,
        &[Element::new(ip("fd00::1")), Element::new(ip("fd00::2"))],
        &[&format!("fd00::1 {zero} limit rate 10/second burst 20 packets")],
    );
}

#[test]
fn intervals_of_both_families_hold_prefixes_ranges_and_everything() {
    let mut bench = Bench::new();
    let set = |name: &str, kind| Set::new(bench.table.set(name), [kind]).intervals();
    let (four, six) = (set("i4", DataType::Ip4), set("i6", DataType::Ip6));
    let ports = set("some-ports", DataType::Port);
    bench.check(
        &four,
        &[
            prefix("10.0.0.0/8"),
            // A neighbour begins where the one before ends.
            prefix("11.0.0.0/8"),
            prefix("192.0.2.7/32"),
            Element::range(ip("198.51.100.3"), ip("198.51.100.200")),
            prefix("240.0.0.0/4"),
        ],
        &[
            "flags interval",
            "10.0.0.0/8, 11.0.0.0/8",
            "192.0.2.7",
            "198.51.100.3-198.51.100.200",
            "240.0.0.0/4",
        ],
    );
    bench.check(&four, &[prefix("0.0.0.0/0")], &["0.0.0.0/0"]);
    bench.check(
        &six,
        &[prefix("64:ff9b::/96"), prefix("fd00::/8"), prefix("ff00::/8")],
        &["64:ff9b::/96", "fd00::/8", "ff00::/8"],
    );
    bench.check(&six, &[prefix("::/0")], &["::/0"]);
    bench.check(&ports, &[Element::new(80u16), Element::range(1024u16, 65535u16)], &["80", "1024-65535"]);
}

#[test]
fn concatenations_with_and_without_ranges_in_both_families() {
    let mut bench = Bench::new();
    let tuple = |kind| vec![kind, DataType::Protocol, DataType::Port];
    let service4 = Set::new(bench.table.set("s4"), tuple(DataType::Ip4));
    let service6 = Set::new(bench.table.set("s6"), tuple(DataType::Ip6));
    let blocks4 = Set::new(bench.table.set("b4"), tuple(DataType::Ip4)).intervals();
    let blocks6 = Set::new(bench.table.set("b6"), tuple(DataType::Ip6)).intervals();
    let ports = Set::new(bench.table.set("p"), [DataType::Protocol, DataType::Port]).intervals();
    bench.check(
        &service4,
        &[Element::new((ip("10.96.0.1"), 6u8, 443u16)), Element::new((ip("10.96.0.10"), 17u8, 53u16))],
        &["type ipv4_addr . inet_proto . inet_service", "10.96.0.10 . 17 . 53"],
    );
    bench.check(
        &service6,
        &[Element::new((ip("fd00:96::1"), 6u8, 443u16)), Element::new((ip("fd00:96::10"), 132u8, 1u16))],
        &["fd00:96::10 . 132 . 1"],
    );
    bench.check(
        &blocks4,
        &[
            Element::range((ip("10.0.0.0"), 6u8, 80u16), (ip("10.255.255.255"), 6u8, 90u16)),
            Element::new((ip("192.0.2.1"), 17u8, 53u16)),
        ],
        &["flags interval", "10.0.0.0/8 . 6 . 80-90", "192.0.2.1 . 17 . 53"],
    );
    bench.check(
        &blocks6,
        &[
            Element::range((ip("fd00::"), 6u8, 0u16), (ip("fd00::ffff"), 6u8, 65535u16)),
            Element::new((ip("fd00:1::1"), 6u8, 22u16)),
        ],
        &["fd00::/112 . 6 . 0-65535"],
    );
    bench.check(
        &ports,
        &[Element::range((6u8, 8000u16), (6u8, 8080u16)), Element::range((17u8, 0u16), (17u8, 65535u16))],
        &["6 . 8000-8080", "17 . 0-65535"],
    );
}

#[test]
fn maps_give_values_and_verdicts() {
    let mut bench = Bench::new();
    let named = |name: &str| bench.table.set(name);
    let to_pod = |element: Element| element.verdict(Verdict::Goto("pod".into()));
    let verdicts = Set::new(named("v4"), [DataType::Ip4]).verdicts();
    let verdicts6 = Set::new(named("v6"), [DataType::Ip6]).verdicts();
    let ranges = Set::new(named("vr"), [DataType::Ip4]).verdicts().intervals();
    let ports =
        Set::new(named("pm"), [DataType::Protocol, DataType::Port]).values([DataType::Ip4, DataType::Port]);
    let marks = Set::new(named("mm"), [DataType::Ip4]).values([DataType::Mark]).intervals();
    let concatenated = Set::new(named("vc"), [DataType::Ip4, DataType::Port]).verdicts().intervals();
    bench.check(
        &verdicts,
        &[
            to_pod(Element::new(ip("10.244.1.2"))),
            Element::new(ip("10.244.1.3")).verdict(Verdict::Jump("pod".into())),
            Element::new(ip("10.244.1.4")).verdict(Verdict::Drop),
            Element::new(ip("10.244.1.5")).verdict(Verdict::Accept),
        ],
        &["type ipv4_addr : verdict", "10.244.1.2 : goto pod", "10.244.1.3 : jump pod", "10.244.1.4 : drop"],
    );
    bench.check(
        &verdicts6,
        &[to_pod(Element::new(ip("fd00::2"))), Element::new(ip("fd00::3")).verdict(Verdict::Return)],
        &["fd00::2 : goto pod", "fd00::3 : return"],
    );
    bench.check(
        &ranges,
        &[
            to_pod(prefix("10.244.1.0/24")),
            Element::range(ip("10.0.0.1"), ip("10.0.0.9")).verdict(Verdict::Drop),
        ],
        &["10.244.1.0/24 : goto pod", "10.0.0.1-10.0.0.9 : drop"],
    );
    bench.check(
        &ports,
        &[
            Element::new((6u8, 8080u16)).value((ip("10.244.1.2"), 80u16)),
            Element::new((17u8, 53u16)).value((ip("10.244.1.3"), 5353u16)),
        ],
        &["6 . 8080 : 10.244.1.2 . 80"],
    );
    bench.check(
        &marks,
        &[prefix("10.0.0.0/8").value(0x4000u32), prefix("11.0.0.0/8").value(1u32)],
        &["10.0.0.0/8 : 0x00004000"],
    );
    bench.check(
        &concatenated,
        &[
            to_pod(Element::range((ip("10.0.0.0"), 80u16), (ip("10.0.0.255"), 90u16))),
            Element::new((ip("10.0.1.1"), 22u16)).verdict(Verdict::Drop),
        ],
        &["10.0.0.0/24 . 80-90 : goto pod"],
    );
}

#[test]
fn an_element_may_time_out_and_one_may_stand_for_all_others() {
    let mut bench = Bench::new();
    let timed = Set::new(bench.table.set("timed"), [DataType::Ip4]).timeouts();
    bench.check(
        &timed,
        &[Element::new(ip("10.0.0.1")).timeout(Duration::from_hours(1)), Element::new(ip("10.0.0.2"))],
        &["flags timeout", "10.0.0.1 timeout 3600s"],
    );
    let rest = Set::new(bench.table.set("rest"), [DataType::Ip4]).verdicts();
    let elements =
        [Element::new(ip("10.0.0.1")).verdict(Verdict::Accept), Element::others().verdict(Verdict::Drop)];
    bench.check(&rest, &elements, &["10.0.0.1 : accept", "* : drop"]);
    assert_eq!(elements[1].span, Span::Others);
}

#[test]
fn fifty_thousand_elements_are_one_commit() {
    let mut bench = Bench::new();
    let tuples = Set::new(bench.table.set("tuples"), [DataType::Ip4, DataType::Protocol, DataType::Port]);
    let verdicts = Set::new(bench.table.set("verdicts"), [DataType::Ip6]).verdicts();
    let blocks = Set::new(bench.table.set("blocks"), [DataType::Ip4]).intervals();
    let counted = |n: u32| Ipv4Addr::from(0x0a00_0000 + 4 * n);
    let of_tuples: Vec<_> = (0..20_000).map(|n| Element::new((counted(n), 6u8, 80u16))).collect();
    let of_verdicts: Vec<_> = (0..20_000u128)
        .map(|n| Element::new(Ipv6Addr::from(0xfd00 << 112 | n)).verdict(Verdict::Goto("pod".into())))
        .collect();
    let of_blocks: Vec<_> =
        (0..10_000).map(|n| Element::range(counted(n), Ipv4Addr::from(u32::from(counted(n)) + 1))).collect();

    let mut transaction = Transaction::new();
    transaction
        .add_set(tuples.clone())
        .add_set(verdicts.clone())
        .add_set(blocks.clone())
        .add_elements(&tuples, of_tuples.clone())
        .add_elements(&verdicts, of_verdicts.clone())
        .add_elements(&blocks, of_blocks.clone());
    let before = bench.nft.generation().unwrap();
    let start = Instant::now();
    bench.nft.commit(&transaction).unwrap();
    println!("50,000 elements committed in {:?}", start.elapsed());
    assert_eq!(bench.nft.generation().unwrap(), before + 1, "one commit is one generation");

    let start = Instant::now();
    assert_eq!(bench.nft.list_elements(&tuples).unwrap(), of_tuples);
    assert_eq!(bench.nft.list_elements(&verdicts).unwrap(), of_verdicts);
    assert_eq!(bench.nft.list_elements(&blocks).unwrap(), of_blocks);
    println!("50,000 elements read back in {:?}", start.elapsed());

    let mut transaction = Transaction::new();
    transaction.delete_elements(&tuples, of_tuples).flush_set(verdicts.name.clone());
    bench.nft.commit(&transaction).unwrap();
    assert!(bench.nft.list_elements(&tuples).unwrap().is_empty());
    assert!(bench.nft.list_elements(&verdicts).unwrap().is_empty());
}

#[test]
fn a_key_that_is_no_element_is_not_listed() {
    let mut bench = Bench::new();
    let missing = Set::new(bench.table.set("missing"), [DataType::Ip4]);
    assert!(bench.nft.list_elements(&missing).unwrap_err().is_not_found());
    assert!(Key::from(ip("::1")) != Key::from(ip("127.0.0.1")));
}
