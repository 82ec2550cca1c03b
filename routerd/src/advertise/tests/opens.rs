//! What a router outside hears of us when a session begins.

use std::io::Read;
use std::net::TcpListener;

use super::*;
use crate::cluster::Event;
use crate::routing::PROTOCOL;

/// The capabilities of an OPEN message (RFC 5492 §4), by their numbers.
fn capabilities(open: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut parameters = &open[10..];
    let mut found = BTreeMap::new();
    while let [2, length, rest @ ..] = parameters {
        let (mut several, rest) = rest.split_at(usize::from(*length));
        while let [code, length, rest @ ..] = several {
            let (value, rest) = rest.split_at(usize::from(*length));
            found.insert(*code, value.to_vec());
            several = rest;
        }
        parameters = rest;
    }
    found
}

/// What the router at 192.0.2.9 hears from a daemon that starts in this thread's namespace.
fn heard() -> BTreeMap<u8, Vec<u8>> {
    let router = TcpListener::bind("192.0.2.9:179").unwrap();
    let (runtime, mut one) = started();
    let peers = "[{remoteip: 192.0.2.9, remoteasn: 65001}]";
    let own = Node {
        name: "a".into(),
        internal_addresses: vec!["192.0.2.1".parse().unwrap()],
        annotations: [("kube-router.io/peers".to_owned(), peers.to_owned())].into(),
        ..Node::default()
    };
    one.plane.subscriber.start(&index("a", [Event::Upsert(Object::Node(own))]));
    let (mut stream, _) = router.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut header = [0; 19];
    stream.read_exact(&mut header).unwrap();
    let mut open = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - header.len()];
    stream.read_exact(&mut open).unwrap();
    runtime.block_on(one.link.stop());
    capabilities(&open)
}

#[test]
fn a_router_hears_of_a_restart_and_of_kept_forwarding_only_where_an_earlier_run_left_something() {
    let ns = TestNs::new("opens");
    for address in ["192.0.2.1/32", "192.0.2.9/32"] {
        ns.run("ip", &["address", "add", address, "dev", "lo"]);
    }
    // The flags R and N of graceful restart before its 12 bits of seconds (RFC 4724 §3, RFC 8538 §2).
    let flags = |heard: &BTreeMap<u8, Vec<u8>>| heard[&64][0] >> 4;
    ns.run_in(|| {
        let fresh = heard();
        assert_eq!((flags(&fresh), &fresh[&64][..2]), (0, &[0, 90][..]));
        // IPv4 unicast and whether its forwarding was kept, here and in the long-lived one (RFC 9494 §3.1), which has an hour.
        assert_eq!(fresh[&64][2..], [0, 1, 1, 0], "a machine that has booted has kept nothing");
        assert_eq!(fresh[&71], [0, 1, 1, 0, 0, 0x0e, 0x10]);
    });
    // What a node on its own has.
    ns.run("nft", &["add", "table", "inet", "routerd"]);
    ns.run_in(|| {
        let again = heard();
        assert_eq!((flags(&again), &again[&64][2..]), (0x8, &[0, 1, 1, 0x80][..]));
        assert_eq!(again[&71], [0, 1, 1, 0x80, 0, 0x0e, 0x10]);
    });
    ns.run("nft", &["delete", "table", "inet", "routerd"]);
    ns.run("ip", &["route", "add", "10.2.0.0/24", "dev", "lo", "protocol", &PROTOCOL.to_string()]);
    ns.run_in(|| assert_eq!(flags(&heard()), 0x8));
}
