//! What a virtual address exposes (`--ipvs-permit-all`).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kernel::testing::TestNs;
use prefix::Family;
use routerd::cluster::objects::Protocol;
use routerd::services::Settings;
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};

use crate::cluster::{Daemon, ip, ready, service};
use crate::net::Net;
use crate::talk::{ask, refusal, serve_tcp};

/// A node with a server of its own on all addresses, and a Service whose backend is in pod b.
fn scene(firewall: bool) -> (Net, Daemon) {
    let net = Net::new();
    serve_tcp(&net.node, "[::]:2222", "host");
    for address in ["10.1.1.3:8080", "[fd00:1:1::3]:8080"] {
        serve_tcp(&net.pod_b, address, "near");
    }
    for from in [&net.outside, &net.far] {
        from.run("ip", &["route", "add", "10.96.0.0/16", "via", "192.0.2.11"]);
        from.run("ip", &["-6", "route", "add", "fd00:96::/64", "via", "2001:db8::11"]);
    }
    let mut daemon = Daemon::new(Settings { firewall, any_external_address: true, ..Settings::default() });
    daemon.put(service("web", 1, Protocol::Tcp, 80, 30080));
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3")]);
    daemon.endpoints("web", 8080, Family::V6, vec![ready("fd00:1:1::3")]);
    daemon.applied(&net.node, &[]);
    (net, daemon)
}

/// Sends an echo request and waits for the reply.
fn answers_echo(from: &TestNs, to: IpAddr) -> bool {
    // Type, code, check sum (the sum of all words is 0xffff; of ICMPv6 the kernel makes it), identifier, number; the type
    // of the reply, and where it is, as IPv4 packets are read with their header.
    let (domain, protocol, request, reply, at) = match to {
        IpAddr::V4(_) => (Domain::IPV4, SocketProtocol::ICMPV4, [8, 0, 0xf7, 0xfd, 0, 1, 0, 1], 0, 20),
        IpAddr::V6(_) => (Domain::IPV6, SocketProtocol::ICMPV6, [128, 0, 0, 0, 0, 1, 0, 1], 129, 0),
    };
    let mut socket = from.run_in(|| Socket::new(domain, Type::RAW, Some(protocol)).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(&request, &SocketAddr::new(to, 0).into()).unwrap();
    let mut buffer = [0; 256];
    // The socket hears everything, also the request if it goes to the own machine.
    while let Ok(count) = socket.read(&mut buffer) {
        if count > at && buffer[at] == reply {
            return true;
        }
    }
    false
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_virtual_address_exposes_its_ports_and_echo_and_no_port_of_the_node() {
    let (net, mut daemon) = scene(true);
    for from in [&net.pod_a, &net.outside, &net.node] {
        for (service, host, ping) in [
            ("10.96.0.1:80", "10.96.0.1:2222", "10.96.0.1"),
            ("[fd00:96::1]:80", "[fd00:96::1]:2222", "fd00:96::1"),
        ] {
            assert_eq!(ask(from, service).server, "near");
            assert_eq!(refusal(from, host), ErrorKind::ConnectionRefused, "{} to {host}", from.name());
            assert!(answers_echo(from, ip(ping)), "{} to {ping}", from.name());
        }
        assert_eq!(ask(from, "192.0.2.11:2222").server, "host", "the node's own address is not touched");
        assert_eq!(ask(from, "[2001:db8::11]:2222").server, "host");
    }
    assert_eq!(ask(&net.outside, "192.0.2.11:30080").server, "near");
    assert_eq!(daemon.applied(&net.node, &[]), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn without_the_firewall_a_port_of_the_node_is_there_at_every_virtual_address() {
    let (net, mut daemon) = scene(false);
    assert_eq!(ask(&net.pod_a, "10.96.0.1:2222").server, "host");
    assert_eq!(ask(&net.pod_a, "[fd00:96::1]:2222").server, "host");
    assert_eq!(daemon.applied(&net.node, &[]), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn an_address_of_the_nodes_own_that_a_service_asks_for_stays_as_open_as_it_was() {
    let (net, mut daemon) = scene(true);
    net.node.run("ip", &["address", "add", "198.51.100.7/32", "dev", "uplink"]);
    net.outside.run("ip", &["route", "add", "198.51.100.7/32", "via", "192.0.2.11"]);
    let mut web = service("web", 1, Protocol::Tcp, 80, 30080);
    web.external_ips = vec![ip("198.51.100.7")];
    daemon.put(web);
    daemon.apply(&net.node, &[]);
    assert_eq!(ask(&net.outside, "198.51.100.7:2222").server, "host");
    let shown = net.node.run("ip", &["address", "show", "dev", "kube-dummy-if"]);
    assert!(!shown.contains("198.51.100.7"), "{shown}");
    daemon.delete("web");
    daemon.apply(&net.node, &[]);
    assert_eq!(ask(&net.outside, "198.51.100.7:2222").server, "host");
    net.node.run("ip", &["address", "show", "to", "198.51.100.7/32", "dev", "uplink"]);
}

/// Bytes that take many packets of full size.
const BULK: usize = 300_000;

fn serve_bulk(namespace: &TestNs, address: &str) {
    let listener = namespace.run_in(|| TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that gives up says so itself.
            let _ = stream.write_all(&vec![7; BULK]);
        }
    });
}

/// A client behind a link with a smaller MTU that claims to take full packets: only the router's ICMP errors, which go to
/// the virtual address, tell the backend.
fn behind_a_narrow_link(net: &Net) -> TestNs {
    let client = TestNs::new("narrow");
    let script = format!(
        "ip link add narrow mtu 1300 type veth peer name eth0 mtu 1300 netns {name}
         ip address add 203.0.113.1/24 dev narrow && ip -6 address add 2001:db8:9::1/64 dev narrow nodad
         ip link set narrow up && sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        name = client.name()
    );
    net.outside.run("sh", &["-ec", &script]);
    client.run(
        "sh",
        &[
            "-ec",
            "ip address add 203.0.113.2/24 dev eth0 && ip -6 address add 2001:db8:9::2/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 203.0.113.1 advmss 1460 && ip -6 route add default via 2001:db8:9::1 advmss 1440",
        ],
    );
    net.node.run(
        "sh",
        &["-ec", "ip route add 203.0.113.0/24 via 192.0.2.100 && ip -6 route add 2001:db8:9::/64 via 2001:db8::100"],
    );
    client
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_backend_learns_the_path_mtu_through_the_virtual_address_in_both_families() {
    let (net, mut daemon) = scene(true);
    for address in ["10.1.1.3:9090", "[fd00:1:1::3]:9090"] {
        serve_bulk(&net.pod_b, address);
    }
    daemon.endpoints("web", 9090, Family::V4, vec![ready("10.1.1.3")]);
    daemon.endpoints("web", 9090, Family::V6, vec![ready("fd00:1:1::3")]);
    daemon.applied(&net.node, &[]);
    let client = behind_a_narrow_link(&net);
    for to in ["10.96.0.1:80", "[fd00:96::1]:80"] {
        let to: SocketAddr = to.parse().unwrap();
        let mut stream = client.run_in(|| TcpStream::connect_timeout(&to, Duration::from_secs(10))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = vec![0; BULK];
        stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
    let learnt = net.pod_b.run("ip", &["route", "get", "203.0.113.2"]);
    assert!(learnt.contains("mtu 1300"), "the path is narrow: {learnt}");
}
