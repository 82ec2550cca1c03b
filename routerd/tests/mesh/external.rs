//! An external router, BIRD, beside the nodes: what the daemon tells it by annotations and Services, and when.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::lab::{Lab, wait_for};
use kernel::testing::TestNs;
use nix::sys::signal::Signal;

pub(crate) const ROUTER: &str = "192.0.2.200";
pub(crate) const VIP: &str = "203.0.113.7";
/// `s3cret` in base64.
pub(crate) const PASSWORD: &str = "czNjcmV0";

/// A session with a node; `bfd` is what BIRD does when the path is lost: `on` ends it, `graceful` keeps the routes.
fn session(number: usize, bfd: &str) -> String {
    format!(
        "protocol bgp n{number} {{
            local {ROUTER} as 65001;
            neighbor 192.0.2.{number} as 64512;
            password \"s3cret\"; bfd {bfd}; graceful restart aware; hold time 9;
            connect delay time 1; error wait time 1, 2;
            ipv4 {{ import all; export none; }};
        }}\n"
    )
}

/// BIRD on the switch, with a session to each of the nodes; it ends with this value.
pub(crate) struct Bird {
    process: Child,
    folder: tempfile::TempDir,
    ns: TestNs,
}

impl Drop for Bird {
    fn drop(&mut self) {
        // It may have been killed on purpose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bird {
    pub(crate) fn start(lab: &Lab, bfd: &str) -> Self {
        let ns = TestNs::new("router");
        lab.plug(&ns, "router", &[format!("{ROUTER}/24")]);
        let folder = tempfile::tempdir().unwrap();
        let sessions: String = (1..=lab.nodes.len()).map(|number| session(number, bfd)).collect();
        let text = format!(
            "log stderr all; debug protocols {{ states, events }};
            router id {ROUTER};
            protocol device {{}}
            protocol bfd {{ interface \"*\" {{ min rx interval 300 ms; min tx interval 300 ms; multiplier 5; }}; }}
            {sessions}"
        );
        std::fs::write(folder.path().join("bird.conf"), text).unwrap();
        let process = ns
            .command("/usr/sbin/bird")
            .args(["-f", "-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let bird = Self { process, folder, ns };
        // Whoever changes its configuration must not do so while it reads it.
        bird.until("BIRD's start", |bird| bird.ask("show status").contains("up and running"));
        bird
    }

    pub(crate) fn ask(&self, words: &str) -> String {
        let socket = self.folder.path().join("bird.ctl").display().to_string();
        let birdc = self.ns.command("/usr/sbin/birdc").args(["-s", &socket]).args(words.split(' ')).output();
        // A route that is not there is an error for it.
        String::from_utf8_lossy(&birdc.unwrap().stdout).into_owned()
    }

    /// Its namespace.
    pub(crate) fn ns(&self) -> &TestNs {
        &self.ns
    }

    /// Has it read its configuration again, changed so.
    pub(crate) fn configure(&self, change: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("bird.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, change(text)).unwrap();
        self.ask("configure");
    }

    /// The nodes that have told it the Service's address.
    pub(crate) fn ways(&self) -> Vec<u8> {
        let said = self.ask(&format!("show route {VIP}/32 all"));
        (1..=9).filter(|number| said.contains(&format!("via 192.0.2.{number} "))).collect()
    }

    /// What there is to say when a test fails.
    pub(crate) fn story(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        format!("{}{}\n{log}", self.ask("show route all"), self.ask("show protocols all"))
    }

    pub(crate) fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        wait_for(what, || done(self), || self.story());
    }
}

/// A Service with one endpoint on a node, ready or not.
pub(crate) fn service(node: u8, ready: bool) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default, annotations: {{kube-router.io/service.advertise.externalip: 'true', kube-router.io/service.bgp.communities: '64512:7'}}}}
spec: {{clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], externalIPs: [{VIP}], externalTrafficPolicy: Local, ports: [{{port: 80, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{port: 8080, protocol: TCP, name: ''}}]
endpoints: [{{addresses: [10.244.{node}.9], nodeName: node{node}, conditions: {{ready: {ready}, serving: {ready}}}}}]
"
    )
}

/// The Node objects, with the router as their peer.
pub(crate) fn objects(lab: &Lab) -> String {
    let peer = format!(
        "annotations: {{kube-router.io/peers: '[{{remoteip: {ROUTER}, remoteasn: 65001, password: {PASSWORD}, bfd: {{enabled: true, desired_min_tx_interval: 300, required_min_rx_interval: 300, detection_multiplier: 5}}}}]'}}"
    );
    let object =
        |number: u8| lab.object(number).replace("metadata: {name", &format!("metadata: {{{peer}, name"));
    (1..).take(lab.nodes.len()).map(object).collect()
}

fn running(bfd: &str) -> (Lab, Bird) {
    let mut lab = Lab::new(2);
    for node in &mut lab.nodes {
        node.flags = vec!["--strict-external-ip-validation=false"];
        node.start();
    }
    let bird = Bird::start(&lab, bfd);
    // The peers come by annotation, while the daemons run.
    lab.tell(&(objects(&lab) + &service(1, true)));
    bird.until("the Service's address from the node with its endpoint", |bird| bird.ways() == [1]);
    (lab, bird)
}

#[test]
fn a_services_address_follows_its_endpoint_from_node_to_node() {
    let (lab, bird) = running("on");
    let said = bird.ask(&format!("show route {VIP}/32 all"));
    assert!(said.contains("(64512,7)"), "{said}");
    bird.until("the pods of both nodes", |bird| {
        let all = bird.ask("show route");
        all.contains("10.244.1.0/24") && all.contains("10.244.2.0/24")
    });
    lab.tell(&(objects(&lab) + &service(2, true)));
    bird.until("the address from the other node", |bird| bird.ways() == [2]);
    lab.tell(&(objects(&lab) + &service(2, false)));
    bird.until("nobody has it", |bird| bird.ways().is_empty());
    assert!(bird.ask("show protocols").matches("Established").count() == 2, "no session was lost over it");
    let node = &lab.nodes[0];
    node.until("the other's pods", |node| node.reaches(2));
    assert!(node.asks_daemon(&["bgp", "neighbors"]).contains(&format!("{ROUTER} ")), "{}", node.story());
    let told = node.asks_daemon(&["bgp", "advertised", ROUTER]);
    assert!(told.contains("10.244.1.0/24") && told.contains("AS path 64512"), "{told}");
    let why = node.asks_daemon(&["bgp", "explain", "10.244.2.0/24"]);
    assert!(why.contains("from 192.0.2.2, used") && why.contains(&format!("not told to {ROUTER}")), "{why}");
    assert!(node.asks_daemon(&["bgp", "rib"]).contains("fd00:244:2::/64"));
    assert!(node.asks_daemon(&["bgp", "explain", VIP]).contains("nobody has told it"));
}

#[test]
fn a_silent_path_is_lost_by_bfd_and_a_restart_costs_no_route() {
    let (mut lab, bird) = running("on");
    bird.until("BFD", |bird| bird.ask("show bfd sessions").matches(" Up ").count() == 2);
    // Killed: BFD says so long before the hold time of nine seconds, and the route goes.
    lab.nodes[0].signal(Signal::SIGKILL);
    bird.until("the lost node's ways go", |bird| bird.ways().is_empty());
    lab.nodes[0].start();
    bird.until("they are back", |bird| bird.ways() == [1]);
    bird.until("BFD again", |bird| bird.ask("show bfd sessions").matches(" Up ").count() == 2);
    let node = &lab.nodes[0];
    let shown = || {
        let status = node.status();
        let peers = status["bgp"]["peers"].as_array()?;
        peers.iter().find(|peer| peer["address"] == ROUTER).cloned()
    };
    wait_for(
        "the session and its path in the status",
        || shown().is_some_and(|peer| peer["asn"] == 65001 && peer["bfd"]["state"] == "Up"),
        || node.story(),
    );
}

#[test]
fn a_daemon_that_is_replaced_keeps_its_ways_and_tells_bfd_that_it_is_no_failure() {
    let (mut lab, bird) = running("graceful");
    bird.until("BFD", |bird| bird.ask("show bfd sessions").matches(" Up ").count() == 2);
    lab.nodes[0].signal(Signal::SIGTERM);
    // Longer than the 1.5 s that BFD waits, shorter than what a restart may take.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(bird.ways(), [1], "{}", bird.story());
    lab.nodes[0].start();
    bird.until("the session is back", |bird| bird.ask("show protocols").matches("Established").count() == 2);
    assert_eq!(bird.ways(), [1]);
}

/// Wrong annotations are a problem of the node, and what is right in them holds.
#[test]
fn a_wrong_peer_is_said_in_the_status_and_the_others_have_their_sessions() {
    let (lab, bird) = running("on");
    let wrong = objects(&lab).replace("'[{", "'[{remoteip: 192.0.2.300, remoteasn: 1}, {");
    lab.tell(&(wrong + &service(1, true)));
    let node = &lab.nodes[0];
    wait_for("the problem", || node.status().to_string().contains("item 1: remoteip"), || node.story());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bird.ways(), [1]);
    assert!(!node.status().to_string().contains(PASSWORD) && !node.story().contains(PASSWORD));
}

#[test]
fn a_session_that_is_lost_is_a_problem_of_the_node_and_what_a_peer_has_is_counted_by_family() {
    let (lab, bird) = running("on");
    let node = &lab.nodes[0];
    let peer = || {
        let status = node.status();
        status["bgp"]["peers"].as_array()?.iter().find(|peer| peer["address"] == ROUTER).cloned()
    };
    wait_for(
        "what BIRD was told",
        || {
            peer().is_some_and(|peer| {
                let of = |family: &str| peer["prefixes"][family]["advertised"].as_u64();
                (of("IPv4"), of("IPv6"), peer["lost"].as_u64()) == (Some(2), Some(0), Some(0))
            })
        },
        || node.story(),
    );
    let problem = || node.status()["planes"].to_string().contains(&format!("BGP session {ROUTER}"));
    assert!(!problem());
    drop(bird);
    wait_for("the problem", problem, || node.status().to_string());
    assert!(node.status()["planes"].to_string().contains("(AS 65001) was lost: "));
    wait_for(
        "the count of losses",
        || peer().is_some_and(|peer| peer["lost"] == 1),
        || node.status().to_string(),
    );
    // It is one of the session, and the plane is as healthy as before.
    let again = Bird::start(&lab, "on");
    again.until("the address again", |bird| bird.ways() == [1]);
    wait_for("the end of the problem", || !problem(), || node.status().to_string());
}
