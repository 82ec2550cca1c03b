//! Limits as packets see them.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use serde_json::{Value, json};

use crate::support::{Node, OURS, Pod, after};

/// What is carried, and at how many bytes a second it may go.
const AMOUNT: usize = 1_500_000;
const RATE: u64 = 1_000_000;
/// What may go at once: two thirds of the amount are left to be slowed down at least.
const BURST: u64 = 64_000;

/// Carries [`AMOUNT`] bytes over a connection to `address` in `to`; how long it took.
fn carry(from: &TestNs, to: &TestNs, address: IpAddr) -> Duration {
    let listener = to.run_in(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received.len()
        });
        let mut stream = from.run_in(|| TcpStream::connect(target).unwrap());
        let start = Instant::now();
        stream.write_all(&vec![7; AMOUNT]).unwrap();
        drop(stream);
        assert_eq!(receiver.join().unwrap(), AMOUNT);
        start.elapsed()
    })
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()).collect()
}

fn gateways(result: &Value) -> Vec<IpAddr> {
    result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip["gateway"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// Bytes that the token bucket of a device let through, as `tc -s` counts them.
fn passed(node: &Node, device: &str) -> usize {
    let text = node.ns.run("tc", &["-s", "-j", "qdisc", "show", "dev", device]);
    let list: Value = serde_json::from_str(&text).unwrap();
    let bucket = list.as_array().unwrap().iter().find(|one| one["kind"] == "tbf").unwrap().clone();
    usize::try_from(bucket["bytes"].as_u64().unwrap()).unwrap()
}

fn conf(direction: &str, prev: &Value) -> Value {
    let limits = json!({
        format!("{direction}Rate"): RATE * 8,
        format!("{direction}Burst"): BURST * 8,
    });
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bandwidth",
        "runtimeConfig": {"bandwidth": limits}});
    after(&conf, prev)
}

/// However busy the machine is, limited packets cannot be faster than this.
fn assert_slowed(unlimited: Duration, limited: Duration) {
    assert!(limited > Duration::from_secs(1), "limited {limited:?}, unlimited {unlimited:?}");
    assert!(limited > unlimited, "limited {limited:?}, unlimited {unlimited:?}");
}

#[test]
fn what_goes_to_the_pod_takes_its_time_by_ipv4_and_ipv6() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let targets = addresses(&wired);
    assert_eq!(targets.len(), 2);
    let unlimited: Vec<Duration> = targets.iter().map(|to| carry(&node.ns, &pod.ns, *to)).collect();
    node.call(OURS, "ADD", &pod, &conf("ingress", &wired)).result();
    for (target, unlimited) in targets.into_iter().zip(unlimited) {
        assert_slowed(unlimited, carry(&node.ns, &pod.ns, target));
    }
    assert!(passed(&node, &Node::host_end(&wired)) > 2 * AMOUNT);
}

#[test]
fn what_comes_from_the_pod_takes_its_time_by_ipv4_and_ipv6() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let targets = gateways(&wired);
    let unlimited: Vec<Duration> = targets.iter().map(|to| carry(&pod.ns, &node.ns, *to)).collect();
    let result = node.call(OURS, "ADD", &pod, &conf("egress", &wired)).result();
    let block = result["interfaces"][3]["name"].as_str().unwrap();
    for (target, unlimited) in targets.into_iter().zip(unlimited) {
        assert_slowed(unlimited, carry(&pod.ns, &node.ns, target));
    }
    assert!(passed(&node, block) > 2 * AMOUNT);
}
