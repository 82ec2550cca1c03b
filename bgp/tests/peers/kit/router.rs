//! A router of another make, in a namespace of its own.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use kernel::testing::TestNs;

use super::{ASN, bird, frr, gobgp, v4, v6};

/// Its make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bird,
    Frr,
    Gobgp,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Bird, Kind::Frr, Kind::Gobgp];

    /// The last octet of its address.
    pub fn last(self) -> u8 {
        match self {
            Kind::Bird => 11,
            Kind::Frr => 12,
            Kind::Gobgp => 13,
        }
    }
}

/// How it is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    pub kind: Kind,
    pub asn: u32,
    /// The session runs over IPv6.
    pub over_v6: bool,
    pub password: Option<&'static str>,
    pub ttl_security: bool,
    /// Graceful restart with this time.
    pub graceful: Option<u16>,
    /// Notifications do not end what it keeps (RFC 8538); GoBGP has it so always.
    pub keeps_over_notifications: bool,
    /// Long-lived graceful restart with this time.
    pub long_lived: Option<u32>,
    /// We are its clients.
    pub reflector: bool,
    /// Our speakers, by the last octet of their addresses.
    pub neighbours: Vec<u8>,
}

impl Setup {
    /// A router of AS `asn` with a session over IPv4 to our first speaker.
    pub fn new(kind: Kind, asn: u32) -> Self {
        Self {
            kind,
            asn,
            over_v6: false,
            password: None,
            ttl_security: false,
            graceful: None,
            keeps_over_notifications: false,
            long_lived: None,
            reflector: false,
            neighbours: vec![1],
        }
    }

    pub fn internal(&self) -> bool {
        self.asn == ASN
    }

    /// Its address of the session.
    pub fn address(&self) -> IpAddr {
        self.side(self.kind.last())
    }

    /// The address of the session of the host `last`.
    pub fn side(&self, last: u8) -> IpAddr {
        if self.over_v6 { v6(last) } else { v4(last) }
    }

    /// What it originates: a prefix of each family, with communities of each kind.
    pub fn prefixes(&self) -> [String; 2] {
        let last = self.kind.last();
        [format!("10.2{last}.0.0/16"), format!("fd00:2{last}::/48")]
    }

    /// The same as what we are to learn of it. FRR gives an IPv6 next hop to all that it tells over IPv6 where it may.
    pub fn routes(&self) -> Vec<(String, Vec<IpAddr>)> {
        let last = self.kind.last();
        let first = if self.over_v6 && self.kind == Kind::Frr { v6(last) } else { v4(last) };
        self.prefixes().into_iter().zip([vec![first], vec![v6(last)]]).collect()
    }
}

/// A route of ours as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub next_hop: String,
    pub as_path: Vec<u32>,
    /// As `64512:7`.
    pub communities: Vec<String>,
    /// As `64512:7:8`.
    pub large: Vec<String>,
    /// The last number of the first one.
    pub extended: Option<u32>,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub originator: Option<String>,
    pub clusters: Vec<String>,
}

/// A running router; it ends with this value.
pub struct Router {
    // Processes go before their namespace and folder.
    processes: Vec<Child>,
    pub ns: TestNs,
    pub folder: tempfile::TempDir,
    pub setup: Setup,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Router {
    pub fn start(ns: TestNs, setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut router = Self { processes: Vec::new(), ns, folder, setup };
        router.run();
        router
    }

    /// Starts its processes.
    pub fn run(&mut self) {
        match self.setup.kind {
            Kind::Bird => bird::run(self),
            Kind::Frr => frr::run(self),
            Kind::Gobgp => gobgp::run(self),
        }
    }

    /// Ends its processes without a chance to say goodbye.
    pub fn kill(&mut self) {
        for mut process in self.processes.drain(..) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// `ip netns exec` becomes the program, so the process is the program itself.
    pub fn spawn(&mut self, program: &str, arguments: &[&str]) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let process = Command::new("ip")
            .args(["netns", "exec", self.ns.name(), program])
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("tests need {program} (Debian packages bird2, frr, gobgpd): {error}")
            });
        self.processes.push(process);
    }

    /// Runs its command line program.
    pub fn command(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", self.ns.name(), program])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What it says, asked again while that is no answer: its socket may be full, or the machine busy.
    pub fn answer(&self, ask: impl Fn() -> String, is_answer: impl Fn(&str) -> bool) -> String {
        let mut said = String::new();
        super::wait_for(&format!("an answer of {:?}", self.setup.kind), || {
            said = ask();
            is_answer(&said)
        });
        said
    }

    /// How it shows a route to `prefix` that it has learnt, if there is one.
    pub fn seen(&self, prefix: &str) -> Option<Seen> {
        match self.setup.kind {
            Kind::Bird => bird::seen(self, prefix),
            Kind::Frr => frr::seen(self, prefix),
            Kind::Gobgp => gobgp::seen(self, prefix),
        }
    }

    /// Waits for a route to `prefix` and returns it.
    pub fn learns(&self, prefix: &str) -> Seen {
        let mut seen = None;
        super::wait_for(&format!("{prefix} in {:?}", self.setup.kind), || {
            seen = self.seen(prefix);
            seen.is_some()
        });
        seen.unwrap()
    }

    /// Waits until there is no route to `prefix`.
    pub fn loses(&self, prefix: &str) {
        super::wait_for(&format!("the end of {prefix} in {:?}", self.setup.kind), || {
            self.seen(prefix).is_none()
        });
    }

    /// Asks us for all routes again.
    pub fn refresh(&self) {
        match self.setup.kind {
            Kind::Bird => bird::ask(self, "reload in n1"),
            Kind::Frr => frr::ask(self, &format!("clear bgp {} soft in", self.setup.side(1))),
            Kind::Gobgp => {
                self.command("gobgp", &["neighbor", &self.setup.side(1).to_string(), "softresetin"])
            }
        };
    }

    /// True if it says that both of us mark where routes begin and end that are told again (RFC 7313).
    pub fn knows_marks(&self) -> bool {
        match self.setup.kind {
            Kind::Bird => bird::ask(self, "show protocols all n1").matches("Enhanced refresh").count() == 2,
            Kind::Frr => frr::ask(self, "show bgp neighbors")
                .contains("Enhanced Route Refresh: advertised and received"),
            // It has no such thing.
            Kind::Gobgp => true,
        }
    }

    /// Ends the session by an administrator, with these words.
    pub fn shut_session(&self, words: &str) {
        let neighbour = self.setup.side(1).to_string();
        match self.setup.kind {
            Kind::Bird => bird::ask(self, &format!("disable n1 \"{words}\"")),
            Kind::Frr => frr::configure(self, &[&format!("neighbor {neighbour} shutdown message {words}")]),
            Kind::Gobgp => self.command("gobgp", &["neighbor", &neighbour, "shutdown", "--reason", words]),
        };
    }

    /// Sends a signal to all of its processes.
    pub fn signal(&self, signal: &str) {
        for process in &self.processes {
            self.command("kill", &[signal, &process.id().to_string()]);
        }
    }

    /// Lets it reach us through routers.
    pub fn allow_multihop(&mut self) {
        match self.setup.kind {
            Kind::Bird => {
                let path = self.folder.path().join("bird.conf");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, text.replace("strict bind yes;", "strict bind yes; multihop 4;"))
                    .unwrap();
                bird::ask(self, "configure");
            }
            Kind::Frr => {
                let neighbour = self.setup.side(1);
                frr::configure(self, &[&format!("neighbor {neighbour} ebgp-multihop 4")]);
            }
            Kind::Gobgp => panic!("not needed yet"),
        }
    }
}
