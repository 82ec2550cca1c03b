//! Cases that other implementations get wrong, each by its name. Both the oracle and the kernel must say what is written.

use crate::cluster::policy;
use crate::oracle::Flow;
use crate::oracle::Transport::{self, Sctp, Tcp, Udp};
use crate::scene::{Scene, colours, flow};

// Pods of `colours`, IPv4 and IPv6.
const WEB: [&str; 2] = ["10.244.1.10", "fd00:244:1::a"];
const DB: [&str; 2] = ["10.244.1.11", "fd00:244:1::b"];
const BLUE: [&str; 2] = ["10.244.1.12", "fd00:244:1::c"];
const FAR: [&str; 2] = ["10.244.2.10", "fd00:244:2::a"];
const HOST: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
const NODE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const INTERNET: [&str; 2] = ["203.0.113.9", "2001:db8:f::9"];
const NAT64: &str = "64:ff9b::cb00:7109";

/// The same in both families.
fn both(from: [&str; 2], to: [&str; 2], transport: Transport, port: u16, open: bool) -> Vec<(Flow, bool)> {
    (0..2).map(|family| (flow(from[family], to[family], transport, port), open)).collect()
}

fn scene(spec: &str) -> Scene {
    let mut scene = Scene::new(colours());
    scene.put(policy("red/p", spec));
    scene
}

#[test]
fn leak_one_egress_to_everybody_opens_no_ingress() {
    let mut scene = scene("{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]}");
    let expected = [
        both(WEB, DB, Tcp, 80, false),
        both(DB, WEB, Udp, 53, false),
        both(FAR, WEB, Tcp, 80, false),
        both(BLUE, WEB, Tcp, 80, false),
        both(WEB, BLUE, Tcp, 80, true),
        both(WEB, FAR, Sctp, 80, true),
        both(WEB, INTERNET, Tcp, 80, true),
        both(NODE, WEB, Tcp, 80, true),
    ];
    scene.expect(&expected.concat());
}

#[test]
fn leak_two_ingress_from_the_namespace_opens_no_egress() {
    let mut scene = scene(
        "podSelector: {}
policyTypes: [Ingress, Egress]
ingress: [{from: [{podSelector: {}}]}]
egress: [{ports: [{protocol: UDP, port: 53}]}]",
    );
    let expected = [
        both(WEB, DB, Tcp, 80, false),
        both(DB, WEB, Tcp, 80, false),
        both(WEB, FAR, Tcp, 80, false),
        both(WEB, DB, Udp, 53, true),
        both(WEB, BLUE, Udp, 53, true),
        both(WEB, BLUE, Tcp, 53, false),
        both(FAR, WEB, Tcp, 80, true),
        both(BLUE, WEB, Tcp, 80, false),
    ];
    scene.expect(&expected.concat());
}

#[test]
fn directions_are_apart_also_between_policies_of_one_direction_each() {
    let mut scene = scene("{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{}]}");
    scene.put(policy("red/out", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}"));
    let expected =
        [both(DB, WEB, Tcp, 80, true), both(WEB, DB, Tcp, 80, false), both(WEB, INTERNET, Udp, 53, false)];
    scene.expect(&expected.concat());
}

#[test]
fn an_exception_takes_nothing_from_another_peer_of_the_rule() {
    let mut scene = scene(
        "podSelector: {matchLabels: {app: web}}
ingress:
- from:
  - ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24, 10.244.0.0/16]}
  - ipBlock: {cidr: 203.0.113.9/32}
  - ipBlock: {cidr: '::/0', except: ['2001:db8:f::/48', 'fd00:244::/32']}
  - ipBlock: {cidr: '2001:db8:f::9/128'}
  - podSelector: {matchLabels: {app: db}}",
    );
    let expected = [
        both(INTERNET, WEB, Tcp, 80, true),
        both(["203.0.113.10", "2001:db8:f::a"], WEB, Tcp, 80, false),
        both(DB, WEB, Tcp, 80, true),
        both(BLUE, WEB, Tcp, 80, false),
        both(FAR, WEB, Tcp, 80, false),
        both(HOST, WEB, Tcp, 80, true),
    ];
    scene.expect(&expected.concat());
}

