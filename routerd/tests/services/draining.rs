//! Backends that go (`--ipvs-graceful-termination`).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use prefix::Family;
use routerd::cluster::objects::{Endpoint, Protocol};
use routerd::services::Settings;

use crate::cluster::{Daemon, ending, ready, service};
use crate::net::Net;
use crate::talk::{Connection, UdpClient, ask, connect, serve_tcp, serve_udp};

const NEAR: &str = "10.1.1.3";
const FAR: &str = "10.1.2.2";

fn scene(grace: Duration) -> (Net, Daemon) {
    let net = Net::new();
    serve_tcp(&net.pod_b, "10.1.1.3:8080", "near");
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    let mut daemon = Daemon::new(Settings { grace: Some(grace), ..Settings::default() });
    daemon.put(service("web", 1, Protocol::Tcp, 80, 30080));
    endpoints(&net, &mut daemon, &[ready(NEAR), ready(FAR)]);
    (net, daemon)
}

fn endpoints(net: &Net, daemon: &mut Daemon, endpoints: &[Endpoint]) {
    daemon.endpoints("web", 8080, Family::V4, endpoints.to_vec());
    daemon.applied(&net.node, &[]);
}

fn connection_to(net: &Net, server: &str) -> Connection {
    let connections = (0..8).map(|_| connect(&net.pod_a, "10.96.0.1:80").unwrap());
    connections.into_iter().find(|connection| connection.heard.server == server).unwrap()
}

fn balanced(net: &Net) -> String {
    net.node.run("ipvsadm", &["-Ln", "-t", "10.96.0.1:80"])
}

