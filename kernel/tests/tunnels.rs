//! Tunnels and the ports that unwrap them, in a kernel that has them; packets go through, and `ip` sees the same.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use kernel::fou::{Fou, Port};
use kernel::rtnl::{Encapsulation, LinkKind, Rtnl, Tunnel};
use kernel::testing::TestNs;
use prefix::Family;

const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];
const INNER4: [&str; 2] = ["10.9.1.1", "10.9.2.1"];
const INNER6: [&str; 2] = ["fd00:1::1", "fd00:2::1"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ip(namespace: &TestNs, line: &str) -> String {
    namespace.run("ip", &line.split(' ').collect::<Vec<_>>())
}

/// Two namespaces on one wire, each with an inner address of both families.
fn pair() -> [TestNs; 2] {
    let ends = ["left", "right"].map(TestNs::new);
    ip(&ends[0], &format!("link add up0 type veth peer name up0 netns {}", ends[1].name()));
    for (end, at) in ends.iter().zip(0..) {
        for (device, address) in [
            ("up0", format!("{}/24", V4[at])),
            ("up0", format!("{}/64", V6[at])),
            ("lo", format!("{}/32", INNER4[at])),
            ("lo", format!("{}/128", INNER6[at])),
        ] {
            let nodad = if address.contains("::") { " nodad" } else { "" };
            ip(end, &format!("addr add {address} dev {device}{nodad}"));
        }
        ip(end, "link set up0 up");
    }
    ends
}

fn tunnel(outer: [&str; 2], from: usize, encapsulation: Encapsulation) -> Tunnel {
    Tunnel::new(address(outer[from]), address(outer[1 - from]), encapsulation)
}

/// A tunnel at both ends, with routes to the inner addresses by it.
fn connect(ends: &[TestNs; 2], outer: [&str; 2], inner: [&str; 2], encapsulation: Encapsulation) {
    for (end, at) in ends.iter().zip(0..) {
        end.run_in(|| {
            if let Encapsulation::Gue(port) = encapsulation {
                Fou::open().unwrap().add(&Port::gue(Family::of(address(outer[0])), port)).unwrap();
            }
            Rtnl::open().unwrap().create_tunnel("tun-t", &tunnel(outer, at, encapsulation), 1400).unwrap();
        });
        ip(end, &format!("route add {} dev tun-t", inner[1 - at]));
    }
}

/// True if a datagram between the inner addresses arrives.
fn arrives(ends: &[TestNs; 2], inner: [&str; 2]) -> bool {
    let [client, server] =
        [0, 1].map(|at| ends[at].run_in(|| UdpSocket::bind((address(inner[at]), 7000)).unwrap()));
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut buffer = [0; 2000];
    // The first may be lost while the kernel looks for its neighbour.
    (0..100).any(|_| {
        let _ = client.send_to(&[7; 1300], (address(inner[1]), 7000));
        server.recv(&mut buffer).is_ok_and(|length| length == 1300)
    })
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn packets_go_through_tunnels_of_both_families_bare_and_in_udp() {
    for (outer, inner) in [(V4, INNER4), (V6, INNER6), (V6, INNER4)] {
        for encapsulation in [Encapsulation::Bare, Encapsulation::Gue(5555)] {
            let ends = pair();

            connect(&ends, outer, inner, encapsulation);
            assert!(arrives(&ends, inner), "{outer:?} {encapsulation:?}: {}", ip(&ends[0], "-d -s link"));
        }
    }
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn a_tunnel_reads_back_as_it_was_made_and_ip_sees_the_same() {
    let ends = pair();
    for outer in [V4, V6] {
        for encapsulation in [Encapsulation::Bare, Encapsulation::Gue(6000), Encapsulation::Fou(6001)] {
            let wanted = tunnel(outer, 0, encapsulation);
            let index =
                ends[0].run_in(|| Rtnl::open().unwrap().create_tunnel("tun-t", &wanted, 1380).unwrap());
            let all = ends[0].run_in(|| Rtnl::open().unwrap().tunnels().unwrap());
            let found = all.iter().find(|found| found.link.index == index).unwrap();
            assert_eq!(found.tunnel, wanted);
            assert!(found.link.up && found.link.mtu == 1380 && found.link.name == "tun-t");
            assert_eq!(found.link.kind, wanted.kind());
            let shown = ip(&ends[0], "-d link show tun-t");
            assert!(shown.contains(&format!("remote {} local {}", outer[1], outer[0])), "{shown}");
            if let Some(port) = encapsulation.port() {
                assert!(shown.contains(&format!("encap-dport {port}")), "{shown}");
            }
            ends[0].run_in(|| Rtnl::open().unwrap().delete_link(index).unwrap());
        }
    }
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn what_others_made_is_read_and_changed_in_place_with_its_routes() {
    let ends = pair();
    ip(&ends[0], "link add tun-a type ipip local 192.0.2.1 remote 192.0.2.9");
    ip(
        &ends[0],
        "link add tun-b type ip6tnl local 2001:db8::1 remote 2001:db8::9 encap gue encap-sport auto encap-dport 7777",
    );
    ip(&ends[0], "link set tun-a up");
    ip(&ends[0], "route add 10.50.0.0/16 dev tun-a");
    let found = ends[0].run_in(|| Rtnl::open().unwrap().tunnels().unwrap());
    let by_name = |name: &str| found.iter().find(|found| found.link.name == name).unwrap();
    assert_eq!(by_name("tun-a").tunnel.encapsulation, Encapsulation::Bare);
    assert_eq!(by_name("tun-b").tunnel.encapsulation, Encapsulation::Gue(7777));
    assert!(by_name("tun-b").tunnel.nesting_limit, "iproute2 leaves the option on");
    assert_eq!(by_name("tun-b").link.kind, LinkKind::Ip6Tunnel);
    for (name, outer, encapsulation) in
        [("tun-a", V4, Encapsulation::Gue(5555)), ("tun-b", V6, Encapsulation::Bare)]
    {
        let wanted = tunnel(outer, 0, encapsulation);
        let index = by_name(name).link.index;
        let changed = ends[0].run_in(|| {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.change_tunnel(index, &wanted, 1420).unwrap();
            rtnl.tunnels().unwrap().into_iter().find(|found| found.link.index == index).unwrap()
        });
        assert_eq!((changed.tunnel, changed.link.mtu, changed.link.up), (wanted, 1420, true));
    }
    assert!(ip(&ends[0], "route").contains("10.50.0.0/16 dev tun-a"));
}

#[test]
#[ignore = "needs a kernel with IPIP and FoU: run in a lab guest by cargo verify"]
fn a_port_is_opened_listed_and_closed_and_one_that_is_taken_is_said_to_be() {
    let namespace = TestNs::new("fou");
    namespace.run_in(|| {
        let mut fou = Fou::open().unwrap();
        let ports = Family::BOTH.map(|family| Port::gue(family, 5555));
        for port in &ports {
            fou.add(port).unwrap();
        }
        assert_eq!(fou.ports().unwrap().len(), 2);
        assert!(ports.iter().all(|port| fou.ports().unwrap().contains(port)));
        assert!(Port::is_taken(&fou.add(&ports[0]).unwrap_err()));
        fou.delete(&ports[0]).unwrap();
        assert_eq!(fou.ports().unwrap(), [ports[1]]);
    });
    assert!(namespace.run("ip", &["-6", "fou", "show"]).contains("port 5555 gue -6"));
}

#[test]
fn a_kernel_without_tunnels_says_so_and_lists_none() {
    let namespace = TestNs::new("none");
    let made = namespace.run_in(|| {
        let mut rtnl = Rtnl::open().unwrap();
        assert!(rtnl.tunnels().unwrap().iter().all(|found| found.link.name.ends_with('0')));
        rtnl.create_tunnel("tun-t", &tunnel(V4, 0, Encapsulation::Bare), 1400)
    });
    if let Err(error) = made {
        assert!(error.is_unsupported(), "{error}");
    }
}
