//! What policies mean, judged by packets.

use super::fixture::{pod, with_port};
use super::lab::{GATEWAY, Lab, NAT64, OUTSIDE, OUTSIDE6, PATIENCE, UDP_PORT, send_udp};

const WEB: &str = "10.244.1.2";
const WEB6: &str = "fd00:244:1::2";
const FRIEND: &str = "10.244.1.3";

/// Pods `default/web` (app=web) and `default/friend` (app=friend).
fn two_pods() -> Lab {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/friend", "app=friend", 3);
    lab
}

#[test]
fn without_policies_everybody_reaches_everybody() {
    two_pods().expect(&[
        ("default/friend", WEB, 80, true),
        ("default/friend", WEB6, 80, true),
        ("outside", WEB, 80, true),
        ("outside", WEB6, 80, true),
        ("default/web", OUTSIDE, 80, true),
        ("default/web", GATEWAY, 80, true),
        ("node", WEB, 80, true),
    ]);
}

#[test]
fn egress_to_everybody_does_not_open_the_ingress_of_the_same_policy() {
    let mut lab = two_pods();
    lab.policy("default/p", "podSelector: {}\npolicyTypes: [Ingress, Egress]\negress: [{}]");
    lab.expect(&[
        ("default/friend", WEB, 80, false),
        ("default/friend", WEB6, 80, false),
        ("default/web", FRIEND, 80, false),
        ("outside", WEB, 80, false),
        ("default/web", OUTSIDE, 80, true),
        ("default/web", GATEWAY, 80, true),
        ("node", WEB, 80, true),
    ]);
}

#[test]
fn ingress_from_the_namespace_does_not_open_the_egress_of_the_same_policy() {
    let mut lab = two_pods();
    lab.policy(
        "default/p",
        "podSelector: {}
policyTypes: [Ingress, Egress]
ingress: [{from: [{podSelector: {}}]}]
egress: [{ports: [{protocol: UDP, port: 53}]}]",
    );
    lab.expect(&[
        ("default/friend", WEB, 80, false),
        ("default/friend", WEB6, 80, false),
        ("default/web", FRIEND, 80, false),
        ("default/web", OUTSIDE, 80, false),
        ("default/web", GATEWAY, 80, false),
        ("outside", WEB, 80, false),
        ("node", WEB, 80, true),
    ]);
    assert!(lab.reaches_udp("default/web", OUTSIDE, UDP_PORT));
    assert!(
        lab.reaches_udp("default/friend", WEB6, UDP_PORT),
        "egress to port 53 and ingress from the namespace"
    );
}

#[test]
fn each_direction_needs_its_own_admission() {
    let mut lab = two_pods();
    lab.policy(
        "default/in",
        "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]",
    );
    lab.policy("default/out", "podSelector: {matchLabels: {app: friend}}\npolicyTypes: [Egress]");
    lab.expect(&[("default/friend", WEB, 80, false), ("default/web", FRIEND, 80, true)]);
    lab.policy(
        "default/out",
        "podSelector: {matchLabels: {app: friend}}
policyTypes: [Egress]
egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]",
    );
    lab.expect(&[
        ("default/friend", WEB, 80, true),
        ("default/friend", WEB6, 80, true),
        ("default/friend", WEB, 8080, false),
        ("default/friend", OUTSIDE, 80, false),
        ("default/friend", GATEWAY, 80, false),
        ("outside", WEB, 80, false),
    ]);
}

#[test]
fn policies_add_up() {
    let mut lab = two_pods();
    let web = "podSelector: {matchLabels: {app: web}}";
    lab.policy("default/a", &format!("{web}\ningress: [{{ports: [{{port: 80}}]}}]"));
    lab.expect(&[("default/friend", WEB, 80, true), ("default/friend", WEB, 8080, false)]);
    lab.policy("default/b", &format!("{web}\ningress: [{{from: [{{podSelector: {{}}}}]}}]"));
    lab.expect(&[
        ("default/friend", WEB, 80, true),
        ("default/friend", WEB, 8080, true),
        ("outside", WEB, 80, true),
        ("outside", WEB, 8080, false),
    ]);
}

#[test]
fn an_exception_belongs_to_its_own_block() {
    let mut lab = two_pods();
    let policy =
        |from: &str| format!("podSelector: {{matchLabels: {{app: web}}}}\ningress: [{{from: [{from}]}}]");
    let all_but = "{ipBlock: {cidr: 0.0.0.0/0, except: [192.0.2.0/24, 10.244.1.3/32]}}";
    lab.policy("default/p", &policy(all_but));
    lab.expect(&[
        ("outside", WEB, 80, false),
        ("default/friend", WEB, 80, false),
        // The block is of IPv4 only.
        ("outside", WEB6, 80, false),
    ]);
    lab.policy("default/p", &policy(&format!("{all_but}, {{ipBlock: {{cidr: 192.0.2.9/32}}}}")));
    lab.expect(&[("outside", WEB, 80, true), ("default/friend", WEB, 80, false)]);
    lab.policy("default/p", &policy(&format!("{all_but}, {{podSelector: {{}}}}")));
    lab.expect(&[("outside", WEB, 80, false), ("default/friend", WEB, 80, true)]);
}

