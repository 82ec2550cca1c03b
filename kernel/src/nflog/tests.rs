//! Entries from bytes, and from real packets.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::packet::read;
use super::*;
use crate::nft::{
    Chain, ChainType, Field, Hook, Nft, Rule, Table, TableFamily, TimeUnit, Transaction, priority,
};
use crate::testing::TestNs;

/// Long enough for any machine; nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A namespace whose own UDP packets to port 9 are logged to group 100 under "test" by `rule`.
fn logging(rule: Rule) -> TestNs {
    let space = TestNs::new("nflog");
    let table = Table::new(TableFamily::Inet, "t");
    let name = table.name.chain("out");
    let chain = Chain::base(name.clone(), ChainType::Filter, Hook::Output, priority::FILTER);
    let mut transaction = Transaction::new();
    transaction.add_table(table).add_chain(chain).add_rule(&name, rule);
    Nft::open_in(space.namespace()).unwrap().commit(&transaction).unwrap();
    space
}

fn to_discard() -> Rule {
    Rule::new().equals(Field::L4Proto, 17u8).equals(Field::DestinationPort, 9u16)
}

fn send(space: &TestNs, to: &str, times: usize) {
    let from = if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = space.run_in(|| UdpSocket::bind(from).unwrap());
    for _ in 0..times {
        // Nobody listens, which the kernel tells the sender of the next one.
        let _ = socket.send_to(&[7; 400], (ip(to), 9));
    }
}

/// Reads until `enough`.
fn read_until(reader: &mut Nflog, mut enough: impl FnMut(&[Entry]) -> bool) -> Vec<Entry> {
    let (mut entries, began) = (Vec::new(), Instant::now());
    while !enough(&entries) {
        assert!(began.elapsed() < PATIENCE, "only {} entries", entries.len());
        entries.extend(reader.next(Duration::from_millis(100)).unwrap().unwrap_or_default());
    }
    entries
}

#[test]
fn real_packets_of_both_families_arrive_with_prefix_addresses_and_ports() {
    let space = logging(to_discard().log_begin_of(100, 60, "test"));
    let mut reader = Nflog::bind_in(space.namespace(), 100, 128).unwrap();
    for to in ["127.0.0.1", "::1"] {
        send(&space, to, 1);
    }
    let entries = read_until(&mut reader, |entries| entries.len() == 2);
    for (entry, address) in entries.iter().zip(["127.0.0.1", "::1"]) {
        let Entry::Packet(packet) = entry else { panic!("{entry:?}") };
        assert_eq!((packet.prefix.as_str(), packet.hook), ("test", 3));
        let flow = packet.flow.unwrap();
        assert_eq!((flow.source, flow.destination, flow.protocol), (ip(address), ip(address), 17));
        assert!(matches!(flow.transport, Some(Transport::Ports { destination: 9, .. })), "{flow:?}");
        assert_eq!(packet.output, Some(1), "the number of lo");
    }
    assert_eq!(reader.next(Duration::ZERO).unwrap(), None);
}

#[test]
fn packets_that_come_in_have_the_time_they_came() {
    let space = logging(to_discard());
    space.run("nft", &["add chain inet t in { type filter hook input priority 0; }"]);
    space.run("nft", &["add rule inet t in udp dport 9 log group 7 prefix in"]);
    let mut reader = Nflog::bind_in(space.namespace(), 7, 128).unwrap();
    let before = SystemTime::now();
    send(&space, "127.0.0.1", 1);
    let entries = read_until(&mut reader, |entries| !entries.is_empty());
    let Entry::Packet(packet) = &entries[0] else { panic!("{entries:?}") };
    let time = packet.time.unwrap();
    let tolerance = Duration::from_secs(1);
    assert!(time + tolerance >= before && time <= SystemTime::now() + tolerance, "{time:?}");
    assert_eq!(packet.input, Some(1));
}

