//! Only policies, beside another CNI: pods that no attachment tells of, behind devices of any name, with addresses that
//! are in no pod range of the node; and no policies at all.

use std::net::Ipv4Addr;
use std::time::Duration;

use kernel::testing::TestNs;

use super::wired::{Counter, Wired};
use super::world::{placed, policy, wait};
use super::{CLOSED, plane};

const ONLY_FIREWALL: [&str; 3] = ["--run-router=false", "--run-service-proxy=false", "--enable-cni=false"];
const OPEN: u16 = 10;
const SHUT: u16 = 9;

fn ip(space: &TestNs, line: &str) {
    space.run("ip", &line.split(' ').collect::<Vec<_>>());
}

/// A pod as Calico wires one: a device of its own in the node, a route to it, no bridge.
fn routed(node: &TestNs, device: &str, address: &str) -> TestNs {
    let pod = TestNs::new("routed");
    ip(node, &format!("link add {device} type veth peer name eth0 netns {}", pod.name()));
    ip(node, &format!("link set {device} up"));
    ip(node, &format!("route add {address}/32 dev {device}"));
    node.run("sysctl", &["-qw", &format!("net.ipv4.conf.{device}.proxy_arp=1")]);
    ip(&pod, &format!("addr add {address}/32 dev eth0"));
    ip(&pod, "link set eth0 up");
    ip(&pod, "route add 169.254.1.1 dev eth0");
    ip(&pod, "route add default via 169.254.1.1 dev eth0");
    pod
}

/// A pod at a bridge of another CNI.
fn bridged(node: &TestNs, device: &str, address: &str) -> TestNs {
    let pod = TestNs::new("bridged");
    ip(node, &format!("link add {device} type veth peer name eth0 netns {}", pod.name()));
    ip(node, &format!("link set {device} master cni0 up"));
    ip(&pod, &format!("addr add {address}/24 dev eth0"));
    ip(&pod, "link set eth0 up");
    ip(&pod, "route add default via 10.9.1.1");
    pod
}

/// Sends datagrams to both ports until those to the open one arrive, and then some more.
fn probe(from: &TestNs, to: &str, open: &Counter) {
    let to: Ipv4Addr = to.parse().unwrap();
    let socket = from.run_in(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
    let before = open.arrived();
    wait(&format!("an admitted datagram at {to}"), || {
        for port in [SHUT, OPEN] {
            let _ = socket.send_to(b"probe", (to, port));
        }
        std::thread::sleep(Duration::from_millis(10));
        (open.arrived() > before + 5).then_some(())
    });
}

#[test]
fn beside_another_cni_the_apis_addresses_are_judged_whatever_the_devices_are_called() {
    let mut wired = Wired::new("onlyfirewall");
    let node = &wired.world.namespace;
    ip(node, "link delete kube-bridge");
    for line in ["link add cni0 type bridge", "addr add 10.9.1.1/24 dev cni0", "link set cni0 up"] {
        ip(node, line);
    }
    node.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    // The node answers for the address that its routed pods have for a gateway.
    ip(node, "route add default via 192.0.2.9");
    // Policy between pods of one bridge needs this, and nobody else sets it.
    node.run("sysctl", &["-qw", "net.bridge.bridge-nf-call-iptables=0"]);
    ip(&wired.outside, "route add 10.9.0.0/16 via 192.0.2.1");
    let spaces = [
        ("calico", "10.9.0.5", routed(node, "cali0123456789a", "10.9.0.5")),
        ("peer", "10.9.0.6", routed(node, "lxc77", "10.9.0.6")),
        ("bridge", "10.9.1.5", bridged(node, "vethfe3", "10.9.1.5")),
        ("sister", "10.9.1.6", bridged(node, "eni4", "10.9.1.6")),
    ];
    let text: String = spaces.iter().map(|(name, address, _)| placed(name, name, "node1", address)).collect();
    wired.world.write("pods.yaml", &text);
    let one_port = "podSelector: {}, ingress: [{ports: [{protocol: UDP, port: 10}]}]";
    wired.world.write("policy.yaml", &policy("one-port", one_port));
    wired.world.start_with(&ONLY_FIREWALL);
    let status = wired.world.until("four isolated pods", |status| {
        status["planes"].as_array().unwrap().iter().any(|one| one["name"] == "policy")
            && plane(status, "policy")["counts"]["isolated_ingress"] == 4
    });
    assert_eq!(status["planes"].as_array().unwrap().len(), 1, "no other plane runs");
    let counters: Vec<_> = spaces
        .iter()
        .map(|(_, _, space)| [OPEN, SHUT].map(|port| Counter::new(space, port, false)))
        .collect();
    let [calico, peer, bridge, sister] = [0, 1, 2, 3];
    for (from, to) in [
        (&wired.outside, calico),
        (&wired.outside, bridge),
        (&spaces[peer].2, calico),
        (&spaces[sister].2, bridge),
        (&spaces[sister].2, calico),
        (&spaces[calico].2, sister),
    ] {
        probe(from, spaces[to].1, &counters[to][0]);
        assert_eq!(counters[to][1].arrived(), 0, "to {}", spaces[to].0);
    }
    // The node itself reaches its pods: probes of the kubelet.
    wired.world.namespace.run_in(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        wait("the kubelet's probe", || {
            let _ = socket.send_to(b"probe", (spaces[calico].1, SHUT));
            std::thread::sleep(Duration::from_millis(10));
            (counters[calico][1].arrived() > 0).then_some(())
        });
    });
    assert!(!wired.world.rules().contains("routing-"), "nothing but policies is written");
    // A `sysctl --system` of somebody else must not open the bridge until the next look at everything, in minutes.
    let key = "net.bridge.bridge-nf-call-iptables";
    wired.world.namespace.run("sysctl", &["-qw", &format!("{key}=0")]);
    wait("the setting of the bridge again", || {
        (wired.world.namespace.run("sysctl", &["-n", key]).trim() == "1").then_some(())
    });
}

#[test]
fn without_firewall_no_rule_of_ours_is_in_force_and_what_others_have_stays() {
    let mut wired = Wired::new("nofirewall");
    let node = &wired.world.namespace;
    node.run(
        "nft",
        &["add table ip theirs; add chain ip theirs policy-forward { type filter hook forward priority 3; }"],
    );
    let theirs = node.run("nft", &["-a", "list", "ruleset"]);
    wired.world.write("pods.yaml", &placed("web", "web", "node1", "10.244.1.7"));
    wired.world.write("policy.yaml", CLOSED);
    wired.world.start_with(&["--run-service-proxy=false", "--run-router=false"]);
    wired.world.until_rules("a verdict", |rules| rules.contains("10.244.1.7 : goto"));
    wired.world.end(nix::sys::signal::Signal::SIGKILL);
    wired.world.start_with(&["--run-service-proxy=false", "--run-router=false", "--run-firewall=false"]);
    wired.world.until("a complete view", |status| status["cluster"]["complete"] == true);
    wired.world.until_rules("no rules of policies", |left| {
        !left.contains("policy-ingress") && !left.contains("hook input")
    });
    let left = wired.world.rules();
    assert!(wired.world.namespace.run("nft", &["-a", "list", "ruleset"]).contains(&theirs), "{left}");
    let status =
        wired.world.until("that pods are added, without policy", |status| status["pods"]["ready"] == true);
    assert!(!status["planes"].as_array().unwrap().iter().any(|plane| plane["name"] == "policy"));
}
