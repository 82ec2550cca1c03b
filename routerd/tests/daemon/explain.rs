//! `routerd explain` and `routerd policy verify`, as a user runs them.

use std::process::{Command, Output};

use cni_plugin::socket::Reply;
use serde_json::Value;

use crate::world::{ROUTERD, World, placed, pods, policy, wait};

const FRIENDS: &str = "podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 443}]}, \
                       {from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 80}]}]";

fn world() -> World {
    let world = World::running("explain");
    let policies = policy("friends", FRIENDS) + &policy("nobody", "podSelector: {matchLabels: {app: far}}");
    let all = pods([("web", "web"), ("friend", "friend")]) + &placed("far", "far", "node2", "10.244.2.5");
    world.write("cluster.yaml", &(all + &policies));
    world.until("pods and policies", |status| {
        let objects = &status["cluster"]["objects"];
        objects["Pod"] == 3 && objects["NetworkPolicy"] == 2
    });
    assert_eq!(world.attach("web", "10.244.1.7"), Reply::Committed);
    assert_eq!(world.attach("friend", "10.244.1.8"), Reply::Committed);
    world
}

fn routerd(world: &World, words: &[&str]) -> Output {
    Command::new(ROUTERD).args(words).arg("--run-dir").arg(world.path("run")).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The exit status and what is said of traffic between two.
fn explain(world: &World, from: &str, to: &str, port: &str) -> (i32, String) {
    let output = routerd(world, &["explain", "--from", from, "--to", to, "--port", port]);
    (output.status.code().unwrap(), said(&output))
}

#[test]
fn explain_names_the_rule_that_admits_or_why_none_does_and_ends_with_the_answer() {
    let world = world();
    let (code, text) = explain(&world, "default/friend", "default/web", "80");
    assert!(code == 0 && text.contains("default/friends rule 2"), "{code} {text}");
    let (code, text) = explain(&world, "10.244.1.8", "default/web", "81");
    assert!(code == 1 && text.contains("the peer is right, but TCP 81 is not"), "{code} {text}");
    let (code, text) = explain(&world, "default/friend", "default/far", "80");
    assert!(code == 1 && text.contains("ingress refused on node2, not here"), "{code} {text}");
    let (code, text) = explain(&world, "default/nobody", "default/web", "80");
    assert!(code == 2 && text.contains("no pod default/nobody is known"), "{code} {text}");
    let (code, text) = explain(&world, "default/friend", "default/web", "none");
    assert!(code == 2 && text.contains("--port=none: it must be a number"), "{code} {text}");
    let words = ["explain", "--from=192.0.2.77", "--to=default/web", "--port=443", "--output=json"];
    let output = routerd(&world, &words);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &answer["admitted"]), (Some(0), &Value::Bool(true)), "{answer:#}");
    let away = Command::new(ROUTERD).args(words).arg("--run-dir=/nonexistent").output().unwrap();
    assert_eq!(away.status.code(), Some(2), "no answer is neither yes nor no");
}

#[test]
fn verify_finds_the_kernel_equal_while_policies_hold_and_again_after_somebody_broke_them() {
    let world = world();
    let output = routerd(&world, &["policy", "verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).starts_with("equal: the kernel holds the policies"), "{}", said(&output));
    world.namespace.run("nft", &["delete element inet routerd policy-ingress4 { 10.244.1.7 }"]);
    let outcome = wait("a mended kernel", || {
        let output = routerd(&world, &["policy", "verify", "--output=json"]);
        let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
        let equal = outcome["equal"] == true;
        assert_eq!(output.status.code(), Some(i32::from(!equal)), "{outcome:#}");
        (equal && world.rules().contains("10.244.1.7 : ")).then_some(outcome)
    });
    assert!(outcome["elements"].as_u64() > Some(4), "{outcome:#}");
}
