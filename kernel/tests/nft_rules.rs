//! Rules and chains as `nft` sees them, and as they read back.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]

use std::net::IpAddr;

use kernel::nft::{
    Chain, ChainType, Comparison, CtState, CtStatus, DataType, Field, Hook, NatFlags, Nft, Policy, Reject,
    Rule, Set, Table, TableFamily, TimeUnit, Transaction, Unreachable, address_type, priority,
};
use kernel::testing::TestNs;
use prefix::Family;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Rules and what `nft list` calls them.
fn cases() -> Vec<(Rule, &'static str)> {
    let tuple = [Field::Ip4Destination, Field::L4Proto, Field::DestinationPort];
    vec![
        (
            Rule::new().state(CtState::ESTABLISHED | CtState::RELATED).counter().accept(),
            "ct state established,related counter packets 0 bytes 0 accept",
        ),
        (Rule::new().state(CtState::UNTRACKED).drop(), "ct state untracked drop"),
        (Rule::new().any_bit(Field::CtStatus, CtStatus::DESTINATION_NAT.0).accept(), "ct status dnat accept"),
        (Rule::new().equals(Field::CtDirection, 1u8).accept(), "ct direction reply accept"),
        (Rule::new().equals(Field::CtMark, 7u32).accept(), "ct mark 0x00000007 accept"),
        (Rule::new().equals(Field::InputName, "eth0").drop(), "iifname \"eth0\" drop"),
        (
            Rule::new().differs(Field::OutputName, "kube-bridge").return_(),
            "oifname != \"kube-bridge\" return",
        ),
        (Rule::new().equals(Field::InputIndex, 1u32).accept(), "iif \"lo\" accept"),
        (Rule::new().equals(Field::PacketType, 2u8).accept(), "meta pkttype multicast accept"),
        (Rule::new().family(Family::V6).drop(), "meta nfproto ipv6 drop"),
        (Rule::new().protocol(17).drop(), "meta l4proto udp drop"),
        (Rule::new().masked(Field::Mark, 0x4000, 0x4000).drop(), "meta mark & 0x00004000 == 0x00004000 drop"),
        (Rule::new().set_mark(0x4000, 0x4000), "meta mark set meta mark | 0x00004000"),
        (Rule::new().set_mark(5, u32::MAX), "meta mark set 0x00000005"),
        (Rule::new().save_mark(), "ct mark set meta mark"),
        (Rule::new().restore_mark(), "meta mark set ct mark"),
        (Rule::new().source(&"10.244.0.0/16".parse().unwrap()).accept(), "ip saddr 10.244.0.0/16 accept"),
        (Rule::new().source(&"10.128.0.0/9".parse().unwrap()).accept(), "ip saddr 10.128.0.0/9 accept"),
        (Rule::new().destination(&"192.0.2.1/32".parse().unwrap()).drop(), "ip daddr 192.0.2.1 drop"),
        (Rule::new().source(&"fd00:10::/60".parse().unwrap()).drop(), "ip6 saddr fd00:10::/60 drop"),
        (Rule::new().destination(&"::/0".parse().unwrap()).drop(), "meta nfproto ipv6 drop"),
        (Rule::new().not_to(&"192.0.2.0/24".parse().unwrap()).drop(), "ip daddr != 192.0.2.0/24 drop"),
        (Rule::new().not_to(&"fd00:10::/64".parse().unwrap()).drop(), "ip6 daddr != fd00:10::/64 drop"),
        (Rule::new().to_port(6, 80).accept(), "tcp dport 80 accept"),
        (
            Rule::new().protocol(17).between(Field::DestinationPort, 100u16, 200u16).accept(),
            "udp dport 100-200 accept",
        ),
        (
            Rule::new()
                .protocol(132)
                .compare(Field::SourcePort, Comparison::GreaterOrEqual, 1024u16)
                .accept(),
            "sctp sport >= 1024 accept",
        ),
        (Rule::new().equals(Field::IcmpType, 8u8).accept(), "icmp type echo-request accept"),
        (Rule::new().between(Field::Icmp6Type, 133u8, 136u8).accept(), "icmpv6 type 133-136 accept"),
        (Rule::new().equals(Field::SourceType, address_type::LOCAL).accept(), "fib saddr type local accept"),
        (
            Rule::new().differs(Field::DestinationType, address_type::LOCAL).drop(),
            "fib daddr type != local drop",
        ),
        (Rule::new().in_set(&tuple, "tuples").accept(), "ip daddr . meta l4proto . th dport @tuples accept"),
        (Rule::new().not_in_set(&[Field::Ip6Source], "six").drop(), "ip6 saddr != @six drop"),
        (Rule::new().verdict_map(&[Field::Ip4Source], "verdicts"), "ip saddr vmap @verdicts"),
        (Rule::new().equals(Field::Random(2), 1u32).drop(), "numgen random mod 2 1 drop"),
        (Rule::new().equals(Field::RoundRobin(3), 0u32).drop(), "numgen inc mod 3 0 drop"),
        (Rule::new().limit(10, TimeUnit::Minute, 7).drop(), "limit rate 10/minute burst 7 packets drop"),
        (Rule::new().log_group(100, "policy "), "log prefix \"policy \" group 100"),
        (
            Rule::new().limit(100, TimeUnit::Second, 200).log_begin_of(100, 96, "policy "),
            "limit rate 100/second burst 200 packets log prefix \"policy \" group 100 snaplen 96",
        ),
        (Rule::new().reject(Reject::TcpReset), "meta l4proto tcp reject with tcp reset"),
        (
            Rule::new().protocol(132).reject(Reject::ProtocolUnreachable),
            "meta l4proto sctp reject with icmp prot-unreachable",
        ),
        (
            Rule::new().reject(Reject::Unreachable(Unreachable::AdminProhibited)),
            "reject with icmpx admin-prohibited",
        ),
        (Rule::new().jump("other"), "jump other"),
        (Rule::new().goto("other").comment("the other way"), "goto other comment \"the other way\""),
    ]
}

