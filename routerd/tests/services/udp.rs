//! UDP, whose clients keep their port while backends come and go.

use prefix::Family;
use routerd::cluster::objects::{Protocol, Service};
use routerd::services::Settings;
use routerd::services::apply::Kernel;

use crate::cluster::{Daemon, ready, service};
use crate::lacking::Lacking;
use crate::net::Net;
use crate::talk::{UdpClient, serve_udp};

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_client_whose_backend_goes_has_another_at_once_and_the_others_keep_theirs() {
    let net = Net::new();
    serve_udp(&net.pod_b, "10.1.1.3:5353", "near");
    serve_udp(&net.far, "10.1.2.2:5353", "far");
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(service("dns", 9, Protocol::Udp, 53, 30053));
    daemon.endpoints("dns", 5353, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.applied(&net.node, &[]);

    let clients: Vec<UdpClient> = (0..4).map(|_| UdpClient::new(&net.pod_a, "10.96.0.9:53")).collect();
    let first: Vec<String> = clients.iter().map(|client| client.asks().unwrap().server).collect();
    assert!(first.contains(&"near".to_owned()) && first.contains(&"far".to_owned()), "{first:?}");
    let flows = |backend: &str| {
        let filter = ["-L", "-p", "udp", "--orig-dst", "10.96.0.9", "--reply-src", backend, "-o", "id"];
        net.node
            .run("conntrack", &filter)
            .lines()
            .filter_map(|line| line.split("id=").nth(1).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let kept = flows("10.1.2.2");

    daemon.endpoints("dns", 5353, Family::V4, vec![ready("10.1.2.2")]);
    daemon.applied(&net.node, &["dns"]);
    assert_eq!(flows("10.1.1.3"), Vec::<String>::new());
    assert_eq!(flows("10.1.2.2"), kept, "flows of the backend that stays are not touched");
    for client in &clients {
        assert_eq!(client.asks().unwrap().server, "far");
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_client_that_asked_before_there_was_a_backend_gets_one() {
    let net = Net::new();
    serve_udp(&net.far, "10.1.2.2:5353", "far");
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(service("dns", 9, Protocol::Udp, 53, 30053));
    daemon.applied(&net.node, &[]);
    let client = UdpClient::new(&net.pod_a, "10.96.0.9:53");
    assert_eq!(client.asks().unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    daemon.endpoints("dns", 5353, Family::V4, vec![ready("10.1.2.2")]);
    daemon.applied(&net.node, &["dns"]);
    assert_eq!(client.asks().unwrap().server, "far");
    let outside = UdpClient::new(&net.outside, "192.0.2.11:30053");
    assert_eq!(outside.asks().unwrap().source, "192.0.2.11");
}

/// A client outside that has asked at a node port which nobody serves; the kernel goes on to send it there.
fn early_client(net: &Net) -> UdpClient {
    let client = UdpClient::new(&net.outside, "192.0.2.11:30053");
    assert!(client.is_unheard(), "nobody is there");
    let tracked = net.node.run("conntrack", &["-L", "-p", "udp", "--orig-port-dst", "30053"]);
    assert!(tracked.contains("UNREPLIED"), "the kernel has tracked the packet: {tracked}");
    client
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_client_that_asked_before_there_was_the_service_gets_an_answer() {
    let net = Net::new();
    serve_udp(&net.far, "10.1.2.2:5353", "far");
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(service("other", 8, Protocol::Udp, 53, 30054));
    daemon.applied(&net.node, &[]);
    let client = early_client(&net);
    daemon.put(service("dns", 9, Protocol::Udp, 53, 30053));
    daemon.endpoints("dns", 5353, Family::V4, vec![ready("10.1.2.2")]);
    daemon.applied(&net.node, &["dns"]);
    let heard = client.asks().unwrap();
    assert_eq!((heard.server.as_str(), heard.source.as_str()), ("far", "192.0.2.11"));
}

fn fill<K: Kernel>(daemon: &mut Daemon<K>) {
    daemon.put(service("dns", 9, Protocol::Udp, 53, 30053));
    daemon.endpoints("dns", 5353, Family::V4, vec![ready("10.1.2.2")]);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_flow_that_a_process_could_not_forget_before_it_ended_is_forgotten_by_the_next() {
    let net = Net::new();
    serve_udp(&net.far, "10.1.2.2:5353", "far");
    Daemon::new(Settings::default()).applied(&net.node, &[]);
    let client = early_client(&net);
    let mut unable = Daemon::on(Lacking::default(), Settings::default());
    fill(&mut unable);
    assert_eq!(unable.apply(&net.node, &[]).problems.len(), 1);

    let mut next = Daemon::new(Settings::default());
    fill(&mut next);
    assert_eq!(next.applied(&net.node, &[]), 1, "all else is as it should be");
    assert_eq!(client.asks().unwrap().server, "far");
    assert_eq!(next.applied(&net.node, &[]), 0, "the flow to its backend stays");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_client_that_is_led_past_a_local_policy_moves_too_when_its_backend_goes() {
    for internal_local in [false, true] {
        let net = Net::new();
        serve_udp(&net.pod_b, "10.1.1.3:5353", "near");
        serve_udp(&net.far, "10.1.2.2:5353", "far");
        let mut daemon = Daemon::new(Settings::default());
        let dns = service("dns", 9, Protocol::Udp, 53, 30053);
        daemon.put(Service { external_local: true, internal_local, ..dns });
        daemon.endpoints("dns", 5353, Family::V4, vec![ready("10.1.2.2")]);
        daemon.applied(&net.node, &[]);
        let clients = [&net.pod_a, &net.node].map(|from| UdpClient::new(from, "192.0.2.11:30053"));
        for client in &clients {
            assert_eq!(client.asks().unwrap().server, "far");
        }
        daemon.endpoints("dns", 5353, Family::V4, vec![ready("10.1.1.3")]);
        daemon.applied(&net.node, &["dns"]);
        for client in &clients {
            assert_eq!(client.asks().unwrap().server, "near", "internal policy Local: {internal_local}");
        }
    }
}