#[test]
fn a_group_has_one_reader_and_the_second_is_told_so_until_it_is_free() {
    let space = TestNs::new("nflog");
    let first = Nflog::bind_in(space.namespace(), 100, 128).unwrap();
    let error = Nflog::bind_in(space.namespace(), 100, 128).unwrap_err();
    assert_eq!(error.errno, Errno::EBUSY);
    assert!(error.to_string().contains("another program reads it"), "{error}");
    drop(first);
    let began = Instant::now();
    while Nflog::bind_in(space.namespace(), 100, 128).is_err() {
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn what_is_not_read_in_time_is_counted() {
    let space = logging(to_discard().log_group(100, "test"));
    let mut reader = Nflog::bind_in(space.namespace(), 100, 4096).unwrap();
    let sent = 20_000;
    send(&space, "127.0.0.1", sent);
    let (mut entries, began) = (Vec::new(), Instant::now());
    while !entries.iter().any(|entry| matches!(entry, Entry::Lost(_))) {
        assert!(began.elapsed() < PATIENCE, "{} entries and none is missing", entries.len());
        match reader.next(Duration::from_millis(200)).unwrap() {
            Some(read) => entries.extend(read),
            // All that was kept is read; a gap is seen with the entry after it.
            None => send(&space, "127.0.0.1", 64),
        }
    }
    let lost: u32 = entries.iter().map(|entry| if let Entry::Lost(lost) = entry { *lost } else { 0 }).sum();
    assert!(lost > 0 && usize::try_from(lost).unwrap() < sent, "{lost}");
}

#[test]
fn a_limit_in_front_of_the_log_bounds_what_is_read() {
    let space = logging(to_discard().limit(1, TimeUnit::Hour, 5).log_group(100, "test"));
    let mut reader = Nflog::bind_in(space.namespace(), 100, 128).unwrap();
    send(&space, "127.0.0.1", 1000);
    let entries = read_until(&mut reader, |entries| entries.len() >= 5);
    assert_eq!(entries.len(), 5);
    assert_eq!(reader.next(Duration::from_millis(300)).unwrap(), None);
}

fn packet4(protocol: u8, offset: u16, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0];
    packet.extend_from_slice(&offset.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend_from_slice(rest);
    packet
}

fn packet6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet.extend_from_slice(&[0xfd; 16]);
    packet.extend_from_slice(&[0xfe; 16]);
    packet.extend_from_slice(rest);
    packet
}

#[test]
fn the_port_is_found_behind_options_and_extension_headers_and_not_in_later_fragments() {
    let ports = [0x80, 0, 0, 80];
    let to_80 = Some(Transport::Ports { source: 0x8000, destination: 80 });
    let transport = |packet: &[u8]| Flow::read(packet).unwrap().transport;
    assert_eq!(transport(&packet4(6, 0, &ports)), to_80);
    assert_eq!(transport(&packet4(6, 0x2000, &ports)), to_80, "the first fragment");
    assert_eq!(transport(&packet4(6, 1, &ports)), None, "a later one");
    assert_eq!(transport(&packet4(6, 0, &ports[..3])), None, "cut off");
    assert_eq!(transport(&packet4(1, 0, &[8, 0])), Some(Transport::Icmp { kind: 8, code: 0 }));
    assert_eq!(transport(&packet4(47, 0, &ports)), None, "GRE has no ports");
    let mut with_options = packet4(6, 0, &[&[1; 4][..], &ports].concat());
    with_options[0] = 0x46;
    assert_eq!(transport(&with_options), to_80);

    assert_eq!(transport(&packet6(132, &ports)), to_80);
    let hop = [&[17, 0, 0, 0, 0, 0, 0, 0][..], &ports].concat();
    let flow = Flow::read(&packet6(0, &hop)).unwrap();
    assert_eq!((flow.protocol, flow.transport), (17, to_80));
    let fragment = |offset: u16| {
        let [high, low] = (offset << 3).to_be_bytes();
        packet6(44, &[&[6, 0, high, low, 0, 0, 0, 0][..], &ports].concat())
    };
    assert_eq!(transport(&fragment(0)), to_80);
    assert_eq!(transport(&fragment(5)), None);
    assert_eq!(Flow::read(&fragment(5)).unwrap().protocol, 6);
}

#[test]
fn the_reader_of_a_group_is_found_in_the_kernels_list() {
    let list = "    7   1234     0 2   128     5  1\n  100  42424     0 2 65535   100  1\n";
    assert_eq!(reader_of(list, 100), Some(42424));
    assert_eq!(reader_of(list, 10), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = Flow::read(&bytes);
    }

    #[test]
    fn no_packet_that_looks_like_ip_makes_the_decoder_panic(
        head in prop_oneof![0x40..=0x4fu8, Just(0x60u8)],
        next in prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60), Just(135), any::<u8>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut packet = vec![head, 0, 0, 0, 0, 0, next];
        packet.extend(bytes);
        let _ = Flow::read(&packet);
    }

    #[test]
    fn attributes_with_any_content_are_read_or_left_out(
        kind in 1..25u16,
        content in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut attributes = Attributes::new();
        attributes.bytes(1, &[8, 0, 2, 0]).bytes(kind, &content);
        let payload = [&[2, 0, 0, 100][..], attributes.as_bytes()].concat();
        let _ = read(&payload);
    }
}
