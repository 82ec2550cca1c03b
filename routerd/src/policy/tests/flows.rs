//! What becomes of established flows when policies change: real streams, with `--netpol-cut-established` and without.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kernel::nflog::{Entry, Nflog};

use super::fixture::{attachment, ip, pod};
use super::lab::{Lab, OUTSIDE, connect, echoes, is_mute};
use crate::cluster::Event;
use crate::policy::{Direction, LOG_GROUP, LOGGED_BYTES, PolicyApplier, Reason};

const WEB: &str = "10.244.1.2";
const WEB6: &str = "fd00:244:1::2";
const OPEN: &str = "10.244.1.4";
const FROM_FRIENDS: &str = "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]";
/// More than a packet takes to be dropped, and for a stream that lives more than an answer takes.
const BOUND: Duration = Duration::from_secs(20);

fn lab(cut: bool) -> Lab {
    let mut lab = Lab::new();
    lab.applier = PolicyApplier::new().cutting_established(cut);
    lab.resync();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/friend", "app=friend", 3);
    lab.pod("default/open", "app=open", 4);
    lab
}

fn stream(lab: &Lab, from: &str, to: &str) -> TcpStream {
    let mut stream = connect(lab.space(from), to, 80).unwrap();
    assert!(echoes(&mut stream), "{from} to {to}");
    stream
}

/// Waits until nothing comes back any more.
pub(super) fn stops(stream: &mut TcpStream) -> bool {
    let end = Instant::now() + BOUND;
    while !is_mute(stream) {
        if Instant::now() > end {
            return false;
        }
    }
    true
}

#[test]
fn a_stream_that_a_policy_admits_no_longer_is_cut_and_others_go_on() {
    let mut lab = lab(true);
    let mut cut =
        [stream(&lab, "outside", WEB), stream(&lab, "outside", WEB6), stream(&lab, "default/open", WEB)];
    let mut kept = [
        stream(&lab, "default/friend", WEB),
        stream(&lab, "node", WEB),
        stream(&lab, "outside", OPEN),
        stream(&lab, "default/web", OUTSIDE),
    ];
    lab.policy("default/p", FROM_FRIENDS);
    assert!(cut.iter_mut().all(stops));
    assert!(kept.iter_mut().all(echoes));
    // A peer that stops being one.
    lab.label("default/friend", "app=enemy", 3);
    assert!(stops(&mut kept[0]));
    assert!(kept[1..].iter_mut().all(echoes));
    // The other direction.
    lab.policy("default/q", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]");
    assert!(stops(&mut kept[3]));
    assert!(kept[1..3].iter_mut().all(echoes));
}

#[test]
fn without_the_flag_the_same_streams_live() {
    let mut lab = lab(false);
    let mut streams = [stream(&lab, "outside", WEB), stream(&lab, "default/web", OUTSIDE)];
    lab.policy("default/p", "podSelector: {}\npolicyTypes: [Ingress, Egress]");
    assert!(streams.iter_mut().all(echoes));
    lab.expect(&[("outside", WEB, 80, false), ("default/web", OUTSIDE, 80, false)]);
    assert!(streams.iter_mut().all(echoes));
}

#[test]
fn a_cut_stream_is_not_taken_up_again_by_what_the_server_sends() {
    let mut lab = lab(true);
    let listener = lab.space("default/web").run_in(|| TcpListener::bind((ip("0.0.0.0"), 99)).unwrap());
    let mut client = connect(&lab.outside, WEB, 99).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let mut arrives_within = |time, server: &mut TcpStream| {
        client.set_read_timeout(Some(time)).unwrap();
        server.write_all(b"push").unwrap();
        client.read_exact(&mut [0; 4]).is_ok()
    };
    assert!(arrives_within(BOUND, &mut server));
    // Egress stays open, so nothing but the state of the connection keeps the server's packets back.
    lab.policy("default/p", FROM_FRIENDS);
    let mut ear = lab.node.run_in(|| Nflog::bind(LOG_GROUP, LOGGED_BYTES).unwrap());
    assert!(!arrives_within(Duration::from_millis(700), &mut server));
    lab.expect(&[("default/web", OUTSIDE, 80, true)]);
    // It is no silent end: what the pod sends is logged as its own.
    let said = Reason::Middle.log_prefix(Direction::Egress);
    let is_said = |entry: &Entry| matches!(entry, Entry::Packet(packet) if packet.prefix == said);
    let end = Instant::now() + BOUND;
    while !ear.next(BOUND).unwrap().unwrap_or_default().iter().any(is_said) {
        assert!(Instant::now() < end, "no log entry of the packets");
    }
}

