//! Nodes that are namespaces on one switch, each with a daemon.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const ROUTERD: &str = env!("CARGO_BIN_EXE_routerd");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The networks of nodes, each a bridge of the switch, which is also the router between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    bridge: &'static str,
    v4: &'static str,
    v6: &'static str,
}

/// Where nodes are.
pub(crate) const NEAR: Segment = Segment { bridge: "switch", v4: "192.0.2", v6: "2001:db8:" };
/// Another network, behind the router.
pub(crate) const FAR: Segment = Segment { bridge: "far", v4: "198.51.100", v6: "2001:db8:f:" };
/// The router's address in each.
const ROUTER: u8 = 254;

/// One node. Its pod is an address of its range on `lo`: routes are what is judged here, not pods.
pub(crate) struct Node {
    number: u8,
    segment: Segment,
    /// Flags beside those that all have.
    pub(crate) flags: Vec<&'static str>,
    pub(crate) ns: TestNs,
    folder: TempDir,
    daemon: Option<Child>,
}

/// The nodes and the switch between them. All of it goes when this is dropped.
pub(crate) struct Lab {
    // Daemons end before their namespaces do.
    pub(crate) nodes: Vec<Node>,
    switch: TestNs,
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// The Node object of a number.
fn manifest(number: u8, segment: Segment) -> String {
    let Segment { v4, v6, .. } = segment;
    format!(
        "apiVersion: v1
kind: Node
metadata: {{name: node{number}}}
spec: {{podCIDRs: [10.244.{number}.0/24, 'fd00:244:{number}::/64']}}
status: {{addresses: [{{type: InternalIP, address: {v4}.{number}}}, {{type: InternalIP, address: '{v6}:{number}'}}]}}
"
    )
}

impl Lab {
    /// A cluster of `count` nodes on one network, without daemons.
    pub(crate) fn new(count: u8) -> Self {
        Self::across(&vec![NEAR; count.into()])
    }

    /// A cluster of nodes that are where `segments` says, without daemons. The router between knows no pods.
    pub(crate) fn across(segments: &[Segment]) -> Self {
        let switch = TestNs::new("switch");
        for Segment { bridge, v4, v6 } in [NEAR, FAR] {
            // Without snooping: a switch that learns who listens swallows the first neighbour discoveries.
            switch.run("ip", &["link", "add", bridge, "type", "bridge", "mcast_snooping", "0"]);
            switch.run("ip", &["link", "set", bridge, "up"]);
            for address in [format!("{v4}.{ROUTER}/24"), format!("{v6}:{ROUTER}/64")] {
                give(&switch, &address, bridge);
            }
        }
        switch.run("sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        let nodes: Vec<Node> =
            (1..).zip(segments).map(|(number, segment)| Node::new(number, *segment, &switch)).collect();
        let lab = Self { nodes, switch };
        lab.know(1..=lab.nodes.len().try_into().unwrap());
        lab
    }

    /// All nodes know of the nodes with these numbers and of no others.
    pub(crate) fn know(&self, numbers: impl IntoIterator<Item = u8>) {
        self.tell(&numbers.into_iter().map(|number| self.object(number)).collect::<String>());
    }

    /// The Node object of a number.
    pub(crate) fn object(&self, number: u8) -> String {
        format!("---\n{}", manifest(number, self.nodes[usize::from(number) - 1].segment))
    }

    /// These are the objects that all nodes see.
    pub(crate) fn tell(&self, text: &str) {
        for node in &self.nodes {
            let path = node.folder.path();
            fs::write(path.join("new"), text).unwrap();
            fs::rename(path.join("new"), path.join("manifests/nodes.yaml")).unwrap();
        }
    }

    /// Connects something else to the nodes' first network.
    pub(crate) fn plug(&self, ns: &TestNs, port: &str, addresses: &[String]) {
        plug(ns, &self.switch, port, NEAR.bridge, addresses);
    }

    /// Pulls a node's cable out of the switch, or puts it in.
    pub(crate) fn cable(&self, number: u8, connected: bool) {
        let state = if connected { "up" } else { "down" };
        self.switch.run("ip", &["link", "set", &format!("port{number}"), state]);
    }
}

/// Connects a namespace to a network of the switch: its device is `eth0`, the other end is `port`.
fn plug(ns: &TestNs, switch: &TestNs, port: &str, bridge: &str, addresses: &[String]) {
    ns.run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch.name()]);
    switch.run("ip", &["link", "set", port, "master", bridge, "up"]);
    for address in addresses {
        give(ns, address, "eth0");
    }
    ns.run("ip", &["link", "set", "eth0", "up"]);
}

/// Waits for what must come; `story` says what there is instead.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool, story: impl Fn() -> String) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}; {}", story());
        std::thread::sleep(Duration::from_millis(20));
    }
    start.elapsed()
}

/// Gives a device an address that can be used at once.
fn give(ns: &TestNs, address: &str, device: &str) {
    let nodad: &[&str] = if address.contains("::") { &["nodad"] } else { &[] };
    ns.run("ip", &[&["address", "add", address, "dev", device], nodad].concat());
}

