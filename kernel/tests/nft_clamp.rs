//! The largest TCP segment is made to fit the way, whatever ICMP is lost.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use kernel::nft::{Chain, ChainType, Hook, Nft, Rule, Table, TableFamily, TableName, Transaction, priority};
use kernel::testing::TestNs;

const BULK: usize = 300_000;

fn ip(namespace: &TestNs, line: &str) {
    namespace.run("ip", &line.split(' ').collect::<Vec<_>>());
}

/// client ─1500─ router ─1400─ server, and no ICMP leaves the router.
fn narrow() -> [TestNs; 3] {
    let spaces = ["client", "router", "server"].map(TestNs::new);
    let [client, router, server] = &spaces;
    for (end, device, v4, v6) in [(client, "c0", "10.9.1", "fd09:1:"), (server, "s0", "10.9.2", "fd09:2:")] {
        ip(router, &format!("link add {device} type veth peer name eth0 netns {}", end.name()));
        for (space, link, last) in [(router, device, 1), (end, "eth0", 2)] {
            ip(space, &format!("addr add {v4}.{last}/24 dev {link}"));
            ip(space, &format!("addr add {v6}:{last}/64 dev {link} nodad"));
            ip(space, &format!("link set {link} up"));
        }
        ip(end, &format!("route add default via {v4}.1"));
        ip(end, &format!("route add default via {v6}:1"));
    }
    // The ends believe in 1500 bytes; only the router's own device knows better.
    ip(router, "link set s0 mtu 1400");
    router.run("sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    for line in [
        "add table inet mute",
        "add chain inet mute out { type filter hook output priority 0; }",
        "add rule inet mute out icmp type destination-unreachable drop",
        "add rule inet mute out icmpv6 type packet-too-big drop",
    ] {
        router.run("nft", &[line]);
    }
    spaces
}

/// How many of the bytes that the client sends arrive before nothing more comes for a time.
fn sent(client: &TestNs, server: &TestNs, address: &str, silence: Duration) -> usize {
    let listener = server.run_in(|| TcpListener::bind(address).unwrap());
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(silence)).unwrap();
        let (mut total, mut buffer) = (0, [0; 8192]);
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 || total + count >= BULK {
                return total + count;
            }
            total += count;
        }
        total
    });
    let mut stream = client.run_in(|| TcpStream::connect(address).unwrap());
    stream.set_write_timeout(Some(silence)).unwrap();
    let _ = stream.write_all(&vec![7; BULK]);
    reader.join().unwrap()
}

fn table() -> TableName {
    TableName::new(TableFamily::Inet, "clamp")
}

fn clamp(router: &TestNs) {
    router.run_in(|| {
        let chain = Chain::base(table().chain("mss"), ChainType::Filter, Hook::Postrouting, priority::MANGLE);
        let rule = Rule::new().clamp_segment_size();
        let mut transaction = Transaction::new();
        transaction.add_table(Table::new(TableFamily::Inet, "clamp"));
        transaction.add_chain(chain.clone());
        transaction.add_rule(&chain.name, rule.clone());
        let mut nft = Nft::open().unwrap();
        nft.commit(&transaction).unwrap();
        assert_eq!(nft.list_rules(&table()).unwrap()[0].rule, rule, "it reads back as it was written");
    });
    let shown = router.run("nft", &["list", "table", "inet", "clamp"]);
    assert!(shown.contains("tcp option maxseg size set rt mtu"), "{shown}");
}

#[test]
fn bulk_passes_a_narrow_way_without_icmp_only_where_the_segment_size_is_clamped() {
    for address in ["10.9.2.2:7001", "[fd09:2::2]:7001"] {
        let [client, router, server] = narrow();
        assert!(
            sent(&client, &server, address, Duration::from_secs(3)) < BULK,
            "{address}: the way is not narrow"
        );
        clamp(&router);
        assert_eq!(sent(&client, &server, address, Duration::from_secs(30)), BULK, "{address}");
    }
}
