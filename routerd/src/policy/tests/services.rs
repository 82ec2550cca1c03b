//! Policies and Services: judged is the real backend, whatever was dialled. IPVS is set up with `ipvsadm`.

use super::flows::stops;
use super::lab::{Lab, OUTSIDE, connect, echoes};
use crate::policy::PolicyApplier;

const VIP: &str = "10.96.0.10";
const NODE: &str = "192.0.2.1";
/// Ports of the virtual address, by their backend.
const POD_PORT: u16 = 80;
const OUTSIDE_PORT: u16 = 81;
const NODE_PORT: u16 = 82;
const SELF_PORT: u16 = 83;

/// A node whose virtual address leads to the pod `default/friend` (port 8080), outside, the node itself and
/// `default/web` itself.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/friend", "app=friend", 3);
    let node = &lab.node;
    node.run("sysctl", &["-qw", "net.ipv4.vs.conntrack=1"]);
    node.run("ip", &["addr", "add", "10.96.0.10/32", "dev", "lo"]);
    node.run("ip", &["route", "replace", "local", VIP, "dev", "lo", "table", "local", "src", NODE]);
    for (port, backend) in [
        (POD_PORT, "10.244.1.3:8080"),
        (OUTSIDE_PORT, "192.0.2.9:80"),
        (NODE_PORT, "192.0.2.1:80"),
        (SELF_PORT, "10.244.1.2:80"),
    ] {
        let service = format!("{VIP}:{port}");
        node.run("ipvsadm", &["-A", "-t", &service, "-s", "rr"]);
        node.run("ipvsadm", &["-a", "-t", &service, "-r", backend, "-m"]);
    }
    // A pod that is its own backend needs its source changed, and its bridge port must give frames back.
    node.run(
        "nft",
        &["add table ip test; add chain ip test post { type nat hook postrouting priority 100; }"],
    );
    node.run("nft", &["add rule ip test post ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade"]);
    node.run("ip", &["link", "set", "veth2", "type", "bridge_slave", "hairpin", "on"]);
    lab
}

fn egress(to: &str, port: u16) -> String {
    format!(
        "podSelector: {{matchLabels: {{app: web}}}}
policyTypes: [Egress]
egress: [{{to: [{to}], ports: [{{port: {port}}}]}}]"
    )
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn without_policies_every_backend_answers() {
    lab().expect(&[
        ("default/web", VIP, POD_PORT, true),
        ("default/web", VIP, OUTSIDE_PORT, true),
        ("default/web", VIP, NODE_PORT, true),
        ("default/web", VIP, SELF_PORT, true),
        ("node", VIP, POD_PORT, true),
        ("node", VIP, OUTSIDE_PORT, true),
    ]);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_pod_without_egress_reaches_no_service_but_itself() {
    let mut lab = lab();
    lab.policy("default/deny", "podSelector: {}\npolicyTypes: [Egress]");
    lab.expect(&[
        ("default/web", VIP, POD_PORT, false),
        ("default/web", VIP, OUTSIDE_PORT, false),
        ("default/web", VIP, NODE_PORT, false),
        ("default/web", VIP, SELF_PORT, true),
        ("node", VIP, POD_PORT, true),
    ]);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn egress_is_judged_on_the_backend_and_its_port() {
    let mut lab = lab();
    let friend = "{podSelector: {matchLabels: {app: friend}}}";
    let vip = format!("{{ipBlock: {{cidr: {VIP}/32}}}}");
    for (to, port, open) in [
        (friend, 8080, [true, false, false]),
        (friend, POD_PORT, [false, false, false]),
        (&*vip, 8080, [false, false, false]),
        ("{ipBlock: {cidr: 192.0.2.9/32}}", 80, [false, true, false]),
        ("{ipBlock: {cidr: 192.0.2.1/32}}", 80, [false, false, true]),
    ] {
        lab.policy("default/p", &egress(to, port));
        lab.expect(&[
            ("default/web", VIP, POD_PORT, open[0]),
            ("default/web", VIP, OUTSIDE_PORT, open[1]),
            ("default/web", VIP, NODE_PORT, open[2]),
        ]);
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn ingress_of_the_backend_is_judged_on_who_dialled() {
    let mut lab = lab();
    let from = |peer: &str| {
        format!(
            "podSelector: {{matchLabels: {{app: friend}}}}\ningress: [{{from: [{peer}], ports: [{{port: 8080}}]}}]"
        )
    };
    lab.policy("default/p", &from("{podSelector: {matchLabels: {app: web}}}"));
    lab.expect(&[("default/web", VIP, POD_PORT, true), ("node", VIP, POD_PORT, true)]);
    lab.policy("default/p", &from("{ipBlock: {cidr: 203.0.113.0/24}}"));
    lab.expect(&[("default/web", VIP, POD_PORT, false), ("node", VIP, POD_PORT, true)]);
    assert!(lab.reaches("default/web", OUTSIDE, 80), "other ways stay open");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_stream_through_a_service_is_cut_by_what_its_backend_admits() {
    let mut lab = lab();
    lab.applier = PolicyApplier::new().cutting_established(true);
    lab.resync();
    let stream = |port| {
        let mut stream = connect(lab.space("default/web"), VIP, port).unwrap();
        assert!(echoes(&mut stream), "port {port}");
        stream
    };
    let [mut cut, mut outside, mut node] = [POD_PORT, OUTSIDE_PORT, NODE_PORT].map(stream);
    lab.policy("default/p", "podSelector: {matchLabels: {app: friend}}\ningress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]");
    assert!(stops(&mut cut), "the backend's port is 8080, whatever was dialled");
    assert!(echoes(&mut outside) && echoes(&mut node));
    // The other direction, on the real destination too.
    lab.policy("default/q", &egress("{ipBlock: {cidr: 192.0.2.9/32}}", 80));
    assert!(stops(&mut node));
    assert!(echoes(&mut outside));
}
