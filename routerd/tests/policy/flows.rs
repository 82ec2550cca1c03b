//! What belongs to an admitted flow passes, whatever else the pods at its ends refuse; what only looks like it does not.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use kernel::testing::TestNs;

use crate::cluster::policy;
use crate::icmp::{Ear, Kind, error_about, solicitation};
use crate::net::ip;
use crate::oracle::Flow;
use crate::oracle::Transport::{Sctp, Tcp, Udp};
use crate::packet;
use crate::scene::{Scene, colours, flow};

const WEB: [&str; 2] = ["10.244.1.10", "fd00:244:1::a"];
const DB: [&str; 2] = ["10.244.1.11", "fd00:244:1::b"];
const INTERNET: [&str; 2] = ["203.0.113.9", "2001:db8:f::9"];
/// A router on the way, which is no end of any flow.
const ROUTER: [&str; 2] = ["198.51.100.1", "64:ff9b::1"];
/// Only to fail instead of hanging; what is waited for comes at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// `red/web` may begin flows to UDP and TCP port 53 and nothing may begin one to it; `red/db` may be asked and may ask
/// nothing.
fn scene() -> Scene {
    let mut scene = Scene::new(colours());
    scene.put(policy(
        "red/asks",
        "podSelector: {matchLabels: {app: web}}
policyTypes: [Ingress, Egress]
egress: [{ports: [{protocol: UDP, port: 53}, {protocol: SCTP, port: 53}, {port: 53}]}]",
    ));
    scene.put(policy(
        "red/answers",
        "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress], ingress: [{}]}",
    ));
    scene
}

/// Answers one TCP connection and one datagram at a port of an address, with what was said.
fn serve(space: &TestNs, address: &str, port: u16) {
    let at = SocketAddr::new(ip(address), port);
    let (listener, socket) = space.run_in(|| (TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap()));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4];
        while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 4];
        let (count, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..count], from).unwrap();
    });
}

