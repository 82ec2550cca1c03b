//! The speaker against BIRD, a router that many networks trust, in namespaces of their own.
#![expect(clippy::disallowed_methods, reason = "BIRD is the other end of the session")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bgp::fsm::State;
use bgp::{
    Announcement, Communities, GracefulRestart, PeerConfig, RibEvent, Shutdown, Speaker, SpeakerConfig,
    SpeakerHandle,
};
use kernel::testing::TestNs;
use prefix::Prefix;
use tokio::sync::mpsc;

/// How the two are connected.
#[derive(Clone, Copy)]
struct Session {
    ours: &'static str,
    birds: &'static str,
    birds_asn: u32,
}

const ASN: u32 = 64512;
const INSIDE_V4: Session = Session { ours: "192.0.2.1", birds: "192.0.2.2", birds_asn: ASN };
const INSIDE_V6: Session = Session { ours: "2001:db8::1", birds: "2001:db8::2", birds_asn: ASN };
const OUTSIDE: Session = Session { birds_asn: 65001, ..INSIDE_V4 };

/// BIRD in its namespace; it ends with this value.
struct Bird {
    // The process goes before its namespace and its folder.
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

fn config(session: Session) -> String {
    let Session { ours, birds, birds_asn } = session;
    format!(
        "log stderr all;
        router id 192.0.2.2;
        protocol device {{}}
        protocol static s4 {{ ipv4; route 10.200.0.0/16 blackhole; route 10.201.0.0/24 blackhole; }}
        protocol static s6 {{ ipv6; route fd00:200::/48 blackhole; }}
        protocol bgp ours {{
            local {birds} as {birds_asn};
            neighbor {ours} as {ASN};
            strict bind yes;
            hold time 9;
            error wait time 1, 2;
            connect delay time 1;
            graceful restart on;
            ipv4 {{ import all; export where source = RTS_STATIC; next hop address 192.0.2.2; }};
            ipv6 {{ import all; export where source = RTS_STATIC; next hop address 2001:db8::2; }};
        }}"
    )
}

impl Bird {
    fn start(ns: TestNs, session: Session) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bird.conf"), config(session)).unwrap();
        // `ip netns exec` becomes BIRD, so the process is BIRD itself.
        let process = Command::new("ip")
            .args([
                "netns",
                "exec",
                ns.name(),
                "/usr/sbin/bird",
                "-f",
                "-c",
                "bird.conf",
                "-s",
                "bird.ctl",
                "-P",
                "bird.pid",
            ])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .expect("tests need bird (Debian package bird2)");
        let bird = Self { process, ns, folder };
        wait_for("BIRD's start", || {
            let log = bird.log();
            assert!(!log.contains("syntax error"), "{log}");
            log.contains("Started")
        });
        bird
    }

