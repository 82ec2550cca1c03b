//! A node in a namespace: a bridge with pods behind it, a wire to the outside, and real packets.
//!
//! ```text
//!   outside 192.0.2.9, 2001:db8::9, 64:ff9b::9 ── wire ── node 192.0.2.1, 2001:db8::1
//!                                                          │ kube-bridge 10.244.1.1, fd00:244:1::1
//!                                                     pod  pod  pod
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;

use super::fixture::{World, attachment, ip, pod};
use crate::policy::{PolicyApplier, PolicyKey};
use crate::runner::{Apply, Report, Scope};

/// Longer than the answer to an admitted packet takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// What is not answered within this time is not answered.
const SILENCE: Duration = Duration::from_millis(350);
/// How long links may take to come up.
const START: Duration = Duration::from_mins(1);
pub(super) const OUTSIDE: &str = "192.0.2.9";
pub(super) const OUTSIDE6: &str = "2001:db8::9";
pub(super) const NAT64: &str = "64:ff9b::9";
pub(super) const GATEWAY: &str = "10.244.1.1";
/// Ports that everybody serves by TCP.
pub(super) const PORTS: [u16; 2] = [80, 8080];
/// The port that everybody answers UDP on.
pub(super) const UDP_PORT: u16 = 53;

/// The node, what is around it, and the plane that runs on it.
pub(super) struct Lab {
    pub(super) node: TestNs,
    pub(super) outside: TestNs,
    pods: BTreeMap<String, TestNs>,
    pub(super) world: World,
    pub(super) applier: PolicyApplier,
}

impl Lab {
    /// A node without pods, whose plane has applied what there is.
    pub(super) fn new() -> Self {
        let (node, outside) = (TestNs::new("polnode"), TestNs::new("polout"));
        // Without a finished address check of its link-local address a router asks for no neighbour, and a bridge
        // whose MAC follows its ports forgets its neighbours: seconds of silence that are no policy's work.
        for space in [&node, &outside] {
            space.run("sysctl", &["-qw", "net.ipv6.conf.default.accept_dad=0"]);
        }
        node.run("ip", &["link", "add", "kube-bridge", "address", "0a:58:0a:f4:01:01", "type", "bridge"]);
        node.run(
            "ip",
            &["link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", outside.name()],
        );
        assign(&node, "up0", &["192.0.2.1/24", "2001:db8::1/64"]);
        assign(&node, "kube-bridge", &["10.244.1.1/24", "fd00:244:1::1/64"]);
        assign(&outside, "eth0", &["192.0.2.9/24", "2001:db8::9/64", "64:ff9b::9/128"]);
        for (family, network, via) in
            [("-4", "10.244.0.0/16", "192.0.2.1"), ("-6", "fd00:244::/32", "2001:db8::1")]
        {
            outside.run("ip", &[family, "route", "add", network, "via", via]);
        }
        node.run("ip", &["-6", "route", "add", "64:ff9b::/96", "via", "2001:db8::9"]);
        for setting in [
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.bridge.bridge-nf-call-iptables=1",
            "net.bridge.bridge-nf-call-ip6tables=1",
        ] {
            node.run("sysctl", &["-qw", setting]);
        }
        serve(&outside);
        serve(&node);
        for address in [OUTSIDE, OUTSIDE6, NAT64] {
            wait_for(&node, address);
        }
        let mut lab =
            Self { node, outside, pods: BTreeMap::new(), world: World::new(), applier: PolicyApplier::new() };
        lab.resync();
        lab
    }

    /// Wires a pod with the address `10.244.1.<number>` and `fd00:244:1::<number>` without telling the plane.
    pub(super) fn wire(&mut self, of: &str, number: u8) {
        let space = TestNs::new("polpod");
        let port = format!("veth{number}");
        self.node.run(
            "ip",
            &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", space.name()],
        );
        self.node.run("ip", &["link", "set", &port, "master", "kube-bridge", "up"]);
        let [four, six] = Self::addresses(number);
        assign(&space, "eth0", &[&format!("{four}/24"), &format!("{six}/64")]);
        space.run("ip", &["route", "add", "default", "via", "10.244.1.1"]);
        space.run("ip", &["-6", "route", "add", "default", "via", "fd00:244:1::1"]);
        serve(&space);
        // The node always reaches its pods; this is how we know that the links are up.
        for address in [four, six] {
            wait_for(&self.node, &address);
        }
        self.pods.insert(of.to_owned(), space);
    }

    pub(super) fn addresses(number: u8) -> [String; 2] {
        [format!("10.244.1.{number}"), format!("fd00:244:1::{number}")]
    }

    /// Wires a pod, attaches it as the plugin does and shows it as the cluster does.
    pub(super) fn pod(&mut self, of: &str, labels: &str, number: u8) {
        self.wire(of, number);
        self.attach(of, number);
        self.label(of, labels, number);
    }

    /// What the plugin tells of a pod.
    pub(super) fn attach(&mut self, of: &str, number: u8) -> Report {
        let event = crate::cluster::Event::Attach(attachment(of, of, &Self::addresses(number).join(" ")));
        let touched = self.world.event(event);
        self.apply(touched)
    }

    /// What the cluster tells of a pod.
    pub(super) fn label(&mut self, of: &str, labels: &str, number: u8) -> Report {
        let touched = self.world.pod(pod(of, labels, &Self::addresses(number).join(" ")));
        self.apply(touched)
    }