/// Looks until `done`, as the daemon does from time to time.
fn tend_until(net: &Net, daemon: &mut Daemon, done: impl Fn(&str) -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !done(&balanced(net)) {
        assert!(Instant::now() < end, "{}", balanced(net));
        daemon.tend(&net.node);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_backend_that_is_gone_keeps_its_connections_and_gets_no_new_ones_also_over_a_restart() {
    let (net, mut daemon) = scene(Duration::from_mins(10));
    let mut old = connection_to(&net, "near");
    endpoints(&net, &mut daemon, &[ready(FAR)]);
    for _ in 0..6 {
        assert_eq!(ask(&net.pod_a, "10.96.0.1:80").server, "far");
    }
    assert_eq!(old.says("still there?").unwrap(), "still there?");
    assert!(daemon.tend(&net.node).is_none_or(|report| report.problems.is_empty()));
    assert_eq!(old.says("and now?").unwrap(), "and now?");

    daemon.restart();
    assert_eq!(daemon.applied(&net.node, &[]), 0, "it drains as before");
    assert_eq!(old.says("over a restart").unwrap(), "over a restart");
    endpoints(&net, &mut daemon, &[ready(NEAR), ready(FAR)]);
    let weight = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    let near = balanced(&net).lines().find(|line| line.contains("10.1.1.3:8080")).and_then(weight);
    assert_eq!(near.as_deref(), Some("1"), "{}", balanced(&net));
    assert_eq!(old.says("and back").unwrap(), "and back");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn the_last_backend_ends_its_connections_while_new_clients_are_refused() {
    let (net, mut daemon) = scene(Duration::from_mins(10));
    endpoints(&net, &mut daemon, &[ready(FAR)]);
    let mut old = connect(&net.pod_a, "10.96.0.1:80").unwrap();
    let mut outside = connect(&net.outside, "192.0.2.11:30080").unwrap();
    endpoints(&net, &mut daemon, &[]);
    let refused = connect(&net.pod_a, "10.96.0.1:80").err().map(|error| error.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused));
    assert_eq!(old.says("bye").unwrap(), "bye");
    assert_eq!(outside.says("bye").unwrap(), "bye");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_backend_without_connections_goes_at_the_next_look_and_one_with_some_after_its_time() {
    let (net, mut daemon) = scene(Duration::from_secs(2));
    endpoints(&net, &mut daemon, &[ready(FAR)]);
    assert!(balanced(&net).contains("10.1.1.3:8080"), "it drains first");
    let report = daemon.tend(&net.node).unwrap();
    assert_eq!((report.problems, report.repaired), (Vec::new(), false));
    assert!(!balanced(&net).contains("10.1.1.3:8080"), "{}", balanced(&net));

    let mut old = connection_to(&net, "far");
    endpoints(&net, &mut daemon, &[ready(NEAR)]);
    assert_eq!(old.says("in time").unwrap(), "in time");
    tend_until(&net, &mut daemon, |seen| !seen.contains("10.1.2.2:8080"));
    assert!(old.says("too late").is_err() || old.says("too late").is_err(), "its connections end with it");
    assert_eq!(daemon.applied(&net.node, &[]), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn udp_clients_of_a_backend_that_goes_move_at_once() {
    let (net, mut daemon) = scene(Duration::from_mins(10));
    serve_udp(&net.pod_b, "10.1.1.3:5353", "near");
    serve_udp(&net.far, "10.1.2.2:5353", "far");
    daemon.put(service("dns", 9, Protocol::Udp, 53, 30053));
    daemon.endpoints("dns", 5353, Family::V4, vec![ready(NEAR), ready(FAR)]);
    daemon.applied(&net.node, &[]);
    let clients: Vec<UdpClient> = (0..4).map(|_| UdpClient::new(&net.pod_a, "10.96.0.9:53")).collect();
    let first: Vec<String> = clients.iter().map(|client| client.asks().unwrap().server).collect();
    assert!(first.contains(&"near".to_owned()), "{first:?}");
    daemon.endpoints("dns", 5353, Family::V4, vec![ready(FAR)]);
    daemon.applied(&net.node, &["dns"]);
    for client in &clients {
        assert_eq!(client.asks().unwrap().server, "far");
    }
}

/// Asks again and again, by new connections and by one that stays as long as its backend is not out of time.
fn load(from: &TestNs, to: &str, stop: &AtomicBool, asked: &AtomicUsize) -> Vec<String> {
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let outcome = connect(from, to).and_then(|mut connection| {
            for _ in 0..3 {
                connection.says("request")?;
            }
            Ok(connection.heard.server)
        });
        match outcome {
            Ok(server) if server == "near" || server == "far" => _ = asked.fetch_add(1, Ordering::Relaxed),
            other => failures.push(format!("{} to {to}: {other:?}", from.name())),
        }
    }
    failures
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn backends_are_rolled_a_hundred_times_under_load_and_no_request_fails() {
    let (net, mut daemon) = scene(Duration::from_secs(30));
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients =
        [(&net.pod_a, "10.96.0.1:80"), (&net.node, "10.96.0.1:80"), (&net.outside, "192.0.2.11:30080")];
    let failures: Vec<String> = std::thread::scope(|scope| {
        let (stop, asked) = (&stop, &asked);
        let loads = clients.map(|(from, to)| scope.spawn(move || load(from, to, stop, asked)));
        for round in 0..100 {
            let [old, new] = if round % 2 == 0 { [NEAR, FAR] } else { [FAR, NEAR] };
            for state in [vec![ready(old), ready(new)], vec![ending(old), ready(new)], vec![ready(new)]] {
                daemon.endpoints("web", 8080, Family::V4, state);
                daemon.applied(&net.node, &["web"]);
                daemon.tend(&net.node);
            }
            if round % 25 == 0 {
                daemon.restart();
                daemon.applied(&net.node, &[]);
            }
        }
        stop.store(true, Ordering::Relaxed);
        loads.into_iter().flat_map(|load| load.join().unwrap()).collect()
    });
    assert_eq!(failures, Vec::<String>::new());
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked > 100, "only {asked} requests");
    println!("100 rolls, 4 restarts, {asked} connections of 3 requests, none failed");
}