#[test]
fn a_stream_is_judged_by_its_real_destination_where_that_was_rewritten() {
    let mut lab = lab(true);
    let rewrite = "add table ip nat; add chain ip nat pre { type nat hook prerouting priority -100; }; \
                   add rule ip nat pre tcp dport 8888 dnat to 10.244.1.2:80; \
                   add rule ip nat pre tcp dport 8889 dnat to 10.244.1.4:80";
    lab.node.run("nft", &[rewrite]);
    let to = |port| {
        let mut stream = connect(&lab.outside, "192.0.2.1", port).unwrap();
        assert!(echoes(&mut stream));
        stream
    };
    let (mut cut, mut kept) = (to(8888), to(8889));
    lab.policy("default/p", FROM_FRIENDS);
    assert!(stops(&mut cut));
    assert!(echoes(&mut kept));
}

#[test]
fn a_flow_that_a_policy_refused_while_the_daemon_was_away_is_cut_at_its_start() {
    let mut lab = lab(true);
    let (mut cut, mut kept) = (stream(&lab, "outside", WEB), stream(&lab, "default/friend", WEB));
    lab.applier = PolicyApplier::new().cutting_established(true);
    lab.world.policy("default/p", FROM_FRIENDS);
    lab.resync();
    assert!(stops(&mut cut));
    assert!(echoes(&mut kept));
    let rules = |lab: &Lab| lab.node.run("nft", &["-a", "-s", "list", "ruleset"]);
    let before = rules(&lab);
    assert_eq!(lab.resync().writes, 0);
    lab.applier = PolicyApplier::new().cutting_established(true);
    assert_eq!(lab.resync().writes, 0, "the start finds nothing to cut and nothing to write");
    assert_eq!(rules(&lab), before);
}

#[test]
fn the_flows_of_a_pod_that_went_while_the_daemon_was_away_do_not_outlive_its_start() {
    let mut lab = lab(false);
    let mut flow = stream(&lab, "outside", OPEN);
    let mut other = stream(&lab, "outside", WEB);
    lab.applier = PolicyApplier::new();
    lab.world.event(Event::Detach("default/open".into(), "eth0".into()));
    lab.world.remove_pod("default/open");
    lab.resync();
    assert!(stops(&mut flow), "the pod's namespace is still there, so the flow could go on");
    assert!(echoes(&mut other));
}

/// How many packets to the address were refused, by what `nft` prints.
fn refused(lab: &Lab, address: &str) -> u64 {
    let set = lab.node.run("nft", &["list", "set", "inet", "routerd", "policy-drops-ingress4"]);
    let element = set.split([',', '{', '}']).find(|element| element.contains(address)).unwrap();
    element.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_pod_that_is_made_anew_with_name_and_address_in_one_batch_inherits_neither_flows_nor_counts() {
    let mut lab = lab(false);
    let (mut flow, mut other) = (stream(&lab, "outside", OPEN), stream(&lab, "outside", WEB));
    lab.policy("default/p", "podSelector: {}");
    lab.expect(&[("outside", OPEN, 80, false), ("outside", WEB, 80, false)]);
    assert!(echoes(&mut flow) && refused(&lab, OPEN) > 0 && refused(&lab, WEB) > 0);

    let again = attachment("default/open", "next", &Lab::addresses(4).join(" "));
    let mut touched = lab.world.event(Event::Detach("default/open".into(), "eth0".into()));
    touched.extend(lab.world.event(Event::Attach(again)));
    assert_eq!(lab.apply(touched).problems, []);
    assert!(stops(&mut flow));
    assert!(echoes(&mut other) && refused(&lab, WEB) > 0);
    lab.expect(&[("node", OPEN, 80, true)]);

    // What is said of it again, and its own changes, leave flows and counts alone. It is isolated no longer, so that what
    // the client of the cut flow still sends is not refused meanwhile.
    lab.policy("default/p", "podSelector: {matchLabels: {app: web}}");
    let before = refused(&lab, OPEN);
    lab.label("default/open", "app=open,more=labels", 4);
    let mut flow = stream(&lab, "outside", OPEN);
    lab.label("default/open", "app=open", 4);
    assert!(echoes(&mut flow) && refused(&lab, OPEN) == before);
}

#[test]
fn a_count_of_refused_packets_is_not_handed_on_with_the_address() {
    let mut lab = lab(false);
    lab.policy("default/p", "podSelector: {}");
    lab.expect(&[("outside", OPEN, 80, false)]);
    let mut touched = lab.world.event(Event::Detach("default/open".into(), "eth0".into()));
    touched.extend(lab.world.remove_pod("default/open"));
    let addresses = Lab::addresses(4).join(" ");
    touched.extend(lab.world.event(Event::Attach(attachment("default/heir", "heir", &addresses))));
    touched.extend(lab.world.pod(pod("default/heir", "", &addresses)));
    lab.apply(touched);
    assert_eq!(refused(&lab, OPEN), 0);
}
