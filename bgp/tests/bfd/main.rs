//! BFD against BIRD and FRR, in namespaces of their own.
#![expect(clippy::disallowed_methods, reason = "BIRD and FRR are the other end of the session")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod frr;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bgp::bfd::{Bfd, BfdConfig, BfdEvent, BfdStatus, Change, Control, Diagnostic, State, Timing};
use bgp::clock::SystemClock;
use kernel::testing::TestNs;
use tokio::sync::mpsc;

const OURS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const BIRDS: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
const PATIENCE: Duration = Duration::from_mins(1);

fn config(milliseconds: u64) -> BfdConfig {
    let interval = Duration::from_millis(milliseconds);
    let timing = Timing { desired_min_tx: interval, required_min_rx: interval, multiplier: 5 };
    BfdConfig { timing, port: bgp::bfd::PORT, multihop: false }
}

/// BIRD, which watches both of our addresses; it ends with this value.
struct Bird {
    process: Child,
    ns: TestNs,
    folder: tempfile::TempDir,
}

impl Drop for Bird {
    fn drop(&mut self) {
        // It may have been killed on purpose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bird {
    fn start(ns: TestNs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "log stderr all;
            router id 192.0.2.2;
            protocol device {{}}
            protocol bfd watch {{
                interface \"*\" {{ min rx interval 400 ms; min tx interval 400 ms; multiplier 5; }};
                neighbor {} local {};
                neighbor {} local {};
            }}",
            OURS[0], BIRDS[0], OURS[1], BIRDS[1]
        );
        std::fs::write(folder.path().join("bird.conf"), text).unwrap();
        let process = Command::new("ip")
            .args(["netns", "exec", ns.name(), "/usr/sbin/bird", "-f", "-c", "bird.conf", "-s", "bird.ctl"])
            .args(["-P", "bird.pid"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .expect("tests need bird (Debian package bird2)");
        Self { process, ns, folder }
    }

    fn ask(&self, words: &str) -> String {
        let socket = self.folder.path().join("bird.ctl");
        let output =
            Command::new("/usr/sbin/birdc").arg("-s").arg(socket).args(words.split(' ')).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Our end.
struct Ours {
    runtime: tokio::runtime::Runtime,
    bfd: Bfd,
    events: mpsc::Receiver<BfdEvent>,
}

impl Ours {
    fn start(ns: &TestNs) -> Self {
        // Threads inherit the namespace of the one that makes them.
        ns.run_in(|| {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let (bfd, events) = {
                let _inside = runtime.enter();
                Bfd::start(SystemClock::default())
            };
            for place in [0, 1] {
                bfd.set(ip(BIRDS[place]), Some(ip(OURS[place])), config(400));
            }
            Self { runtime, bfd, events }
        })
    }

    fn next(&mut self) -> (IpAddr, Change) {
        let next = self.events.recv();
        let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, next).await });
        let Ok(Some(event)) = next else { panic!("no event: {:?}", self.bfd.status()) };
        (event.peer, event.change)
    }

    /// Both sessions have the same change, whichever is first.
    fn both(&mut self, change: Change) {
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (peer, seen) = self.next();
            assert_eq!(seen, change);
            peers.push(peer);
        }
        peers.sort_unstable();
        assert_eq!(peers, BIRDS.map(ip));
    }