fn connect(space: &TestNs, to: &str, port: u16) -> TcpStream {
    let to = SocketAddr::new(ip(to), port);
    let stream = space.run_in(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn says(stream: &mut TcpStream) {
    let mut answer = [0; 4];
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// A socket that sends to the address, and one word sent.
fn datagram(space: &TestNs, from: &str, to: &str, port: u16) -> UdpSocket {
    let socket = space.run_in(|| UdpSocket::bind(SocketAddr::new(ip(from), 0)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(SocketAddr::new(ip(to), port)).unwrap();
    socket.send(b"ping").unwrap();
    socket
}

#[test]
fn replies_of_an_admitted_flow_pass_between_pods_that_admit_nothing_else() {
    let scene = scene();
    for (from, to) in [(WEB, DB), (WEB, INTERNET)] {
        let (client, server) =
            (&scene.net.places[0], if to == DB { &scene.net.places[1] } else { &scene.net.around });
        for family in 0..2 {
            serve(server, to[family], 53);
            says(&mut connect(client, to[family], 53));
            let socket = datagram(client, from[family], to[family], 53);
            assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 4, "{} to {}", from[family], to[family]);
        }
    }
}

#[test]
fn an_established_connection_outlives_a_policy_that_admits_no_new_one() {
    let mut scene = scene();
    serve(&scene.net.places[1], DB[0], 53);
    let mut connection = connect(&scene.net.places[0], DB[0], 53);
    says(&mut connection);
    scene.put(policy("red/asks", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}"));
    scene.expect(&[(flow(WEB[0], DB[0], Tcp, 53), false)]);
    says(&mut connection);
    scene.restart();
    says(&mut connection);
}

#[test]
fn port_unreachable_of_an_admitted_flow_comes_back() {
    let scene = scene();
    for family in 0..2 {
        // Nobody serves there. The pod that asks admits no ingress, the pod that is asked no egress.
        for (space, from, to) in [
            (&scene.net.places[0], WEB, DB),
            (&scene.net.places[0], WEB, INTERNET),
            (&scene.net.around, INTERNET, DB),
        ] {
            let error = datagram(space, from[family], to[family], 53).recv(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{} to {}", from[family], to[family]);
        }
    }
}

#[test]
fn packet_too_big_of_an_admitted_flow_passes_and_of_no_other() {
    let mut scene = scene();
    for family in 0..2 {
        // A refused TCP connection is forgotten at once.
        for transport in [Udp, Sctp] {
            let admitted = flow(WEB[family], INTERNET[family], transport, 53);
            let number = scene.prober.next_number();
            scene.expect(&[(admitted, true)]);
            let opened = packet::opening(&admitted, number);
            // The same flow from another port of the pod, which the pod has never begun.
            let invented = packet::opening(&admitted, number + 1);
            let ear = Ear::new(&scene.net.places[0], ip(WEB[family]).is_ipv4());
            let router = ip(ROUTER[family]);
            for kind in [Kind::TooBig, Kind::Unreachable, Kind::TimeExceeded] {
                let errors = [&opened, &invented].map(|about| error_about(kind, router, about));
                scene.prober.send_in_order(&errors);
                assert_eq!(ear.heard(kind), [router], "{admitted} {kind:?}");
            }
        }
    }
}

#[test]
fn pings_are_judged_like_everything_that_has_no_ports() {
    let mut scene = scene();
    for family in 0..2 {
        let is_four = family == 0;
        let ears = [0, 1, 2].map(|number| Ear::new(&scene.net.places[number], is_four));
        let around = Ear::new(&scene.net.around, is_four);
        let from_outside = |to: &str| echo(INTERNET[family], to);
        // A rule without ports admits them, a rule with ports and no rule do not.
        let blue = ["10.244.1.12", "fd00:244:1::c"][family];
        let packets = [from_outside(WEB[family]), from_outside(DB[family]), from_outside(blue)];
        scene.prober.send_in_order(&packets);
        let outside = ip(INTERNET[family]);
        assert_eq!(ears.each_ref().map(|ear| ear.heard(Kind::Echo)), [vec![], vec![outside], vec![outside]]);
        let packets = [WEB, DB].map(|from| echo(from[family], INTERNET[family]));
        scene.prober.send_in_order(&packets);
        scene.prober.send_in_order(&[echo(blue, INTERNET[family])]);
        assert_eq!(around.heard(Kind::Echo), [ip(blue)]);
    }
}

#[test]
fn messages_between_neighbours_pass_on_the_link_and_never_beyond_it() {
    let mut scene = scene();
    scene.put(policy("red/none", "{podSelector: {}, policyTypes: [Ingress, Egress]}"));
    scene.delete("NetworkPolicy", "red/answers");
    scene.delete("NetworkPolicy", "red/asks");
    let [web, db, outside] = [WEB[1], DB[1], INTERNET[1]].map(ip);
    let [at_web, at_db] = [0, 1].map(|number| Ear::new(&scene.net.places[number], false));
    let around = Ear::new(&scene.net.around, false);
    scene.prober.send_in_order(&[
        solicitation(web, db, 255),
        solicitation(web, outside, 255),
        solicitation(web, outside, 64),
        solicitation(outside, web, 255),
        solicitation(outside, web, 64),
    ]);
    let heard = [&at_web, &at_db, &around].map(|ear| ear.heard(Kind::Solicitation));
    assert_eq!(heard, [vec![], vec![web], vec![]]);
}

fn echo(from: &str, to: &str) -> (IpAddr, IpAddr, Vec<u8>) {
    crate::icmp::echo(ip(from), ip(to))
}

#[test]
fn a_pod_that_admits_nothing_reaches_itself_and_its_loopback() {
    let mut scene = scene();
    scene.put(policy("red/none", "{podSelector: {}, policyTypes: [Ingress, Egress]}"));
    let space = &scene.net.places[0];
    for address in [WEB[0], WEB[1], "127.0.0.1", "::1"] {
        serve(space, address, 80);
        says(&mut connect(space, address, 80));
    }
    let itself: Vec<(Flow, bool)> =
        (0..2).map(|family| (flow(WEB[family], WEB[family], Udp, 80), true)).collect();
    scene.expect(&itself);
}

#[test]
fn a_probe_of_the_kubelet_is_a_connection_to_an_isolated_pod() {
    let mut scene = scene();
    scene.put(policy("red/none", "{podSelector: {}, policyTypes: [Ingress, Egress]}"));
    for address in WEB {
        serve(&scene.net.places[0], address, 80);
        says(&mut connect(&scene.net.node, address, 80));
    }
}