fn nat_cases() -> Vec<(Rule, &'static str)> {
    let none = NatFlags::default();
    vec![
        (
            Rule::new().masked(Field::Mark, 0x4000, 0x4000).masquerade(NatFlags::FULLY_RANDOM),
            "meta mark & 0x00004000 == 0x00004000 masquerade fully-random",
        ),
        (Rule::new().masquerade(none), "masquerade"),
        (Rule::new().snat(address("192.0.2.9"), None, none), "meta nfproto ipv4 snat ip to 192.0.2.9"),
        (
            Rule::new().snat(address("fd00::9"), Some(4000), NatFlags::PERSISTENT),
            "meta nfproto ipv6 snat ip6 to [fd00::9]:4000 persistent",
        ),
    ]
}

fn dnat_cases() -> Vec<(Rule, &'static str)> {
    let none = NatFlags::default();
    vec![
        (
            Rule::new().to_port(6, 8080).dnat(address("10.244.1.5"), Some(80), none),
            "tcp dport 8080 meta nfproto ipv4 dnat ip to 10.244.1.5:80",
        ),
        (Rule::new().dnat(address("fd00::5"), None, none), "meta nfproto ipv6 dnat ip6 to fd00::5"),
        (
            Rule::new().dnat_map(&[Field::L4Proto, Field::DestinationPort], "ports4", Family::V4, true),
            "meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4",
        ),
        (
            Rule::new().dnat_map(&[Field::L4Proto, Field::DestinationPort], "ports6", Family::V6, true),
            "meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6",
        ),
        (Rule::new().protocol(6).redirect(Some(15001)), "meta l4proto tcp redirect to :15001"),
    ]
}

