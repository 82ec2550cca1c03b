//! Rule sets judged by what real packets meet.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kernel::nft::{
    Chain, ChainType, CtState, DataType, Element, Field, Hook, NatFlags, Nft, Policy, Reject, Rule, Set,
    Table, TableFamily, Transaction, Verdict, priority,
};
use kernel::testing::TestNs;
use prefix::Family;

/// Longer than an answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// A refused packet is silent; loopback-fast networks answer in far less than this.
const SILENCE: Duration = Duration::from_millis(400);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two namespaces with a wire between them: 10.9.0.1 and fd09::1 (client), 10.9.0.2, 10.9.0.3 and fd09::2 (server).
fn wired() -> (TestNs, TestNs) {
    let (client, server) = (TestNs::new("nftcli"), TestNs::new("nftsrv"));
    client.run("ip", &["link", "add", "w", "type", "veth", "peer", "name", "w", "netns", server.name()]);
    for (space, addresses) in [
        (&client, &["10.9.0.1/24", "fd09::1/64"][..]),
        (&server, &["10.9.0.2/24", "10.9.0.3/24", "fd09::2/64"][..]),
    ] {
        for address in addresses {
            let nodad = if address.contains(':') { vec!["nodad"] } else { vec![] };
            space.run("ip", &[&["addr", "add", address, "dev", "w"][..], &nodad].concat());
        }
        space.run("ip", &["link", "set", "w", "up"]);
    }
    (client, server)
}

/// Answers every connection to the port, on both families, with its number.
fn serve(server: &TestNs, port: u16) {
    let listener = server.run_in(|| TcpListener::bind(SocketAddr::new("::".parse().unwrap(), port)).unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(port.to_string().as_bytes());
        }
    });
}

/// What answers at the address, if anything does.
fn ask(client: &TestNs, address: &str, port: u16) -> Option<String> {
    ask_within(client, address, port, PATIENCE)
}

/// Nothing answers at the address.
fn is_silent(client: &TestNs, address: &str, port: u16) -> bool {
    ask_within(client, address, port, SILENCE).is_none()
}

fn ask_within(client: &TestNs, address: &str, port: u16, time: Duration) -> Option<String> {
    client.run_in(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip(address), port), time).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

/// Without rules all is open, once the kernel has noticed that the wire is up (IPv6 waits for that).
fn wait_until_open(client: &TestNs) {
    let answers = |address| (0..50).any(|_| !is_silent(client, address, 80));
    assert!(answers("10.9.0.2") && answers("fd09::2"));
}

fn base(table: &Table) -> Transaction {
    let name = table.name.chain("input");
    let input = Chain::base(name, ChainType::Filter, Hook::Input, priority::FILTER).policy(Policy::Drop);
    let mut transaction = Transaction::new();
    transaction
        .add_table(table.clone())
        .add_chain(input.clone())
        .add_rule(&input.name, Rule::new().state(CtState::ESTABLISHED | CtState::RELATED).accept())
        .add_rule(&input.name, Rule::new().between(Field::Icmp6Type, 133u8, 136u8).accept());
    transaction
}

#[test]
fn a_concatenated_set_admits_exactly_its_tuples_in_both_families() {
    let (client, server) = wired();
    for port in [80, 81] {
        serve(&server, port);
    }
    wait_until_open(&client);
    let table = Table::new(TableFamily::Inet, "t");
    let input = table.name.chain("input");
    let mut transaction = base(&table);
    for (family, address) in [(Family::V4, "10.9.0.2"), (Family::V6, "fd09::2")] {
        let kind = DataType::address(family);
        let set =
            Set::new(table.name.set(format!("open{family}")), [kind, DataType::Protocol, DataType::Port]);
        let fields = [Field::destination(family), Field::L4Proto, Field::DestinationPort];
        transaction
            .add_set(set.clone())
            .add_elements(&set, vec![Element::new((ip(address), 6u8, 80u16))])
            .add_rule(&input, Rule::new().in_set(&fields, &set.name.name).accept());
    }
    Nft::open_in(server.namespace()).unwrap().commit(&transaction).unwrap();
    for (address, port, open) in [
        ("10.9.0.2", 80, true),
        ("10.9.0.2", 81, false),
        ("10.9.0.3", 80, false),
        ("fd09::2", 80, true),
        ("fd09::2", 81, false),
    ] {
        let right =
            if open { ask(&client, address, port).is_some() } else { is_silent(&client, address, port) };
        assert!(right, "{address} port {port}");
    }
}

