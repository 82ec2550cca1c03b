//! Routers, our speaker, and the network between them.

mod bird;
mod frr;
mod gobgp;
mod ours;
mod router;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use kernel::testing::TestNs;

pub use ours::Ours;
pub use router::{Kind, Router, Seen, Setup};

/// Our AS.
pub const ASN: u32 = 64512;
/// That of a router of another AS.
pub const OTHER: u32 = 65001;

/// The IPv4 address of a host of the link.
pub fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Its IPv6 address: the same digits.
pub fn v6(last: u8) -> IpAddr {
    format!("2001:db8::{last}").parse().unwrap()
}

/// Waits for what must come; the time only guards against waiting for ever.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_mins(1), "never came: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One link with our namespace on it.
pub struct Lan {
    pub ours: TestNs,
}

impl Lan {
    pub fn new() -> Self {
        let ours = TestNs::new("bgp");
        ours.run("ip", &["link", "add", "lan", "type", "bridge", "mcast_snooping", "0"]);
        for last in [1, 2] {
            ours.run("ip", &["address", "add", &format!("{}/24", v4(last)), "dev", "lan"]);
            ours.run("ip", &["address", "add", &format!("{}/64", v6(last)), "dev", "lan", "nodad"]);
        }
        ours.run("ip", &["link", "set", "lan", "up"]);
        Self { ours }
    }

    /// A namespace for a router on the link.
    pub fn join(&self, last: u8) -> TestNs {
        let theirs = TestNs::new("router");
        let port = format!("port{last}");
        self.ours.run(
            "ip",
            &[
                "link",
                "add",
                &port,
                "master",
                "lan",
                "type",
                "veth",
                "peer",
                "name",
                "cable",
                "netns",
                theirs.name(),
            ],
        );
        self.ours.run("ip", &["link", "set", &port, "up"]);
        theirs.run("ip", &["address", "add", &format!("{}/24", v4(last)), "dev", "cable"]);
        theirs.run("ip", &["address", "add", &format!("{}/64", v6(last)), "dev", "cable", "nodad"]);
        theirs.run("ip", &["link", "set", "cable", "up"]);
        theirs.run("ip", &["link", "set", "lo", "up"]);
        theirs
    }

    /// A router on the link, running.
    pub fn start(&self, setup: Setup) -> Router {
        Router::start(self.join(setup.kind.last()), setup)
    }
}
