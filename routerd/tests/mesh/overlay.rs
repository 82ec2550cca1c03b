//! Tunnels between nodes on two networks with a router between that knows no pods. They need a kernel with IPIP and FoU.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use kernel::testing::TestNs;
use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha256};

use super::lab::{FAR, Lab, NEAR, Node};

const MODES: [[&str; 2]; 4] = [
    ["--overlay-type=subnet", "--overlay-encap=ipip"],
    ["--overlay-type=full", "--overlay-encap=ipip"],
    ["--overlay-type=subnet", "--overlay-encap=fou"],
    ["--overlay-type=full", "--overlay-encap=fou"],
];
/// What kube-router would have made for a node that is no more.
const STALE: &str = "198.51.100.77";
const BULK: usize = 200_000;

/// kube-router's name of the tunnel to an address.
fn tunnel_to(address: &str) -> String {
    let sum = Sha256::digest(address.replace(['.', ':'], ""));
    format!("tun-{}", &format!("{sum:x}")[..11])
}

fn ip(node: &Node, line: &str) -> String {
    node.ns.run("ip", &line.split(' ').collect::<Vec<_>>())
}

fn has(node: &Node, device: &str) -> bool {
    node.ns.succeeds("ip", &["link", "show", device])
}

/// Nodes 1 and 2 on one network, 3 on the other.
fn running(flags: &[&'static str]) -> Lab {
    let mut lab = Lab::across(&[NEAR, NEAR, FAR]);
    for node in &mut lab.nodes {
        node.flags = flags.to_vec();
        node.start();
    }
    settled(&lab);
    lab
}

/// All pods reach all others by their own addresses.
fn settled(lab: &Lab) {
    for (from, to) in [(0, 1), (0, 2), (1, 2), (2, 0)] {
        let other = &lab.nodes[to];
        lab.nodes[from].until("pods that reach each other", |node| node.asks(other) == Ok(()));
    }
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn pods_reach_each_other_across_networks_in_every_mode_and_both_families() {
    for flags in MODES {
        let lab = running(&flags);
        let [one, two, three] = [0, 1, 2].map(|at| &lab.nodes[at]);
        let full = flags[0].ends_with("full");
        for (node, other, tunnelled) in [(one, three, true), (one, two, full)] {
            for address in other.addresses() {
                assert_eq!(
                    has(node, &tunnel_to(&address)),
                    tunnelled,
                    "{flags:?} {address}: {}",
                    node.story()
                );
            }
        }
        let shown = ip(one, &format!("-d link show {}", tunnel_to(&three.addresses()[0])));
        assert_eq!(shown.contains("encap gue"), flags[1].ends_with("fou"), "{shown}");
        let rules = ip(one, "rule");
        assert!(rules.contains("from 10.244.1.0/24 lookup 77"), "{rules}");
        let table = ip(one, "route show table 77");
        assert!(table.contains(&format!("198.51.100.3 dev {}", tunnel_to("198.51.100.3"))), "{table}");
        let rules = ip(one, "-6 rule");
        assert!(rules.contains("from fd00:244:1::/64 lookup 77"), "{rules}");
    }
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn a_restart_adopts_tunnels_and_a_change_of_encapsulation_changes_them_in_place() {
    let mut lab = running(&MODES[0]);
    let device = tunnel_to("198.51.100.3");
    let index = |lab: &Lab| {
        ip(&lab.nodes[0], &format!("-o link show {device}")).split(':').next().unwrap().to_owned()
    };
    let before = index(&lab);
    lab.nodes[0].signal(Signal::SIGKILL);
    assert_eq!(lab.nodes[0].asks(&lab.nodes[2]), Ok(()), "tunnels carry without the daemon");
    lab.nodes[0].start();
    settled(&lab);
    assert_eq!(index(&lab), before, "it is the same device");
    for node in &mut lab.nodes {
        node.signal(Signal::SIGTERM);
        node.flags = vec!["--overlay-encap=fou", "--overlay-encap-port=6000"];
        node.start();
    }
    let inside = |node: &Node| ip(node, &format!("-d link show {device}")).contains("encap-dport 6000");
    lab.nodes[0].until("another encapsulation", inside);
    settled(&lab);
    assert_eq!(index(&lab), before, "it was changed in place");
    assert!(ip(&lab.nodes[0], "fou show").contains("port 6000 gue"));
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn what_an_earlier_run_left_is_taken_over_or_goes_and_what_is_foreign_stays() {
    let mut lab = Lab::across(&[NEAR, NEAR, FAR]);
    let (known, stale) = (tunnel_to("198.51.100.3"), tunnel_to(STALE));
    for line in [
        format!("link add {known} type ipip local 192.0.2.1 remote 198.51.100.3 ttl 225"),
        format!("link add {stale} type ipip local 192.0.2.1 remote {STALE}"),
        "link add tun-0123456789a type ipip local 192.0.2.1 remote 198.51.100.88".to_owned(),
        format!("link set {stale} up"),
        format!("link set {known} up"),
        format!("route add 10.244.77.0/24 dev {stale} proto 17"),
        format!("route add {STALE} dev {stale} table 77"),
        "rule add from 10.244.1.0/24 lookup 77".to_owned(),
        "rule add from 10.9.9.0/24 lookup 99".to_owned(),
    ] {
        ip(&lab.nodes[0], &line);
    }
    let index = ip(&lab.nodes[0], &format!("-o link show {known}"));
    for node in &mut lab.nodes {
        node.start();
    }
    settled(&lab);
    let one = &lab.nodes[0];
    one.until("no stale tunnel", |node| !has(node, &stale));
    assert_eq!(ip(one, &format!("-o link show {known}")).split(':').next(), index.split(':').next());
    assert!(has(one, "tun-0123456789a"), "its name is not the one for where it leads");
    assert!(!ip(one, "route").contains("10.244.77.0/24"));
    assert!(!ip(one, "route show table 77").contains(STALE));
    let rules = ip(one, "rule");
    assert_eq!(rules.matches("lookup 77").count(), 1, "{rules}");
    assert!(rules.contains("from 10.9.9.0/24 lookup 99"));
    // A node that leaves takes its tunnel with it, also while its daemon runs on.
    lab.know([1, 2]);
    one.until("no tunnel to node3", |node| !has(node, &known));
    assert!(!ip(one, "rule").contains("lookup 77"), "without tunnels there is no rule");
    lab.know([1, 2, 3]);
    settled(&lab);
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn what_others_take_away_is_back_and_counted() {
    let lab = running(&MODES[2]);
    let [one, three] = [0, 2].map(|at| &lab.nodes[at]);
    let device = tunnel_to("198.51.100.3");
    let reaches = |node: &Node| node.asks(three) == Ok(());
    for (what, lines) in [
        ("tunnel deleted", vec![format!("link delete {device}")]),
        ("tunnel down", vec![format!("link set {device} down")]),
        ("routes flushed", vec!["route flush proto 179".into()]),
        ("table of pods flushed", vec!["route flush table 77".into()]),
        ("rule deleted", vec!["rule del from 10.244.1.0/24 lookup 77".into()]),
        (
            "uplink down and up",
            vec![
                "link set eth0 down".into(),
                "link set eth0 up".into(),
                "route add default via 192.0.2.254".into(),
                "address replace 2001:db8::1/64 dev eth0 nodad".into(),
                "route replace default via 2001:db8::254".into(),
            ],
        ),
        (
            "address taken and given again",
            vec![
                "address delete 192.0.2.1/24 dev eth0".into(),
                "address add 192.0.2.1/24 dev eth0".into(),
                "route replace default via 192.0.2.254".into(),
            ],
        ),
    ] {
        for line in &lines {
            ip(one, line);
        }
        let whole = |node: &Node| {
            let (rules, table) = (ip(node, "rule"), ip(node, "route show table 77"));
            let up = ip(node, "-o link show up");
            let routes = node.routes();
            up.contains(&device)
                && rules.contains("from 10.244.1.0/24 lookup 77")
                && table.contains(&device)
                && routes.contains(&format!("10.244.3.0/24 dev {device}"))
                && routes.contains("fd00:244:3::/64 dev tun-")
        };
        let took = one.until(what, whole);
        println!("{what}: back after {took:?}");
        one.until(what, reaches);
    }
    assert!(one.repairs() >= 5, "{} repairs", one.repairs());
}

/// As clouds give them: without a subnet, which neither a default route nor anything else speaks of.
#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn a_nodes_address_without_a_subnet_makes_all_others_far_and_is_noticed_when_it_comes() {
    let mut lab = Lab::across(&[NEAR, NEAR, FAR]);
    for line in ["address delete 192.0.2.1/24 dev eth0", "route add 192.0.2.0/24 dev eth0"] {
        ip(&lab.nodes[0], line);
    }
    ip(&lab.nodes[0], "route add 198.51.100.0/24 via 192.0.2.254 dev eth0");
    for node in &mut lab.nodes {
        node.start();
    }
    let tunnels = |node: &Node| ["192.0.2.2", "198.51.100.3"].map(|to| has(node, &tunnel_to(to)));
    lab.nodes[0].until("a first run", |node| {
        node.ns.succeeds("nft", &["list", "set", "inet", "routerd", "routing-pods4"])
    });
    assert_eq!(tunnels(&lab.nodes[0]), [false; 2], "nobody can answer to it");
    ip(&lab.nodes[0], "address add 192.0.2.1/32 dev eth0");
    lab.nodes[0].until("tunnels to all others", |node| tunnels(node) == [true; 2]);
    ip(&lab.nodes[0], "address delete 192.0.2.1/32 dev eth0");
    lab.nodes[0].until("no tunnel from an address that is gone", |node| tunnels(node) == [false; 2]);
    ip(&lab.nodes[0], "address add 192.0.2.1/32 dev eth0");
    lab.nodes[0].until("tunnels again", |node| tunnels(node) == [true; 2]);
}

/// A pod with a device of 1500 bytes, as one has that was born before there were tunnels.
struct Pod {
    ns: TestNs,
    address: String,
}

impl Pod {
    fn new(node: &Node, number: u8) -> Self {
        let ns = TestNs::new("pod");
        let (gateway, address) = (format!("10.244.{number}.8"), format!("10.244.{number}.9"));
        ip(node, &format!("link add veth9 type veth peer name eth0 netns {}", ns.name()));
        ip(node, &format!("address add {gateway}/31 dev veth9"));
        ip(node, "link set veth9 up");
        for line in [
            format!("address add {address}/31 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {gateway}"),
        ] {
            ns.run("ip", &line.split(' ').collect::<Vec<_>>());
        }
        Self { ns, address }
    }

    /// How many of the bytes that it sends to the other arrive.
    fn sends(&self, other: &Pod) -> usize {
        let to = format!("{}:7001", other.address);
        let listener = other.ns.run_in(|| TcpListener::bind(&to).unwrap());
        let reader = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let (mut total, mut buffer) = (0, [0; 8192]);
            while total < BULK {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => total += count,
                    _ => break,
                }
            }
            total
        });
        let mut stream = self.ns.run_in(|| TcpStream::connect(&to).unwrap());
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.write_all(&vec![7; BULK]);
        reader.join().unwrap()
    }
}

fn mtu(node: &Node, device: &str) -> String {
    let shown = ip(node, &format!("-o link show {device}"));
    shown.split(" mtu ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn tcp_of_pods_with_full_size_devices_passes_tunnels_without_icmp_and_the_tunnel_follows_its_way() {
    let lab = running(&MODES[2]);
    let [one, three] = [0, 2].map(|at| &lab.nodes[at]);
    for node in [one, three] {
        for line in [
            "add table inet mute",
            "add chain inet mute out { type filter hook output priority 0; }",
            "add rule inet mute out icmp type destination-unreachable drop",
        ] {
            node.ns.run("nft", &[line]);
        }
    }
    let (here, there) = (Pod::new(one, 1), Pod::new(three, 3));
    let device = tunnel_to("198.51.100.3");
    assert_eq!(mtu(one, &device), "1468", "1500 less IPv4, UDP and GUE");
    assert_eq!(here.sends(&there), BULK);
    assert_eq!(there.sends(&here), BULK);
    // The way becomes narrower, of which the other node hears nothing.
    ip(one, "link set eth0 mtu 1300");
    one.until("a narrower tunnel", |node| mtu(node, &device) == "1268");
    assert_eq!(here.sends(&there), BULK);
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn a_clean_up_leaves_no_tunnel_rule_route_or_port() {
    let mut lab = running(&MODES[3]);
    lab.nodes[0].signal(Signal::SIGTERM);
    let one = &lab.nodes[0];
    let said = one.clean_up();
    assert!(said.contains("device tun-") && said.contains("port 5555"), "{said}");
    assert!(!ip(one, "link").contains("tun-"));
    assert!(!ip(one, "rule").contains("lookup 77") && !ip(one, "-6 rule").contains("lookup 77"));
    assert_eq!(one.routes() + &ip(one, "fou show"), "");
}
