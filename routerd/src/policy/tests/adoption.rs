//! New pods, unknown addresses, restarts: there is no moment of open policy.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::lab::{GATEWAY, Lab, OUTSIDE, connect, echoes};
use crate::cluster::{Event, ObjectKey};
use crate::policy::{PolicyApplier, PolicyKey};

const WEB: &str = "10.244.1.2";
const DENY: &str = "podSelector: {}\npolicyTypes: [Ingress]";

#[test]
fn an_address_without_a_verdict_is_dropped_both_ways() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.wire("default/unknown", 9);
    lab.expect(&[
        ("default/unknown", WEB, 80, false),
        ("default/unknown", "fd00:244:1::2", 80, false),
        ("default/unknown", OUTSIDE, 80, false),
        ("default/unknown", GATEWAY, 80, false),
        ("default/web", "10.244.1.9", 80, false),
        ("outside", "10.244.1.9", 80, false),
        ("outside", "fd00:244:1::9", 80, false),
        ("node", "10.244.1.9", 80, true),
    ]);
    lab.attach("default/unknown", 9);
    lab.expect(&[("default/unknown", WEB, 80, false), ("outside", "10.244.1.9", 80, false)]);
    lab.label("default/unknown", "", 9);
    lab.expect(&[("default/unknown", WEB, 80, true), ("outside", "fd00:244:1::9", 80, true)]);
}

#[test]
fn a_pod_that_is_gone_leaves_no_open_address_behind() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.expect(&[("outside", WEB, 80, true)]);
    let mut touched = lab.world.event(Event::Detach("default/web".into(), "eth0".into()));
    touched.extend(lab.world.remove_pod("default/web"));
    lab.apply(touched);
    lab.expect(&[("outside", WEB, 80, false), ("outside", "fd00:244:1::2", 80, false)]);
}

#[test]
fn with_the_daemon_dead_and_started_again_refused_stays_refused_and_flows_go_on() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/open", "app=open", 3);
    lab.policy("default/deny", "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Ingress]");
    let mut flow = connect(&lab.outside, "10.244.1.3", 80).unwrap();
    let (stop, tries, leaks) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let outside = lab.outside.namespace().path().to_owned();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let outside = kernel::NetNs::open(&outside).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let to = (super::fixture::ip(WEB), 80).into();
                    let wait = std::time::Duration::from_millis(20);
                    let stream = outside.run_in(|| std::net::TcpStream::connect_timeout(&to, wait)).unwrap();
                    tries.fetch_add(1, Ordering::Relaxed);
                    leaks.fetch_add(u32::from(stream.is_ok()), Ordering::Relaxed);
                }
            });
        }
        for round in 0..20 {
            // The daemon dies; while it is away the cluster changes; it comes back and adopts what is there.
            lab.applier = PolicyApplier::new();
            lab.world.policy(
                "default/more",
                &format!("podSelector: {{matchLabels: {{app: web, round: r{round}}}}}"),
            );
            lab.world.policy("default/deny", &format!(
                "podSelector: {{matchLabels: {{app: web}}}}\ningress: [{{from: [{{podSelector: {{matchLabels: {{a: b{round}}}}}}}]}}]"
            ));
            lab.resync();
            assert!(echoes(&mut flow));
            assert!(lab.reaches("outside", "10.244.1.3", 80), "what is open stays open");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(leaks.into_inner(), 0);
    assert!(tries.into_inner() >= 20, "at least one try a round");
}

#[test]
fn a_restart_with_the_cluster_unchanged_writes_nothing() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.policy(
        "default/p",
        "podSelector: {}\ningress: [{from: [{podSelector: {}}], ports: [{port: 80}, {protocol: UDP}]}]",
    );
    let before = lab.node.run("nft", &["-a", "list", "ruleset"]);
    lab.applier = PolicyApplier::new();
    assert_eq!(lab.resync().writes, 0);
    assert_eq!(lab.node.run("nft", &["-a", "list", "ruleset"]), before);
}

#[test]
fn while_the_node_object_is_missing_unknown_addresses_stay_closed() {
    let mut lab = Lab::new();
    lab.wire("default/unknown", 9);
    let touched = lab.world.event(Event::Delete(ObjectKey::Node("node1".into())));
    let report = lab.apply(touched);
    assert!(report.problems.iter().any(|problem| problem.message.contains("--hostname-override")));
    lab.expect(&[("outside", "10.244.1.9", 80, false)]);
    // And after a restart that has not seen it yet either.
    lab.applier = PolicyApplier::new();
    lab.resync();
    lab.expect(&[("outside", "10.244.1.9", 80, false)]);
}

#[test]
fn an_established_flow_outlives_a_policy_that_would_not_admit_it_and_a_new_one_does_not_begin() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    let mut flow = connect(&lab.outside, WEB, 80).unwrap();
    lab.policy("default/deny", DENY);
    assert!(echoes(&mut flow));
    lab.expect(&[("outside", WEB, 80, false)]);
    let touched: BTreeSet<PolicyKey> = lab.world.remove_policy("default/deny");
    lab.apply(touched);
    lab.expect(&[("outside", WEB, 80, true)]);
}