/// Commits the rules into a chain and compares with what `nft` prints and with what reads back.
fn check(chain: &Chain, cases: &[(Rule, &str)]) {
    let space = TestNs::new("nftrule");
    let mut nft = Nft::open_in(space.namespace()).unwrap();
    let table = Table::new(TableFamily::Inet, "t");
    let named = |name: &str| table.name.set(name);
    let ports = [DataType::Protocol, DataType::Port];
    let mut transaction = Transaction::new();
    transaction
        .add_table(table.clone())
        .add_set(Set::new(named("tuples"), [DataType::Ip4, DataType::Protocol, DataType::Port]))
        .add_set(Set::new(named("six"), [DataType::Ip6]))
        .add_set(Set::new(named("verdicts"), [DataType::Ip4]).verdicts())
        .add_set(Set::new(named("ports4"), ports).values([DataType::Ip4, DataType::Port]))
        .add_set(Set::new(named("ports6"), ports).values([DataType::Ip6, DataType::Port]))
        .add_chain(Chain::new(table.name.chain("other")))
        .add_chain(chain.clone());
    for (rule, _) in cases {
        transaction.add_rule(&chain.name, rule.clone());
    }
    nft.commit(&transaction).unwrap();

    let printed = space.run("nft", &["-y", "list", "chain", "inet", "t", &chain.name.name]);
    let lines: Vec<_> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    for (at, (_, expected)) in cases.iter().enumerate() {
        // Two lines of chain head stand before the rules.
        assert_eq!(&lines[at + 3], expected, "rule {at} of\n{printed}");
    }
    let listed: Vec<_> = nft.list_rules(&table.name).unwrap().into_iter().map(|rule| rule.rule).collect();
    let written: Vec<_> = cases.iter().map(|(rule, _)| rule.clone()).collect();
    assert_eq!(listed, written);
    let chains = nft.list_chains(&table.name).unwrap();
    assert!(
        chains
            .iter()
            .any(|listed| listed.chain == *chain && usize::try_from(listed.users) == Ok(cases.len()))
    );
}

#[test]
fn every_match_and_verdict_is_what_nft_shows() {
    let table = Table::new(TableFamily::Inet, "t");
    let chain = Chain::base(table.name.chain("c"), ChainType::Filter, Hook::Forward, priority::FILTER)
        .policy(Policy::Drop)
        .comment("judges what passes through");
    let space = TestNs::new("nfthead");
    let mut nft = Nft::open_in(space.namespace()).unwrap();
    let mut transaction = Transaction::new();
    transaction.add_table(table).add_chain(chain.clone());
    nft.commit(&transaction).unwrap();
    let printed = space.run("nft", &["-y", "list", "ruleset"]);
    assert!(printed.contains("type filter hook forward priority 0; policy drop;"), "{printed}");
    assert!(printed.contains("comment \"judges what passes through\""), "{printed}");
    check(&Chain { comment: None, ..chain }, &cases());
}

#[test]
fn address_translation_is_what_nft_shows() {
    let table = Table::new(TableFamily::Inet, "t");
    let chain =
        |name: &str, hook, priority| Chain::base(table.name.chain(name), ChainType::Nat, hook, priority);
    check(&chain("post", Hook::Postrouting, priority::SRCNAT), &nat_cases());
    check(&chain("pre", Hook::Prerouting, priority::DSTNAT), &dnat_cases());
}

#[test]
fn tracking_can_be_switched_off_before_it_begins() {
    let table = Table::new(TableFamily::Inet, "t");
    let chain = Chain::base(table.name.chain("raw"), ChainType::Filter, Hook::Prerouting, priority::RAW);
    check(&chain, &[(Rule::new().equals(Field::InputName, "lo").notrack(), "iifname \"lo\" notrack")]);
}

