//! Nodes on their way out of service, and what an outside router hears of them.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::external::{Bird, VIP, objects, service};
use crate::lab::Lab;

const PODS: &str = "10.244.1.0/24";
/// The other node's.
const FAR_PODS: &str = "10.244.2.0/24";
/// GRACEFUL_SHUTDOWN (RFC 8326).
const LEAVE: &str = "(65535,0)";

/// The nodes with an address of a Service at the first one, which may wait a second; BIRD keeps routes over restarts.
fn running() -> (Lab, Bird) {
    let mut lab = Lab::new(2);
    for node in &mut lab.nodes {
        node.flags = vec!["--strict-external-ip-validation=false", "--bgp-drain-time=1s"];
        node.start();
    }
    let bird = Bird::start(&lab, "graceful");
    lab.tell(&(objects(&lab) + &service(1, true)));
    bird.until("the Service's address from the node with its endpoint", |bird| bird.ways() == [1]);
    (lab, bird)
}

/// The Node objects, the first one with this in its `spec`.
fn with(lab: &Lab, field: &str) -> String {
    objects(lab).replacen("spec: {podCIDRs", &format!("spec: {{{field}, podCIDRs"), 1)
}

pub(crate) fn pod() -> String {
    "---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: default}
spec: {nodeName: node1}
status: {podIP: 10.244.1.9}
"
    .to_owned()
}

fn asks_to_leave(bird: &Bird, prefix: &str) -> bool {
    bird.ask(&format!("show route {prefix} all")).contains(LEAVE)
}

#[test]
fn a_node_that_is_drained_asks_to_leave_it_then_withdraws_its_addresses_and_is_gone_with_its_daemon() {
    let (mut lab, bird) = running();
    lab.tell(&(objects(&lab) + &service(1, true) + &pod()));
    let cordoned = with(&lab, "unschedulable: true");
    lab.tell(&(cordoned.clone() + &service(1, true) + &pod()));
    bird.until("the request to leave", |bird| {
        asks_to_leave(bird, &format!("{VIP}/32")) && asks_to_leave(bird, PODS)
    });
    // It is announced as long as pods are there, however long the drain takes.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(bird.ways(), [1]);
    lab.tell(&(cordoned + &service(1, true)));
    bird.until("the address is withdrawn with the last pod", |bird| bird.ways().is_empty());
    assert!(asks_to_leave(&bird, PODS), "what is left of the node is reached still");
    assert_eq!(bird.ask("show protocols").matches("Established").count(), 2, "no session was lost over it");
    lab.nodes[0].signal(Signal::SIGTERM);
    bird.until("nothing of the node is kept", |bird| !bird.ask("show route").contains(PODS));
    assert!(bird.story().contains("Administrative"), "{}", bird.story());
}

#[test]
fn a_machine_that_shuts_down_withdraws_all_when_others_had_the_time_to_look_for_another_way() {
    let (mut lab, bird) = running();
    let message = "conditions: [{type: Ready, status: 'False', reason: KubeletNotReady, message: node is shutting down}]";
    let down = objects(&lab).replacen("status: {", &format!("status: {{{message}, "), 1);
    lab.tell(&(down + &service(1, true)));
    bird.until("the request to leave", |bird| asks_to_leave(bird, PODS));
    lab.nodes[0].signal(Signal::SIGTERM);
    bird.until("nothing of the node is kept", |bird| {
        bird.ways().is_empty() && !bird.ask("show route").contains(PODS)
    });
}

#[test]
fn a_node_that_is_uncordoned_is_announced_as_before() {
    let (lab, bird) = running();
    lab.tell(&(with(&lab, "unschedulable: true") + &service(1, true)));
    bird.until("the address is withdrawn", |bird| bird.ways().is_empty());
    lab.tell(&(objects(&lab) + &service(1, true)));
    bird.until("the address is back", |bird| bird.ways() == [1]);
    bird.until("without the request to leave", |bird| !asks_to_leave(bird, PODS));
}

#[test]
fn without_graceful_restart_a_daemon_that_ends_says_so_and_its_routes_go_at_once() {
    let mut lab = Lab::new(2);
    for node in &mut lab.nodes {
        node.flags = vec!["--bgp-graceful-restart=false"];
        node.start();
    }
    let bird = Bird::start(&lab, "off");
    lab.tell(&objects(&lab));
    bird.until("the pods of both", |bird| {
        [PODS, FAR_PODS].iter().all(|pods| bird.ask("show route").contains(pods))
    });
    lab.nodes[0].signal(Signal::SIGTERM);
    bird.until("no route to them", |bird| !bird.ask("show route").contains(PODS));
    // What comes after it may hide it from `show protocols`.
    bird.until("the reason", |bird| bird.story().contains("Administrative"));
    assert!(bird.story().contains("routerd on this node ends"), "{}", bird.story());
    assert!(bird.ask("show route").contains(FAR_PODS), "the other node's stay");
}