    pub(super) fn policy(&mut self, of: &str, spec: &str) -> Report {
        let touched = self.world.policy(of, spec);
        self.apply(touched)
    }

    /// Applies what a change touched.
    pub(super) fn apply(&mut self, keys: impl IntoIterator<Item = PolicyKey>) -> Report {
        let (desired, scope) = (self.world.desired(), Scope::Keys(keys.into_iter().collect()));
        let applier = &mut self.applier;
        self.node.run_in(|| applier.apply(&desired, &scope))
    }

    /// Compares all with the kernel.
    pub(super) fn resync(&mut self) -> Report {
        let desired = self.world.desired();
        let applier = &mut self.applier;
        self.node.run_in(|| applier.apply(&desired, &Scope::Everything))
    }

    pub(super) fn space(&self, of: &str) -> &TestNs {
        match of {
            "outside" => &self.outside,
            "node" => &self.node,
            _ => &self.pods[of],
        }
    }

    /// True if a TCP connection from the pod (or `node`, `outside`) to the port comes about.
    pub(super) fn reaches(&self, from: &str, to: &str, port: u16) -> bool {
        ask(self.space(from), to, port, PATIENCE)
    }

    /// True if the pod gets an answer to a UDP datagram.
    pub(super) fn reaches_udp(&self, from: &str, to: &str, port: u16) -> bool {
        send_udp(self.space(from), to, port, PATIENCE).is_ok()
    }

    /// True if it gets none.
    pub(super) fn is_unheard_udp(&self, from: &str, to: &str, port: u16) -> bool {
        send_udp(self.space(from), to, port, SILENCE).is_err()
    }

    /// Checks many ways at once: from, to, port, and whether it is open.
    pub(super) fn expect(&self, ways: &[(&str, &str, u16, bool)]) {
        let answers: Vec<bool> = std::thread::scope(|scope| {
            let ask = |way: &(&str, &str, u16, bool)| {
                let (from, to, port) = (way.0.to_owned(), way.1.to_owned(), way.2);
                let time = if way.3 { PATIENCE } else { SILENCE };
                scope.spawn(move || ask(self.space(&from), &to, port, time))
            };
            let running: Vec<_> = ways.iter().map(ask).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for ((from, to, port, open), answer) in ways.iter().zip(answers) {
            let rules = || self.node.run("nft", &["list", "table", "inet", "routerd"]);
            assert_eq!(answer, *open, "{from} to {to} port {port}\n{}", rules());
        }
    }
}

/// Waits until links are up all the way.
fn wait_for(from: &TestNs, address: &str) {
    let began = Instant::now();
    while !ask(from, address, PORTS[0], SILENCE) {
        assert!(began.elapsed() < START, "the way to {address} does not come up");
    }
}

fn assign(space: &TestNs, device: &str, addresses: &[&str]) {
    for address in addresses {
        let nodad = if address.contains(':') { &["nodad"][..] } else { &[] };
        space.run("ip", &[&["addr", "add", address, "dev", device][..], nodad].concat());
    }
    space.run("ip", &["link", "set", device, "up"]);
}

/// Serves [`PORTS`] by TCP and [`UDP_PORT`] by UDP on all addresses until the test's process ends.
fn serve(space: &TestNs) {
    let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    for port in PORTS {
        let listener = space.run_in(|| TcpListener::bind(any(port)).unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                std::thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
    }
    let socket = space.run_in(|| UdpSocket::bind(any(UDP_PORT)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((read, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..read], from);
        }
    });
}

/// An established connection, or none.
pub(super) fn connect(space: &TestNs, to: &str, port: u16) -> Option<TcpStream> {
    connect_within(space, to, port, PATIENCE)
}

fn connect_within(space: &TestNs, to: &str, port: u16, time: Duration) -> Option<TcpStream> {
    let to = SocketAddr::new(ip(to), port);
    space.run_in(|| TcpStream::connect_timeout(&to, time).ok())
}

/// True if the connection still carries data there and back.
pub(super) fn echoes(stream: &mut TcpStream) -> bool {
    echoes_within(stream, PATIENCE)
}

/// True if what is said on the connection is not answered.
pub(super) fn is_mute(stream: &mut TcpStream) -> bool {
    !echoes_within(stream, SILENCE)
}

fn echoes_within(stream: &mut TcpStream, time: Duration) -> bool {
    let mut buffer = [0; 4];
    stream.set_read_timeout(Some(time)).unwrap();
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut buffer).is_ok()
}

fn ask(space: &TestNs, to: &str, port: u16, time: Duration) -> bool {
    connect_within(space, to, port, time).is_some_and(|mut stream| echoes_within(&mut stream, time))
}

/// What a UDP datagram meets within a time: an answer, an ICMP error, or nothing.
pub(super) fn send_udp(space: &TestNs, to: &str, port: u16, time: Duration) -> std::io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let to = SocketAddr::new(ip(to), port);
    let bind: IpAddr = if to.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    let socket = space.run_in(|| UdpSocket::bind(SocketAddr::new(bind, 0)))?;
    socket.set_read_timeout(Some(time))?;
    socket.connect(to)?;
    socket.send(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes())?;
    socket.recv(&mut [0; 8]).map(|_| ())
}