    fn ask(&self, words: &str) -> String {
        let socket = self.folder.path().join("bird.ctl");
        let output =
            Command::new("/usr/sbin/birdc").arg("-s").arg(socket).args(words.split(' ')).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What it has learnt from us: `prefix` and how it is shown.
    fn route(&self, prefix: &str) -> String {
        self.ask(&format!("show route protocol ours all {prefix}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two namespaces with a cable: ours, BIRD's.
fn cabled() -> (TestNs, TestNs) {
    let (ours, birds) = (TestNs::new("bgp"), TestNs::new("bird"));
    ours.run("ip", &["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", birds.name()]);
    for (ns, v4, v6) in
        [(&ours, "192.0.2.1/24", "2001:db8::1/64"), (&birds, "192.0.2.2/24", "2001:db8::2/64")]
    {
        ns.run("ip", &["address", "add", v4, "dev", "cable"]);
        ns.run("ip", &["address", "add", v6, "dev", "cable", "nodad"]);
        ns.run("ip", &["link", "set", "cable", "up"]);
    }
    (ours, birds)
}

/// Our side: the speaker and what it has chosen.
struct Ours {
    runtime: tokio::runtime::Runtime,
    handle: SpeakerHandle,
    events: mpsc::Receiver<RibEvent>,
    routes: BTreeMap<Prefix, Vec<IpAddr>>,
}

impl Ours {
    /// To be called inside of the namespace, whose threads inherit it.
    fn start(session: Session, graceful_restart: Option<GracefulRestart>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ours: IpAddr = session.ours.parse().unwrap();
        let config = SpeakerConfig {
            listen: vec![SocketAddr::new(ours, 179)],
            ..SpeakerConfig::new(ASN, "192.0.2.1".parse().unwrap())
        };
        let (handle, events) = {
            let _inside = runtime.enter();
            Speaker::start(config).unwrap()
        };
        let speaker = handle.blocking();
        let v4 = Announcement {
            communities: Communities { standard: vec![ASN << 16 | 7], ..Communities::default() },
            ..Announcement::via("192.0.2.1".parse().unwrap())
        };
        speaker.announce("10.1.0.0/24".parse().unwrap(), v4).unwrap();
        let v6 = Announcement::via("2001:db8::1".parse().unwrap());
        speaker.announce("fd00:1::/64".parse().unwrap(), v6).unwrap();
        speaker.view_complete().unwrap();
        let birds = session.birds.parse().unwrap();
        let peer = PeerConfig {
            local_address: Some(ours),
            graceful_restart,
            ..PeerConfig::new(birds, session.birds_asn)
        };
        speaker.set_peer(peer).unwrap();
        Self { runtime, handle, events, routes: BTreeMap::new() }
    }

    fn wait_for(&mut self, expected: &[(&str, &str)]) -> Duration {
        let expected: BTreeMap<Prefix, Vec<IpAddr>> = expected
            .iter()
            .map(|(prefix, hop)| (prefix.parse().unwrap(), vec![hop.parse().unwrap()]))
            .collect();
        let start = Instant::now();
        while self.routes != expected {
            let next = self.events.recv();
            let next =
                self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), next).await });
            let Ok(Some(RibEvent::Best { prefix, next_hops, .. })) = next else {
                panic!("has {:?} and not {expected:?}: {:?}", self.routes, self.handle.blocking().status());
            };
            if next_hops.is_empty() {
                self.routes.remove(&prefix);
            } else {
                self.routes.insert(prefix, next_hops);
            }
        }
        start.elapsed()
    }
}

const BIRDS_ROUTES: [(&str, &str); 3] =
    [("10.200.0.0/16", "192.0.2.2"), ("10.201.0.0/24", "192.0.2.2"), ("fd00:200::/48", "2001:db8::2")];

/// Both learn the other's routes of both families; what either withdraws goes; BIRD's death is noticed at once.
fn exchange(session: Session) {
    let (ns, birds_ns) = cabled();
    let mut bird = Bird::start(birds_ns, session);
    ns.run_in(|| {
        let mut ours = Ours::start(session, None);
        ours.wait_for(&BIRDS_ROUTES);
        wait_for("our IPv4 route in BIRD", || bird.route("10.1.0.0/24").contains("BGP.next_hop: 192.0.2.1"));
        wait_for("our IPv6 route in BIRD", || {
            bird.route("fd00:1::/64").contains("BGP.next_hop: 2001:db8::1")
        });
        let shown = bird.route("10.1.0.0/24");
        assert!(shown.contains("BGP.community: (64512,7)"), "{shown}");
        if session.birds_asn == ASN {
            assert!(shown.contains("BGP.local_pref: 100"), "{shown}");
        } else {
            assert!(shown.contains("BGP.as_path: 64512"), "{shown}");
        }
        let peer = ours.handle.blocking().status().unwrap().peers.remove(0);
        assert_eq!(
            (peer.state, peer.hold_time, peer.received.all(), peer.sent.all()),
            (State::Established, Some(9), 3, 2)
        );
        // Longer than the hold time: keepalives go both ways.
        std::thread::sleep(Duration::from_secs(11));
        assert_eq!(ours.handle.blocking().status().unwrap().peers[0].established, 1, "{}", bird.log());
        ours.handle.blocking().withdraw("10.1.0.0/24".parse().unwrap()).unwrap();
        wait_for("our withdrawal in BIRD", || !bird.route("10.1.0.0/24").contains("BGP.next_hop"));
        bird.ask("disable s6");
        ours.wait_for(&BIRDS_ROUTES[..2]);
        // ROUTE-REFRESH: everything is told again, and the session lives on.
        bird.ask("reload in ours");
        wait_for("our IPv6 route again", || bird.route("fd00:1::/64").contains("BGP.next_hop: 2001:db8::1"));
        assert_eq!(ours.handle.blocking().status().unwrap().peers[0].established, 1, "{}", bird.log());
        bird.process.kill().unwrap();
        let took = ours.wait_for(&[]);
        assert!(took < Duration::from_secs(1), "BIRD's end was noticed after {took:?}");
    });
}

#[test]
fn routes_of_both_families_are_exchanged_over_ipv4_inside_the_as() {
    exchange(INSIDE_V4);
}

#[test]
fn routes_of_both_families_are_exchanged_over_ipv6_inside_the_as() {
    exchange(INSIDE_V6);
}

#[test]
fn routes_of_both_families_are_exchanged_with_another_as() {
    exchange(OUTSIDE);
}

#[test]
fn a_cut_cable_shows_by_the_hold_time() {
    let (ns, birds_ns) = cabled();
    let bird = Bird::start(birds_ns, INSIDE_V4);
    ns.run_in(|| {
        let mut ours = Ours::start(INSIDE_V4, None);
        ours.wait_for(&BIRDS_ROUTES);
        bird.ns.run("ip", &["link", "set", "cable", "down"]);
        let took = ours.wait_for(&[]);
        let expected = Duration::from_secs(5)..Duration::from_secs(11);
        assert!(expected.contains(&took), "after {took:?}");
        // And it comes back by itself.
        bird.ns.run("ip", &["address", "replace", "2001:db8::2/64", "dev", "cable", "nodad"]);
        bird.ns.run("ip", &["link", "set", "cable", "up"]);
        ours.wait_for(&BIRDS_ROUTES);
    });
}

#[test]
fn bird_keeps_our_routes_over_a_graceful_restart_and_drops_them_when_we_cease() {
    let (ns, birds_ns) = cabled();
    let bird = Bird::start(birds_ns, INSIDE_V4);
    let graceful = Some(GracefulRestart { restart_time: 30, ..GracefulRestart::default() });
    let learnt = || bird.route("10.1.0.0/24").contains("BGP.next_hop: 192.0.2.1");
    ns.run_in(|| {
        let mut ours = Ours::start(INSIDE_V4, graceful);
        ours.wait_for(&BIRDS_ROUTES);
        wait_for("our route in BIRD", learnt);
        ours.runtime.block_on(ours.handle.shutdown(Shutdown::Quiet)).unwrap();
        drop(ours);
        wait_for("the end of the session in BIRD", || {
            !bird.ask("show protocols ours").contains("Established")
        });
        assert!(learnt(), "BIRD keeps the route while we are away:\n{}", bird.log());
        let mut ours = Ours::start(INSIDE_V4, graceful);
        ours.wait_for(&BIRDS_ROUTES);
        wait_for("the new session in BIRD", || bird.ask("show protocols ours").contains("Established"));
        assert!(learnt());
        ours.runtime.block_on(ours.handle.shutdown(Shutdown::Cease("that is all".to_owned()))).unwrap();
        wait_for("BIRD to drop our route", || !learnt());
        assert!(bird.ask("show protocols all ours").contains("that is all"), "the words came over");
    });
}
