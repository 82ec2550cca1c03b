//! Restarts of a daemon while packets go over the routes that it and its neighbours have by BGP: none is lost.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

use crate::external::{Bird, objects};
use crate::lab::Lab;

/// A machine behind the router, in a range that only BIRD announces.
const FAR: &str = "198.18.0.1";
const PORT: u16 = 4000;
/// One question each time.
const PACE: Duration = Duration::from_millis(5);
/// Longer than an answer takes on a busy machine.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Room in a socket for what comes while its reader does not run, in bytes: some 20 s.
const ROOM: usize = 4 << 20;

/// BIRD as a router with a kernel of its own: what it learns it forwards by, and it announces the range behind it.
fn routing_bird(lab: &Lab) -> Bird {
    let bird = Bird::start(lab, "off");
    bird.ns().run("ip", &["link", "set", "lo", "up"]);
    bird.ns().run("ip", &["address", "add", &format!("{FAR}/32"), "dev", "lo"]);
    bird.configure(|text| {
        text.replace("export none;", "export where proto = \"behind\";")
            + "protocol static behind { ipv4; route 198.18.0.0/24 unreachable; }
               protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n"
    });
    bird
}

/// Sends back all that comes to an address, until told to end.
fn echo(ns: &TestNs, at: IpAddr, end: &Arc<AtomicBool>) -> JoinHandle<()> {
    let socket = socket(ns, SocketAddr::new(at, PORT));
    let end = Arc::clone(end);
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while !end.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(&buffer[..length], from).unwrap();
            }
        }
    })
}

fn socket(ns: &TestNs, at: SocketAddr) -> UdpSocket {
    let socket = ns.run_in(|| UdpSocket::bind(at)).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &ROOM).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

/// Numbered questions from one address to another all the time.
struct Flow {
    asker: JoinHandle<(u64, Vec<u64>)>,
    name: String,
}

impl Flow {
    fn start(ns: &TestNs, from: IpAddr, to: IpAddr, end: &Arc<AtomicBool>) -> Self {
        let socket = socket(ns, SocketAddr::new(from, 0));
        socket.set_nonblocking(true).unwrap();
        let end = Arc::clone(end);
        let asker = std::thread::spawn(move || {
            let (mut asked, mut answered) = (0_u64, Vec::new());
            let mut ended: Option<Instant> = None;
            while ended.is_none_or(|at| at.elapsed() < LAST_ANSWER) {
                if ended.is_none() {
                    // No route, no neighbour: it counts as lost like any other.
                    let _ = socket.send_to(&asked.to_be_bytes(), SocketAddr::new(to, PORT));
                    asked += 1;
                }
                let mut buffer = [0; 8];
                while socket.recv_from(&mut buffer).is_ok() {
                    answered.push(u64::from_be_bytes(buffer));
                }
                if ended.is_none() && end.load(Ordering::Relaxed) {
                    ended = Some(Instant::now());
                }
                std::thread::sleep(PACE);
            }
            (asked, answered)
        });
        Self { asker, name: format!("{from} to {to}") }
    }

    /// How many questions there were, and those without an answer.
    fn end(self) -> (String, u64, Vec<u64>) {
        let (asked, mut answered) = self.asker.join().unwrap();
        answered.sort_unstable();
        let lost = (0..asked).filter(|number| answered.binary_search(number).is_err()).collect();
        (self.name, asked, lost)
    }
}

/// 6 in the normal tests; `RESTARTS=100` is what is promised.
fn restarts() -> usize {
    std::env::var("RESTARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[test]
fn restarts_of_the_daemon_under_traffic_cost_no_packet() {
    let mut lab = Lab::new(2);
    for node in &mut lab.nodes {
        node.ns.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        node.start();
    }
    let bird = routing_bird(&lab);
    lab.tell(&objects(&lab));
    let (pod, other_pod): (IpAddr, IpAddr) = ([10, 244, 1, 1].into(), [10, 244, 2, 1].into());
    let far: IpAddr = FAR.parse().unwrap();
    bird.until("routes to both nodes' pods in its kernel", |bird| {
        let routes = bird.ns().run("ip", &["route"]);
        routes.contains("10.244.1.0/24 via") && routes.contains("10.244.2.0/24 via")
    });
    for node in &lab.nodes {
        node.until("the route to the range behind BIRD", |node| node.routes().contains("198.18.0.0/24"));
    }
    lab.nodes[0].until("the other's pods", |node| node.reaches(2));
    lab.nodes[1].until("the other's pods", |node| node.reaches(1));

    let (end, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let echoes = [echo(&lab.nodes[0].ns, pod, &last), echo(bird.ns(), far, &last)];
    let flows = [
        Flow::start(bird.ns(), far, pod, &end),
        Flow::start(&lab.nodes[1].ns, other_pod, pod, &end),
        Flow::start(&lab.nodes[0].ns, pod, far, &end),
    ];
    let times = restarts();
    for number in 0..times {
        let signal = if number % 2 == 0 { Signal::SIGTERM } else { Signal::SIGKILL };
        lab.nodes[0].signal(signal);
        lab.nodes[0].start();
        bird.until("the session is back", |bird| {
            bird.ask("show protocols n1").contains("Established")
                && lab.nodes[0].routes().contains("198.18.0.0/24")
        });
        // Some time with routes that are repeated, swept or kept.
        std::thread::sleep(Duration::from_millis(700));
    }
    end.store(true, Ordering::Relaxed);
    let outcomes = flows.map(Flow::end);
    last.store(true, Ordering::Relaxed);
    for one in echoes {
        one.join().unwrap();
    }
    for (name, asked, lost) in outcomes {
        println!("{times} restarts, {name}: {asked} questions, {} without an answer", lost.len());
        assert!(asked > 20 * times as u64, "{name}: {asked} questions are too few to show anything");
        assert!(lost.is_empty(), "{name}: {lost:?} of {asked}; {}", bird.story());
    }
}
