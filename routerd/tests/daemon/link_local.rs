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

/// Whether a datagram from one gets to the other within the time that many take on the way back and forth.
fn reaches(from: (&TestNs, &str), to: (&TestNs, &str)) -> bool {
    let (target, _) = link_local(to.0, to.1);
    let (source, scope) = link_local(from.0, from.1);
    let server = to.0.run_in(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let port = server.local_addr().unwrap().port();
    let client = from.0.run_in(|| UdpSocket::bind(SocketAddrV6::new(source, 0, 0, scope)).unwrap());
    (0..5).any(|_| {
        let sent = client.send_to(b"hello", SocketAddrV6::new(target, port, 0, scope));
        sent.is_ok() && server.recv_from(&mut [0; 16]).is_ok()
    })
}

#[test]
fn an_isolated_pod_cannot_be_reached_and_reaches_nobody_by_link_local_addresses() {
    let mut wired = Wired::new("linklocal");
    let (isolated, other) = (wired.wire(2), wired.wire(3));
    wired.plug(&isolated);
    wired.plug(&other);
    let ways = |wired: &Wired| {
        let [isolated, other] = [&isolated, &other].map(|pod| (&pod.space, "eth0"));
        let node = (&wired.world.namespace, "kube-bridge");
        [(other, isolated), (isolated, other), (isolated, node), (node, isolated)]
            .map(|(from, to)| reaches(from, to))
    };
    assert_eq!(ways(&wired), [true; 4], "nobody judges yet");
    wired.world.write("pods.yaml", &pods([("isolated", "isolated"), ("other", "other")]));
    wired.world.write("policy.yaml", &policy("deny", DENY));
    wired.world.start_with(&super::wired::FLAGS);
    wired.synced();
    for (pod, number) in [("isolated", 2), ("other", 3)] {
        assert_eq!(wired.world.attach(pod, &format!("10.244.1.{number}")), Reply::Committed);
    }
    assert_eq!(ways(&wired), [false, false, false, true], "the node reaches its pods");
}