impl Node {
    fn new(number: u8, segment: Segment, switch: &TestNs) -> Self {
        let Segment { bridge, v4, v6 } = segment;
        let ns = TestNs::new("node");
        let own = [format!("{v4}.{number}/24"), format!("{v6}:{number}/64")];
        plug(&ns, switch, &format!("port{number}"), bridge, &own);
        for address in [format!("10.244.{number}.1/32"), format!("fd00:244:{number}::1/128")] {
            give(&ns, &address, "lo");
        }
        for gateway in [format!("{v4}.{ROUTER}"), format!("{v6}:{ROUTER}")] {
            ns.run("ip", &["route", "add", "default", "via", &gateway]);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("manifests")).unwrap();
        Self { number, segment, flags: Vec::new(), ns, folder, daemon: None }
    }

    pub(crate) fn start(&mut self) {
        assert!(self.daemon.is_none());
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let log = fs::OpenOptions::new().create(true).append(true).open(path("log")).unwrap();
        let daemon = self
            .ns
            .command(ROUTERD)
            .arg(format!("--manifests={}", path("manifests")))
            .arg(format!("--run-dir={}", path("run")))
            .arg(format!("--hostname-override=node{}", self.number))
            .args(["--bgp-holdtime=3s", "--enable-ipv6", "--run-firewall=false", "--run-service-proxy=false"])
            .args(["--enable-cni=false", "--service-cluster-ip-range=10.96.0.0/12", "-v=1"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    /// Ends the daemon.
    pub(crate) fn signal(&mut self, signal: Signal) {
        let mut daemon = self.daemon.take().unwrap();
        kill(Pid::from_raw(daemon.id().try_into().unwrap()), signal).unwrap();
        daemon.wait().unwrap();
    }

    /// How often its daemon has put routing right that others had changed.
    pub(crate) fn repairs(&self) -> u64 {
        let status = self.status();
        let planes = status["planes"].as_array().unwrap();
        planes.iter().find(|plane| plane["name"] == "routing").unwrap()["repairs"].as_u64().unwrap()
    }

    /// What its daemon says of itself.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.asks_daemon(&["status", "--json"])).unwrap()
    }

    /// What one of the commands that ask the daemon prints.
    pub(crate) fn asks_daemon(&self, words: &[&str]) -> String {
        let run = self.folder.path().join("run").display().to_string();
        self.ns.run(ROUTERD, &[words, &["--run-dir", &run]].concat())
    }

    /// What `--cleanup-config` says.
    pub(crate) fn clean_up(&self) -> String {
        let run = format!("--run-dir={}", self.folder.path().join("run").display());
        self.ns.run(ROUTERD, &["--cleanup-config", &run])
    }

    /// Its address of each family.
    pub(crate) fn addresses(&self) -> [String; 2] {
        let (Segment { v4, v6, .. }, number) = (self.segment, self.number);
        [format!("{v4}.{number}"), format!("{v6}:{number}")]
    }

    /// Our routes, of both families.
    pub(crate) fn routes(&self) -> String {
        let both = ["-4", "-6"].map(|family| self.ns.run("ip", &[family, "route", "show", "proto", "179"]));
        both.concat()
    }

    /// What there is to say when a test fails.
    pub(crate) fn story(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        format!("routes:\n{}log:\n{log}", self.routes())
    }

    /// True if there are routes to the pods of this node, in both families.
    pub(crate) fn reaches(&self, number: u8) -> bool {
        let routes = self.routes();
        routes.contains(&format!("10.244.{number}.0/24 via 192.0.2.{number} "))
            && routes.contains(&format!("fd00:244:{number}::/64 via 2001:db8::{number} "))
    }

    /// Waits for what must come and says how long it took.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        wait_for(&format!("{what} at node{}", self.number), || done(self), || self.story())
    }

    /// The addresses of its pod.
    fn pod(&self) -> [IpAddr; 2] {
        let number = self.number;
        [IpAddr::from([10, 244, number, 1]), format!("fd00:244:{number}::1").parse().unwrap()]
    }

    fn socket(&self, address: IpAddr) -> UdpSocket {
        let socket = self.ns.run_in(|| UdpSocket::bind((address, 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// A question of this node's pod to that of another and its answer, in both families; an error says who was seen
    /// as the asker, or what did not come.
    pub(crate) fn asks(&self, other: &Node) -> Result<(), String> {
        for (own, peer) in self.pod().into_iter().zip(other.pod()) {
            let (asker, asked) = (self.socket(own), other.socket(peer));
            let mut buffer = [0; 8];
            asker.send_to(b"question", asked.local_addr().unwrap()).map_err(|error| error.to_string())?;
            let (_, from) =
                asked.recv_from(&mut buffer).map_err(|error| format!("{own} to {peer}: {error}"))?;
            if from.ip() != own {
                return Err(format!("{peer} was asked by {own} and saw {from}"));
            }
            asked.send_to(b"answer", from).map_err(|error| error.to_string())?;
            asker.recv_from(&mut buffer).map_err(|error| format!("{peer} back to {own}: {error}"))?;
        }
        Ok(())
    }
}
