//! A node with places for pods, and everything around it, as network namespaces.
//!
//! ```text
//!   place 0  10.244.1.10 fd00:244:1::a ┐                                    ┌ 192.0.2.2 2001:db8::2 (another node)
//!   place 1  10.244.1.11 fd00:244:1::b ┼ kube-bridge  node  up0 ── around ──┼ 10.244.2.0/24 fd00:244:2::/64 (its pods)
//!   …                                  ┘ .1 ::1       192.0.2.1 2001:db8::1 └ the rest of the world
//! ```
//!
//! `around` takes every address of its networks for its own. Who owns the address of a place is for the test to say. No
//! packet waits for a neighbour: all are known from the start.

use std::net::IpAddr;

use kernel::testing::TestNs;

/// How many places for pods the node has.
pub(crate) const PLACES: usize = 6;
/// The node's name.
pub(crate) const NODE: &str = "node1";
/// Addresses of the node: the one of its object, and the gateway of its pods.
pub(crate) const OWN: [&str; 4] = ["192.0.2.1", "2001:db8::1", "10.244.1.1", "fd00:244:1::1"];
/// Networks that are `around`, besides the segment.
pub(crate) const AROUND: [&str; 9] = [
    "10.244.2.0/24",
    "203.0.113.0/24",
    "198.51.100.0/24",
    "100.64.0.0/10",
    "fd00:244:2::/64",
    "64:ff9b::/96",
    "2001:db8:f::/48",
    "fd12:3456::/32",
    "400::/8",
];

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Both addresses of a place.
pub(crate) fn place(number: usize) -> [IpAddr; 2] {
    let last = number + 10;
    [ip(&format!("10.244.1.{last}")), ip(&format!("fd00:244:1::{last:x}"))]
}

/// Both addresses of a pod of the other node.
pub(crate) fn remote(number: usize) -> [IpAddr; 2] {
    let last = number + 10;
    [ip(&format!("10.244.2.{last}")), ip(&format!("fd00:244:2::{last:x}"))]
}

/// The namespaces.
pub(crate) struct Net {
    pub(crate) node: TestNs,
    pub(crate) around: TestNs,
    pub(crate) places: Vec<TestNs>,
}

const NODE_MAC: &str = "0a:58:0a:f4:01:01";
const UPLINK_MAC: &str = "0a:58:c0:00:02:01";
const AROUND_MAC: &str = "0a:58:c0:00:02:02";

fn mac(place: usize) -> String {
    format!("0a:58:0a:f4:01:{:02x}", place + 10)
}

/// Runs many `ip` commands as one program.
fn ip_batch(namespace: &TestNs, lines: &[String]) {
    let script = format!("ip -batch - <<'end'\n{}\nend", lines.join("\n"));
    namespace.run("sh", &["-c", &script]);
}

/// What gives a device its addresses and takes it up.
fn assign(device: &str, addresses: &[String]) -> Vec<String> {
    let own = |address: &String| {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        format!("addr add {address} dev {device} {nodad}")
    };
    addresses.iter().map(own).chain([format!("link set {device} up")]).collect()
}

fn neighbour(address: IpAddr, device: &str, mac: &str) -> String {
    format!("neigh replace {address} dev {device} lladdr {mac} nud permanent")
}

impl Net {
    pub(crate) fn new() -> Self {
        Self::with_places(PLACES)
    }

    /// A smaller one, where making it is slow.
    pub(crate) fn with_places(count: usize) -> Self {
        let places = (0..count).map(|_| TestNs::new("truthpod")).collect();
        let net = Self { node: TestNs::new("truthnode"), around: TestNs::new("truthout"), places };
        net.links();
        net.node_and_around();
        for number in 0..count {
            net.addresses_of_place(number);
        }
        net.settings();
        net
    }

    fn links(&self) {
        let mut lines = vec![
            format!("link add kube-bridge address {NODE_MAC} type bridge"),
            format!(
                "link add up0 address {UPLINK_MAC} type veth peer name eth0 address {AROUND_MAC} netns {}",
                self.around.name()
            ),
        ];
        for (number, space) in self.places.iter().enumerate() {
            let (port, mac, name) = (format!("veth{number}"), mac(number), space.name());
            lines.push(format!("link add {port} type veth peer name eth0 address {mac} netns {name}"));
            lines.push(format!("link set {port} master kube-bridge up"));
            lines.push(format!("link set {port} type bridge_slave hairpin on"));
        }
        ip_batch(&self.node, &lines);
    }

    fn node_and_around(&self) {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut lines = assign("kube-bridge", &texts(&["10.244.1.1/24", "fd00:244:1::1/64"]));
        lines.extend(assign("up0", &texts(&["192.0.2.1/24", "2001:db8::1/64"])));
        for network in AROUND {
            let via = if network.contains(':') { "2001:db8::2" } else { "192.0.2.2" };
            lines.push(format!("route add {network} via {via}"));
        }
        for number in 0..self.places.len() {
            lines.extend(place(number).map(|address| neighbour(address, "kube-bridge", &mac(number))));
        }
        lines.extend(["192.0.2.2", "2001:db8::2"].map(|text| neighbour(ip(text), "up0", AROUND_MAC)));
        ip_batch(&self.node, &lines);
        let mut lines = assign("eth0", &texts(&["192.0.2.2/24", "2001:db8::2/64"]));
        lines.extend(["192.0.2.1", "2001:db8::1"].map(|text| neighbour(ip(text), "eth0", UPLINK_MAC)));
        for (network, via) in [("10.244.1.0/24", "192.0.2.1"), ("fd00:244:1::/64", "2001:db8::1")] {
            lines.push(format!("route add {network} via {via}"));
        }
        lines.extend(AROUND.map(|network| format!("route add local {network} dev lo")));
        ip_batch(&self.around, &lines);
    }

    fn addresses_of_place(&self, number: usize) {
        let [four, six] = place(number);
        let mut lines = assign("eth0", &[format!("{four}/24"), format!("{six}/64")]);
        for (other, address) in (0..self.places.len()).flat_map(|other| place(other).map(|to| (other, to))) {
            if other != number {
                lines.push(neighbour(address, "eth0", &mac(other)));
            }
        }
        for gateway in ["10.244.1.1", "fd00:244:1::1"] {
            lines.push(neighbour(ip(gateway), "eth0", NODE_MAC));
            lines.push(format!("route add default via {gateway}"));
        }
        ip_batch(&self.places[number], &lines);
    }

    fn settings(&self) {
        let forward = [
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.bridge.bridge-nf-call-iptables=1",
            "net.bridge.bridge-nf-call-ip6tables=1",
        ];
        self.node.run("sysctl", &[&["-qw"][..], &forward].concat());
        // Its addresses are whole networks; a socket may have any of them.
        self.around.run("sysctl", &["-qw", "net.ipv4.ip_nonlocal_bind=1", "net.ipv6.ip_nonlocal_bind=1"]);
    }
}