#[test]
fn blocks_that_overlap_add_up() {
    let mut scene = scene(
        "podSelector: {}
policyTypes: [Egress]
egress:
- to:
  - ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/28]}
  - ipBlock: {cidr: 203.0.0.0/16, except: [203.0.113.0/24]}
  - ipBlock: {cidr: 203.0.113.8/29}
  ports: [{port: 80}]
- to: [{ipBlock: {cidr: 203.0.113.0/30}}]
  ports: [{port: 81}]",
    );
    let out = |to: &str, port: u16, open: bool| (flow(WEB[0], to, Tcp, port), open);
    scene.expect(&[
        out("203.0.113.9", 80, true),
        out("203.0.113.7", 80, false),
        out("203.0.113.16", 80, true),
        out("203.0.113.255", 80, true),
        out("203.0.113.2", 81, true),
        out("203.0.113.2", 80, false),
        out("203.0.113.9", 81, false),
        out("198.51.100.77", 80, false),
    ]);
}

#[test]
fn a_block_of_all_of_ipv6_has_nat64_and_the_rest_of_it() {
    let mut scene =
        scene("{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: '::/0'}}]}]}");
    let out = |to: &str, open: bool| (flow(WEB[usize::from(to.contains(':'))], to, Tcp, 80), open);
    scene.expect(&[
        out(NAT64, true),
        out(INTERNET[1], true),
        out("fd12:3456::9", true),
        out("400::1", true),
        out(FAR[1], true),
        out(DB[1], true),
        out(NODE[1], true),
        out(INTERNET[0], false),
        out(DB[0], false),
    ]);
    scene.put(policy(
        "red/p",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: '::/0', except: ['64:ff9b::/96']}}]}]}",
    ));
    scene.expect(&[out(NAT64, false), out(INTERNET[1], true), out("400::1", true)]);
    scene.put(policy(
        "red/p",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}",
    ));
    scene.expect(&[out(NAT64, false), out(INTERNET[1], false), out(INTERNET[0], true), out(NODE[0], true)]);
}

#[test]
fn a_name_of_a_port_that_resolves_to_nothing_admits_nothing() {
    let mut scene = scene("{podSelector: {}, ingress: [{ports: [{port: nothing}]}]}");
    let closed =
        [both(FAR, WEB, Tcp, 80, false), both(FAR, WEB, Tcp, 8080, false), both(FAR, WEB, Udp, 80, false)];
    scene.expect(&closed.concat());
    // `u` is a port of UDP, not of TCP.
    scene.put(policy("red/p", "{podSelector: {}, ingress: [{ports: [{protocol: TCP, port: u}]}]}"));
    scene.expect(&closed.concat());
    scene.put(policy("red/p", "{podSelector: {}, ingress: [{ports: [{protocol: UDP, port: u}]}]}"));
    let expected = [
        both(FAR, WEB, Udp, 80, true),
        both(FAR, WEB, Udp, 8080, false),
        both(FAR, DB, Udp, 8080, true),
        both(FAR, DB, Udp, 80, false),
        both(FAR, WEB, Tcp, 80, false),
    ];
    scene.expect(&expected.concat());
}

#[test]
fn a_named_port_of_egress_is_what_each_destination_calls_so() {
    let mut scene = scene(
        "podSelector: {matchLabels: {app: db}}
policyTypes: [Egress]
egress:
- ports: [{port: t}]
- to: [{ipBlock: {cidr: 203.0.113.0/24}}]
  ports: [{protocol: SCTP, port: s}]",
    );
    let expected = [
        both(DB, WEB, Tcp, 80, true),
        both(DB, WEB, Tcp, 8080, false),
        both(DB, BLUE, Tcp, 8080, true),
        both(DB, BLUE, Tcp, 80, false),
        both(DB, FAR, Tcp, 8080, true),
        both(DB, FAR, Tcp, 80, false),
        // No number counts for those who have no pod's names.
        both(DB, INTERNET, Tcp, 80, false),
        both(DB, INTERNET, Sctp, 80, false),
        both(DB, HOST, Tcp, 80, false),
    ];
    scene.expect(&expected.concat());
}