#[test]
fn a_block_of_everything_means_all_addresses_of_the_family() {
    let mut lab = two_pods();
    lab.policy(
        "default/p",
        "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: '::/0'}}]}]",
    );
    lab.expect(&[
        ("default/web", OUTSIDE6, 80, true),
        ("default/web", NAT64, 80, true),
        ("default/friend", WEB6, 80, true),
        ("default/web", OUTSIDE, 80, false),
        ("default/friend", WEB, 80, false),
    ]);
    lab.policy(
        "default/p",
        "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: '::/0', except: ['64:ff9b::/96']}}]}]",
    );
    lab.expect(&[("default/web", OUTSIDE6, 80, true), ("default/web", NAT64, 80, false)]);
}

#[test]
fn ports_are_numbers_ranges_protocols_and_names() {
    let mut lab = two_pods();
    let policy =
        |ports: &str| format!("podSelector: {{matchLabels: {{app: web}}}}\ningress: [{{ports: [{ports}]}}]");
    let web =
        lab.world.pod(with_port(pod("default/web", "app=web", "10.244.1.2 fd00:244:1::2"), "http", 8080));
    lab.apply(web);
    for (ports, open) in [
        ("{port: 80}", [true, false, false]),
        ("{port: 81, endPort: 9000}", [false, true, false]),
        ("{protocol: TCP}", [true, true, false]),
        ("{protocol: UDP}", [false, false, true]),
        ("{port: 80}, {protocol: UDP, port: 53}", [true, false, true]),
        ("{port: http}", [false, true, false]),
        ("{protocol: UDP, port: http}", [false, false, false]),
        ("{port: nothing}", [false, false, false]),
        ("{port: nothing}, {port: 80}", [true, false, false]),
        ("{protocol: SCTP, port: 80}", [false, false, false]),
    ] {
        let report = lab.policy("default/p", &policy(ports));
        assert_eq!(report.problems, [], "{ports}");
        lab.expect(&[("default/friend", WEB, 80, open[0]), ("outside", WEB6, 8080, open[1])]);
        let way = ("default/friend", WEB, UDP_PORT);
        let right = if open[2] { Lab::reaches_udp } else { Lab::is_unheard_udp };
        assert!(right(&lab, way.0, way.1, way.2), "{ports}");
    }
}

#[test]
fn a_named_port_of_egress_is_the_number_that_the_destination_calls_so() {
    let mut lab = two_pods();
    let web =
        lab.world.pod(with_port(pod("default/web", "app=web", "10.244.1.2 fd00:244:1::2"), "http", 8080));
    lab.apply(web);
    lab.policy(
        "default/p",
        "podSelector: {matchLabels: {app: friend}}\npolicyTypes: [Egress]\negress: [{ports: [{port: http}]}]",
    );
    lab.expect(&[
        ("default/friend", WEB, 8080, true),
        ("default/friend", WEB6, 8080, true),
        ("default/friend", WEB, 80, false),
        // Not a number that counts for everybody.
        ("default/friend", OUTSIDE, 8080, false),
    ]);
}

#[test]
fn errors_and_replies_of_admitted_flows_pass() {
    let mut lab = two_pods();
    lab.policy("default/closed", "podSelector: {matchLabels: {app: friend}}\npolicyTypes: [Ingress]");
    lab.expect(&[("default/friend", WEB, 80, true), ("default/web", FRIEND, 80, false)]);
    // Nobody serves UDP port 9: the ICMP error comes back although nothing may open a flow to the pod.
    for address in [WEB, WEB6, OUTSIDE] {
        let error = send_udp(lab.space("default/friend"), address, 9, PATIENCE).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
    }
}

#[test]
fn the_node_reaches_its_pods_whatever_the_policies() {
    let mut lab = two_pods();
    lab.policy("default/deny", "podSelector: {}\npolicyTypes: [Ingress, Egress]");
    lab.expect(&[
        ("node", WEB, 80, true),
        ("node", WEB6, 80, true),
        ("outside", WEB, 80, false),
        ("default/web", GATEWAY, 80, false),
        ("default/web", "192.0.2.1", 80, false),
    ]);
}

#[test]
fn pods_of_other_namespaces_are_peers_by_their_namespaces_labels() {
    let mut lab = two_pods();
    lab.pod("other/guest", "app=guest", 4);
    lab.policy(
        "default/p",
        "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: other}}}]}]",
    );
    lab.expect(&[("other/guest", WEB, 80, true), ("default/friend", WEB, 80, false)]);
    let namespace = crate::cluster::objects::Namespace {
        name: "other".into(),
        labels: super::fixture::labels("team=left"),
    };
    let touched = lab.world.put(crate::cluster::Object::Namespace(namespace));
    lab.apply(touched);
    lab.expect(&[("other/guest", WEB, 80, false)]);
}
