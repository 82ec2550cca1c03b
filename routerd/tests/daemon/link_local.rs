//! IPv6 link-local addresses, which every pod has for itself and no policy can name.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use cni_plugin::socket::Reply;
use kernel::testing::TestNs;

use super::wired::Wired;
use super::world::{pods, policy, wait};

const DENY: &str = "podSelector: {matchLabels: {app: isolated}}, policyTypes: [Ingress, Egress]";

/// Its link-local address on a device, once it can be used, and the number of the device.
fn link_local(space: &TestNs, device: &str) -> (Ipv6Addr, u32) {
    let address = wait("a link-local address", || {
        let text = space.run("ip", &["-6", "-o", "address", "show", "dev", device, "scope", "link"]);
        let usable = !text.is_empty() && !text.contains("tentative");
        usable.then(|| text.split_whitespace().nth(3).unwrap().split('/').next().unwrap().parse().unwrap())
    });
    let index = space.run_in(|| nix::net::if_::if_nametoindex(device).unwrap());
    (address, index)
}

/// Whether one of so many datagrams gets from one to the other, each within a time that is enough but on a busy machine.
fn reaches(from: (&TestNs, &str), to: (&TestNs, &str), tries: usize) -> bool {
    let (target, _) = link_local(to.0, to.1);
    let (source, scope) = link_local(from.0, from.1);
    let server = to.0.run_in(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let port = server.local_addr().unwrap().port();
    let client = from.0.run_in(|| UdpSocket::bind(SocketAddrV6::new(source, 0, 0, scope)).unwrap());
    (0..tries).any(|_| {
        let sent = client.send_to(b"hello", SocketAddrV6::new(target, port, 0, scope));
        sent.is_ok() && server.recv_from(&mut [0; 16]).is_ok()
    })
}

#[test]
fn an_isolated_pod_cannot_be_reached_and_reaches_nobody_by_link_local_addresses() {
    isolated("kube-bridge");
}

#[test]
fn nor_on_a_bridge_that_a_network_configuration_gives_another_name() {
    isolated("cni0");
}

fn isolated(bridge: &str) {
    let mut wired = Wired::new("linklocal");
    let (isolated, other) = (wired.wire(2), wired.wire(3));
    wired.plug(&isolated);
    wired.plug(&other);
    if bridge != "kube-bridge" {
        wired.world.namespace.run("ip", &["link", "set", "kube-bridge", "name", bridge]);
    }
    // What must get through has its time.
    let ways = |wired: &Wired, expected: [bool; 4]| {
        let [isolated, other] = [&isolated, &other].map(|pod| (&pod.space, "eth0"));
        let node = (&wired.world.namespace, bridge);
        let ends = [(other, isolated), (isolated, other), (isolated, node), (node, isolated)];
        for ((from, to), expected) in ends.into_iter().zip(expected) {
            let tries = if expected { 300 } else { 5 };
            assert_eq!(reaches(from, to, tries), expected, "{} to {}", from.0.name(), to.0.name());
        }
    };
    // Nobody judges yet.
    ways(&wired, [true; 4]);
    wired.world.write("pods.yaml", &pods([("isolated", "isolated"), ("other", "other")]));
    wired.world.write("policy.yaml", &policy("deny", DENY));
    wired.world.start_with(&super::wired::FLAGS);
    wired.synced();
    for (pod, number) in [("isolated", 2), ("other", 3)] {
        assert_eq!(wired.world.attach(pod, &format!("10.244.1.{number}")), Reply::Committed);
    }
    // The node reaches its pods.
    ways(&wired, [false, false, false, true]);
}