#[test]
fn a_pod_of_the_hosts_network_is_neither_judged_nor_matched_by_labels() {
    // `red/host-node1` and `red/host-node2` have the label app=web.
    let mut scene = scene(
        "podSelector: {}
policyTypes: [Ingress, Egress]
ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]
egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]",
    );
    let expected = [
        both(FAR, DB, Tcp, 80, true),
        both(HOST, DB, Tcp, 80, false),
        both(DB, HOST, Tcp, 80, false),
        both(DB, NODE, Tcp, 80, false),
        both(NODE, DB, Tcp, 80, true),
        both(BLUE, NODE, Tcp, 80, true),
        both(BLUE, HOST, Tcp, 80, true),
    ];
    scene.expect(&expected.concat());
    scene.put(policy(
        "red/p",
        "podSelector: {}
policyTypes: [Ingress, Egress]
ingress: [{from: [{ipBlock: {cidr: 192.0.2.2/32}}, {ipBlock: {cidr: '2001:db8::2/128'}}]}]
egress: [{to: [{ipBlock: {cidr: 192.0.2.0/30}}, {ipBlock: {cidr: '2001:db8::/126'}}]}]",
    ));
    let expected = [
        both(HOST, DB, Tcp, 80, true),
        both(DB, HOST, Tcp, 80, true),
        both(DB, NODE, Tcp, 80, true),
        both(FAR, DB, Tcp, 80, false),
    ];
    scene.expect(&expected.concat());
}

#[test]
fn the_kubelet_reaches_pods_that_nobody_else_reaches() {
    let mut scene = scene("{podSelector: {}, policyTypes: [Ingress, Egress]}");
    let gateway = ["10.244.1.1", "fd00:244:1::1"];
    let expected = [
        both(NODE, WEB, Tcp, 80, true),
        both(gateway, WEB, Tcp, 8080, true),
        both(gateway, DB, Udp, 53, true),
        both(HOST, WEB, Tcp, 80, false),
        both(DB, WEB, Tcp, 80, false),
        both(WEB, NODE, Tcp, 80, false),
        both(WEB, gateway, Udp, 53, false),
    ];
    scene.expect(&expected.concat());
}

#[test]
fn a_policy_that_the_api_would_refuse_admits_nobody_and_touches_no_other() {
    let mut scene =
        scene("{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 90, endPort: 80}]}]}");
    scene
        .put(policy("red/good", "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 80}]}]}"));
    let expected = [
        both(FAR, WEB, Tcp, 90, false),
        both(FAR, WEB, Tcp, 80, false),
        both(WEB, INTERNET, Tcp, 80, true),
        both(FAR, DB, Tcp, 80, true),
        both(FAR, DB, Tcp, 81, false),
        both(FAR, BLUE, Tcp, 81, true),
    ];
    scene.expect(&expected.concat());
    let problems = scene.daemon.as_ref().unwrap().problems();
    assert!(
        problems.len() == 1 && problems[0].contains("red/p") && problems[0].contains("endPort"),
        "{problems:?}"
    );
}

#[test]
fn with_the_flag_pods_of_the_hosts_network_are_peers_by_their_nodes_address() {
    let mut cluster = colours();
    cluster.host_pods_are_peers = true;
    let mut scene = Scene::new(cluster);
    scene.put(policy(
        "red/p",
        "podSelector: {}
policyTypes: [Ingress, Egress]
ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]
egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]",
    ));
    let expected = [
        both(HOST, DB, Tcp, 80, true),
        both(DB, HOST, Tcp, 80, true),
        both(DB, NODE, Tcp, 80, true),
        both(DB, INTERNET, Tcp, 80, false),
        both(BLUE, DB, Tcp, 80, false),
    ];
    scene.expect(&expected.concat());
    // The pod in the host's network ends; nothing else of its node is a peer.
    scene.delete("Pod", "red/host-node2");
    scene.expect(&[both(HOST, DB, Tcp, 80, false), both(DB, NODE, Tcp, 80, true)].concat());
}
