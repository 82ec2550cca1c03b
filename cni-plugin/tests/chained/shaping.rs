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

/// Limited packets cannot be faster than this, however busy the machine is or not.
const AT_LEAST: Duration = Duration::from_secs(1);

/// Without a limit it is faster, unless the machine stands still; then it is tried again.
fn assert_fast(mut carry: impl FnMut() -> Duration) {
    assert!((0..20).any(|_| carry() < AT_LEAST), "it is slow without a limit");
}

fn assert_slow(took: Duration) {
    assert!(took > AT_LEAST, "it took only {took:?}");
}

#[test]
fn what_goes_to_the_pod_takes_its_time_by_ipv4_and_ipv6() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let targets = addresses(&wired);
    assert_eq!(targets.len(), 2);
    for to in &targets {
        assert_fast(|| carry(&node.ns, &pod.ns, *to));
    }
    node.call(OURS, "ADD", &pod, &conf("ingress", &wired)).result();
    for to in targets {
        assert_slow(carry(&node.ns, &pod.ns, to));
    }
    assert!(passed(&node, &Node::host_end(&wired)) > 2 * AMOUNT);
}

#[test]
fn what_comes_from_the_pod_takes_its_time_by_ipv4_and_ipv6() {
    let (node, pod) = (Node::new(), Pod::new());
    let wired = node.wire(&pod, "1.0.0");
    let targets = gateways(&wired);
    for to in &targets {
        assert_fast(|| carry(&pod.ns, &node.ns, *to));
    }
    let result = node.call(OURS, "ADD", &pod, &conf("egress", &wired)).result();
    let block = result["interfaces"][3]["name"].as_str().unwrap();
    for to in targets {
        assert_slow(carry(&pod.ns, &node.ns, to));
    }
    assert!(passed(&node, block) > 2 * AMOUNT);
}