    fn status(&self, peer: &str) -> BfdStatus {
        self.bfd.status_of(ip(peer)).unwrap()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Two namespaces with a cable.
fn cable() -> (TestNs, TestNs) {
    let (ours, birds) = (TestNs::new("bfd"), TestNs::new("bird"));
    ours.run("ip", &["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", birds.name()]);
    for (ns, place) in [(&ours, OURS), (&birds, BIRDS)] {
        ns.run("ip", &["address", "add", &format!("{}/24", place[0]), "dev", "cable"]);
        ns.run("ip", &["address", "add", &format!("{}/64", place[1]), "dev", "cable", "nodad"]);
        ns.run("ip", &["link", "set", "cable", "up"]);
    }
    (ours, birds)
}

/// Both ends running and up.
fn running() -> (TestNs, Bird, Ours) {
    let (ours, birds) = cable();
    let bird = Bird::start(birds);
    let mut end = Ours::start(&ours);
    end.both(Change::Up);
    (ours, bird, end)
}

const EXPIRED: Change = Change::Down { diagnostic: Diagnostic::TIME_EXPIRED, by_administrator: false };

#[test]
fn both_families_come_up_as_agreed_and_a_silent_path_is_lost_and_found() {
    let (_ours, bird, mut end) = running();
    wait_for("the timing that both want", || {
        BIRDS.iter().all(|peer| end.status(peer).detection_time == Duration::from_secs(2))
    });
    wait_for("BIRD's view", || bird.ask("show bfd sessions").matches(" Up ").count() == 2);
    bird.ns.run("nft", &["add", "table", "inet", "cut"]);
    bird.ns.run("nft", &["add", "chain", "inet", "cut", "out", "{ type filter hook output priority 0; }"]);
    bird.ns.run("nft", &["add", "rule", "inet", "cut", "out", "udp dport 3784 drop"]);
    end.both(EXPIRED);
    bird.ns.run("nft", &["delete", "table", "inet", "cut"]);
    end.both(Change::Up);
    wait_for("the count", || end.status(BIRDS[0]).ups == 2);
}

#[test]
fn a_neighbour_that_is_killed_is_lost() {
    let (_ours, mut bird, mut end) = running();
    bird.process.kill().unwrap();
    end.both(EXPIRED);
}

#[test]
fn our_goodbye_is_heard_and_other_timing_is_agreed_without_a_loss() {
    let (_ours, bird, end) = running();
    for (peer, own) in BIRDS.iter().zip(OURS) {
        end.bfd.set(ip(peer), Some(ip(own)), config(800));
    }
    wait_for("the slower timing", || {
        BIRDS.iter().all(|peer| end.status(peer).detection_time == Duration::from_secs(4))
    });
    assert!(BIRDS.iter().all(|peer| end.status(peer).ups == 1));
    end.bfd.remove(ip(BIRDS[0]));
    // Well before its detection time could tell it.
    wait_for("BIRD's view", || bird.ask("show bfd sessions").matches(" Up ").count() == 1);
    assert_eq!(end.bfd.status_of(ip(BIRDS[0])), None);
}

/// A packet that ends a session, from BIRD's address.
fn forged(bird: &Bird, ttl: u32) {
    let control = Control {
        state: State::AdminDown,
        diagnostic: Diagnostic::ADMIN_DOWN,
        poll: false,
        is_final: false,
        demand: false,
        multiplier: 3,
        my_discriminator: 77,
        your_discriminator: 0,
        desired_min_tx: Duration::from_millis(50),
        required_min_rx: Duration::from_millis(50),
    };
    bird.ns.run_in(|| {
        let socket = UdpSocket::bind(SocketAddr::new(ip(BIRDS[0]), 50_000)).unwrap();
        socket.set_ttl(ttl).unwrap();
        let to = SocketAddr::new(ip(OURS[0]), bgp::bfd::PORT);
        for junk in [&[][..], &[0; 24], &[0xff; 64], &control.encode()[..20], &control.encode()] {
            socket.send_to(junk, to).unwrap();
        }
    });
}

#[test]
fn a_packet_that_has_passed_a_router_is_not_from_the_neighbour() {
    let (_ours, bird, mut end) = running();
    forged(&bird, 254);
    forged(&bird, 64);
    // The same from the link itself is believed, so nothing but the TTL made the difference.
    forged(&bird, 255);
    let (peer, change) = end.next();
    assert_eq!(peer, ip(BIRDS[0]));
    assert!(matches!(change, Change::Down { by_administrator: true, .. }), "{change:?}");
    assert_eq!(end.next(), (ip(BIRDS[0]), Change::Up), "once, by the one packet");
    wait_for("the count", || end.status(BIRDS[0]).ups == 2);
}

#[test]
fn a_port_that_another_program_has_is_said_and_taken_when_it_is_free() {
    let complains =
        |status: &BfdStatus| status.error.as_ref().is_some_and(|error| error.contains("UDP port 3784"));
    let ns = TestNs::new("bfd");
    ns.run("ip", &["link", "set", "lo", "up"]);
    let other = ns.run_in(|| UdpSocket::bind(("0.0.0.0", bgp::bfd::PORT)).unwrap());
    let end = Ours::start(&ns);
    wait_for("the reason", || end.bfd.status_of(ip(BIRDS[0])).is_some_and(|status| complains(&status)));
    drop(other);
    // What is left is that the neighbour cannot be reached from an address which is not there.
    wait_for("the port", || end.status(BIRDS[0]).error.is_none_or(|error| !error.contains("UDP port 3784")));
}