#[test]
fn every_family_and_hook_of_a_base_chain_is_accepted_and_reads_back() {
    let space = TestNs::new("nfthook");
    let mut nft = Nft::open_in(space.namespace()).unwrap();
    let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    for family in [TableFamily::Inet, TableFamily::Ip4, TableFamily::Ip6, TableFamily::Bridge] {
        let table = Table::new(family, "t").comment("one of each");
        let mut transaction = Transaction::new();
        transaction.add_table(table.clone());
        let chains: Vec<_> = hooks
            .iter()
            .map(|hook| {
                Chain::base(table.name.chain(format!("{hook:?}")), ChainType::Filter, *hook, priority::MANGLE)
            })
            .collect();
        for chain in &chains {
            transaction.add_chain(chain.clone());
        }
        nft.commit(&transaction).unwrap();
        let listed: Vec<_> =
            nft.list_chains(&table.name).unwrap().into_iter().map(|listed| listed.chain).collect();
        assert_eq!(listed, chains);
        assert!(nft.list_tables().unwrap().iter().any(|listed| listed.table == table));
    }
    let table = Table::new(TableFamily::Netdev, "t");
    let ingress =
        Chain::base(table.name.chain("in"), ChainType::Filter, Hook::Ingress, priority::FILTER).device("lo");
    let mut transaction = Transaction::new();
    transaction.add_table(table.clone()).add_chain(ingress.clone());
    nft.commit(&transaction).unwrap();
    assert_eq!(nft.list_chains(&table.name).unwrap()[0].chain, ingress);
}

#[test]
fn in_a_bridge_table_rules_tell_families_by_the_ethernet_type() {
    let space = TestNs::new("nftbridge");
    let mut nft = Nft::open_in(space.namespace()).unwrap();
    let table = Table::new(TableFamily::Bridge, "t");
    let chain = Chain::base(table.name.chain("c"), ChainType::Filter, Hook::Forward, priority::FILTER);
    let rule = Rule::new()
        .equals(Field::EtherType, 0x0800u16)
        .equals(Field::InputName, "veth0")
        .source(&"10.0.0.1".parse().unwrap())
        .drop();
    let mut transaction = Transaction::new();
    transaction.add_table(table.clone()).add_chain(chain.clone()).add_rule(&chain.name, rule.clone());
    nft.commit(&transaction).unwrap();
    let printed = space.run("nft", &["list", "table", "bridge", "t"]);
    assert!(printed.contains("iifname \"veth0\" ip saddr 10.0.0.1 drop"), "{printed}");
    assert_eq!(nft.list_rules(&table.name).unwrap()[0].rule, rule);
}

#[test]
fn what_nft_wrote_reads_back_without_loss_of_what_is_not_understood() {
    let space = TestNs::new("nftforeign");
    space.run("nft", &["add table inet f; add chain inet f c { type filter hook input priority 0; }"]);
    for rule in [
        "tcp flags syn tcp option maxseg size set 1400",
        "ip saddr 10.0.0.0/8 tcp dport { 80, 443 } accept",
        "meta cgroup 7 drop",
    ] {
        space.run("nft", &["add rule inet f c", rule]);
    }
    let mut nft = Nft::open_in(space.namespace()).unwrap();
    let table = Table::new(TableFamily::Inet, "f").name;
    let rules = nft.list_rules(&table).unwrap();
    assert_eq!(rules.len(), 3);
    assert!(rules[0].rule != rules[1].rule);
    assert!(nft.list_sets(&table).unwrap().iter().all(|listed| listed.set.is_none()));
    // A rule that was read can be written again, whoever made it.
    let chain = table.chain("again");
    let mut transaction = Transaction::new();
    transaction.add_chain(Chain::new(chain.clone())).add_rule(&chain, rules[2].rule.clone());
    nft.commit(&transaction).unwrap();
    let printed = space.run("nft", &["list", "chain", "inet", "f", "again"]);
    assert!(printed.contains("meta cgroup 7 drop"), "{printed}");
}
