//! What others change in our rules is put right at once and counted; what they change in theirs concerns us not; and who
//! has nothing to do writes nothing.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use kernel::nft::{Nft, Watch};
use serde_json::Value;

use super::wired::{Wired, rounds};
use super::world::{placed, policy, wait, written};
use super::{POD, plane};

const FRIENDS: &str = "podSelector: {}, \
    ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 80}, {port: 81}]}]";

fn world() -> Wired {
    let wired = Wired::running("tampered");
    wired.world.write("pods.yaml", POD);
    let friend = placed("friend", "friend", "node2", "10.244.2.2");
    wired.world.write("policy.yaml", &(policy("friends", FRIENDS) + &friend));
    wired.world.until("the policy", |status| plane(status, "policy")["counts"]["policies"] == 1);
    wired.pod("web", 7);
    wired
}

/// Our rules without counters and handles, whatever the order of objects.
fn rules(wired: &Wired) -> BTreeSet<String> {
    let listed = wired.world.namespace.run("nft", &["-s", "list", "ruleset"]);
    listed.lines().map(str::to_owned).collect()
}

fn repairs(status: &Value) -> u64 {
    plane(status, "policy")["repairs"].as_u64().unwrap()
}

/// The first name that begins so in what `nft` lists.
fn named(wired: &Wired, begin: &str) -> String {
    let listed = wired.world.namespace.run("nft", &["-t", "list", "table", "inet", "routerd"]);
    listed.split_whitespace().find(|word| word.starts_with(begin)).unwrap().to_owned()
}

#[test]
fn whatever_somebody_deletes_or_edits_is_put_right_and_counted() {
    let wired = world();
    let (group, judgement) = (named(&wired, "policy-group4-"), named(&wired, "policy-pod-i-"));
    let before = rules(&wired);
    let mut slowest = Duration::ZERO;
    for damage in [
        "delete element inet routerd policy-ingress4 { 10.244.1.7 }",
        "add element inet routerd policy-ingress4 { 10.244.1.99 : accept }",
        "delete element inet routerd policy-pods4 { 10.244.1.0/24 }",
        &format!("flush set inet routerd {group}"),
        &format!("add element inet routerd {group} {{ 192.0.2.66 }}"),
        &format!("insert rule inet routerd {judgement} accept"),
        &format!("flush chain inet routerd {judgement}"),
        "flush chain inet routerd policy-ingress",
        "insert rule inet routerd policy-forward accept",
        "flush chain inet routerd policy-forward; delete chain inet routerd policy-forward",
        "add chain inet routerd policy-output { policy drop; }",
        "flush table inet routerd",
        "delete table inet routerd",
        "flush ruleset",
    ] {
        let counted = repairs(&wired.world.status().unwrap());
        let started = Instant::now();
        wired.world.namespace.run("nft", &[damage]);
        wait(&format!("repair of: {damage}"), || (rules(&wired) == before).then_some(()));
        slowest = slowest.max(started.elapsed());
        wired.world.until("the repair counted", |status| repairs(status) > counted);
    }
    println!("the slowest repair was seen after {slowest:?}");
    let (_, metrics) = wired.world.get(20245, "/metrics");
    let line =
        metrics.lines().find(|line| line.starts_with("kube_router_plane_repairs_total{plane=\"policy\"}"));
    let total: u64 = line.unwrap().split(' ').next_back().unwrap().parse().unwrap();
    assert!(total >= 14, "{total}");
}

#[test]
fn who_has_nothing_to_do_writes_nothing_and_takes_no_notice_of_what_others_do_to_theirs() {
    let wired = world();
    let node = &wired.world.namespace;
    let at_rest = |status: &Value| plane(status, "policy")["counts"]["pods"] == 1;
    wired.world.until("rest", at_rest);
    let quiet = wired.world.at_rest();
    let mut watch = Watch::open_in(node.namespace()).unwrap();
    let generation = || Nft::open_in(node.namespace()).unwrap().generation().unwrap();
    let begun = generation();
    thread::sleep(Duration::from_secs(u64::from(rounds("IDLE_SECONDS", 5))));
    assert_eq!(watch.next(Duration::ZERO).unwrap(), []);
    assert_eq!(generation(), begun);
    let runs = |status: &Value| plane(status, "policy")["runs"].as_u64().unwrap();
    let idle = wired.world.status().unwrap();
    assert_eq!(written(&idle), written(&quiet));
    for number in 0..20 {
        node.run(
            "nft",
            &[&format!("add table ip theirs{number}; add chain ip theirs{number} policy-forward")],
        );
        node.run("nft", &["add table inet routerd-cni; add chain inet routerd-cni policy-input"]);
    }
    node.run("nft", &["delete table inet routerd-cni"]);
    thread::sleep(Duration::from_secs(1));
    let after = wired.world.status().unwrap();
    assert_eq!(
        (written(&after), runs(&after)),
        (written(&idle), runs(&idle)),
        "it looked though nothing of ours changed"
    );
}