#[test]
fn a_verdict_map_sends_each_address_to_its_chain_and_a_change_counts_at_once() {
    let (client, server) = wired();
    serve(&server, 80);
    let table = Table::new(TableFamily::Inet, "t");
    let map = Set::new(table.name.set("map"), [DataType::Ip4]).verdicts();
    let pod = table.name.chain("pod");
    let gate = |address: &str| Element::new(ip(address)).verdict(Verdict::Goto("pod".into()));
    let mut transaction = base(&table);
    transaction
        .add_chain(Chain::new(pod.clone()))
        .add_rule(&pod, Rule::new().to_port(6, 80).counter().accept())
        .add_set(map.clone())
        .add_elements(&map, vec![gate("10.9.0.2")])
        .add_rule(&table.name.chain("input"), Rule::new().verdict_map(&[Field::Ip4Destination], "map"));
    let mut nft = Nft::open_in(server.namespace()).unwrap();
    nft.commit(&transaction).unwrap();
    assert!(ask(&client, "10.9.0.2", 80).is_some());
    assert!(is_silent(&client, "10.9.0.3", 80), "no verdict, so the chain's policy drops");
    let mut change = Transaction::new();
    change.delete_elements(&map, vec![gate("10.9.0.2")]).add_elements(&map, vec![gate("10.9.0.3")]);
    nft.commit(&change).unwrap();
    assert!(is_silent(&client, "10.9.0.2", 80));
    assert!(ask(&client, "10.9.0.3", 80).is_some());
    let counted = nft.list_rules(&table.name).unwrap().into_iter().find_map(|rule| rule.counter).unwrap();
    assert!(counted.0 >= 2, "the first packets of two connections");
}

#[test]
fn address_translation_and_refusal_with_an_answer() {
    let (client, server) = wired();
    serve(&server, 80);
    wait_until_open(&client);
    let table = Table::new(TableFamily::Inet, "t");
    let nat = Chain::base(table.name.chain("nat"), ChainType::Nat, Hook::Prerouting, priority::DSTNAT);
    let map = Set::new(table.name.set("ports"), [DataType::Protocol, DataType::Port])
        .values([DataType::Ip4, DataType::Port]);
    let input = Chain::base(table.name.chain("input"), ChainType::Filter, Hook::Input, priority::FILTER);
    let mut transaction = Transaction::new();
    transaction
        .add_table(table.clone())
        .add_chain(nat.clone())
        .add_chain(input.clone())
        .add_set(map.clone())
        .add_elements(&map, vec![Element::new((6u8, 8080u16)).value((ip("10.9.0.3"), 80u16))])
        .add_rule(
            &nat.name,
            Rule::new().dnat_map(&[Field::L4Proto, Field::DestinationPort], "ports", Family::V4, true),
        )
        .add_rule(&nat.name, Rule::new().to_port(6, 8081).redirect(Some(80)))
        .add_rule(&nat.name, Rule::new().to_port(6, 8082).dnat(ip("fd09::2"), Some(80), NatFlags::default()))
        .add_rule(&input.name, Rule::new().to_port(6, 25).reject(Reject::TcpReset));
    Nft::open_in(server.namespace()).unwrap().commit(&transaction).unwrap();
    assert_eq!(ask(&client, "10.9.0.2", 8080).as_deref(), Some("80"));
    assert_eq!(ask(&client, "10.9.0.2", 8081).as_deref(), Some("80"));
    assert_eq!(ask(&client, "fd09::2", 8082).as_deref(), Some("80"));
    assert!(is_silent(&client, "fd09::2", 8080), "the map is for IPv4 only");
    let refused =
        client.run_in(|| TcpStream::connect_timeout(&SocketAddr::new(ip("10.9.0.2"), 25), PATIENCE));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}
