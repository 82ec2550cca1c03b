//! A policy that cannot be had as it is written closes its pods, in the directions it speaks of, says why, and touches no
//! other policy.

use std::fs::File;
use std::process::Command;

use cni_plugin::socket::Reply;
use serde_json::Value;

use crate::world::{ROUTERD, World, pods, policy, wait};
use crate::{Guard, plane};

const WEB: &str = "10.244.1.7";

fn tried(spec: &str) -> String {
    policy("tried", &format!("podSelector: {{matchLabels: {{app: web}}}}, {spec}"))
}

/// Two pods, and a policy for one of them that nothing is wrong with and that admits `port`.
fn cluster(port: u16) -> String {
    let good =
        format!("podSelector: {{matchLabels: {{app: other}}}}, ingress: [{{ports: [{{port: {port}}}]}}]");
    pods([("web", "web"), ("other", "other")]) + &policy("good", &good)
}

fn world() -> World {
    let world = World::running("bad");
    world.write("pods.yaml", &cluster(80));
    world.until("pods", |status| status["cluster"]["objects"]["Pod"] == 2);
    assert_eq!(world.attach("web", WEB), Reply::Committed);
    assert_eq!(world.attach("other", "10.244.1.8"), Reply::Committed);
    world
}

/// What the plane says of the policy.
fn said(status: &Value) -> Option<String> {
    let problems = plane(status, "policy")["problems"].as_array().unwrap();
    let of_it = problems.iter().find(|problem| problem["item"] == "NetworkPolicy default/tried");
    of_it.map(|problem| problem["message"].as_str().unwrap().to_owned())
}

/// True if the rules of the policy in this direction admit anybody, by what `nft` prints.
fn admits(rules: &str, direction: &str, policy: &str) -> Option<bool> {
    let chain = rules
        .split("\tchain ")
        .find(|chain| chain.contains(&format!("{direction} of default/{policy}\"")))?;
    Some(chain.contains("accept") || chain.contains("goto"))
}

/// True if the pod is isolated in this direction, by what `nft` prints.
fn is_isolated(rules: &str, direction: &str) -> bool {
    let map = rules.split("\tmap ").find(|map| map.starts_with(&format!("policy-{direction}4 "))).unwrap();
    map.contains(&format!("{WEB} : goto policy-pod-")) || map.contains(&format!("{WEB} : drop"))
}

/// True if `routerd explain` calls traffic from one to another admitted.
fn explained(world: &World, from: &str, to: &str) -> (bool, String) {
    let words = ["explain", "--from", from, "--to", to, "--port=80", "--run-dir"];
    let output = Command::new(ROUTERD).args(words).arg(world.path("run")).output().unwrap();
    (output.status.code() == Some(0), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is wrong with a policy's spec, a part of what is said of it, and the directions that it closes.
const BAD: [(&str, &str, [bool; 2]); 14] = [
    (
        "ingress: [{from: [{ipBlock: {cidr: nonsense}}]}]",
        "spec.ingress[0].from[0].ipBlock.cidr",
        [true, false],
    ),
    ("ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]", "10.0.0.0/33", [true, false]),
    (
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]",
        "11.0.0.0/16 is not a part of",
        [true, false],
    ),
    ("ingress: [{ports: [{port: 80, endPort: 79}]}]", "endPort is below port", [true, false]),
    ("ingress: [{ports: [{port: http, endPort: 90}]}]", "endPort needs a number", [true, false]),
    ("ingress: [{ports: [{port: 80, protocol: ICMP}]}]", "\"ICMP\" is none of TCP, UDP, SCTP", [true, false]),
    ("ingress: [{ports: [{port: 70000}]}]", "a port is a number from 1 to 65535 or a name", [true, false]),
    ("ingress: [{ports: 80}]", "spec.ingress[0].ports", [true, false]),
    (
        "ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: Like, values: [b]}]}}]}]",
        "operator \"Like\"",
        [true, false],
    ),
    (
        "ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}]}]",
        "In needs values",
        [true, false],
    ),
    ("ingress: [{from: [{}]}]", "names nobody", [true, false]),
    ("policyTypes: [Inbound], ingress: [{}]", "\"Inbound\" is neither Ingress nor Egress", [true, true]),
    (
        "policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: x}}]}]",
        "spec.egress[0].to[0].ipBlock.cidr",
        [false, true],
    ),
    (
        "ingress: [{}], egress: [{ports: [{port: 1, endPort: x}]}]",
        "spec.egress[0].ports[0].endPort",
        [true, true],
    ),
];

#[test]
fn a_policy_with_anything_wrong_in_it_closes_its_pods_and_says_what_and_a_mended_one_opens_them() {
    let world = world();
    let good = tried("ingress: [{ports: [{port: 80}]}]");
    for (spec, expected, closed) in BAD {
        world.write("tried.yaml", &tried(spec));
        let status = world.until(spec, |status| said(status).is_some_and(|said| said.contains(expected)));
        assert_eq!(plane(&status, "policy")["counts"]["invalid_policies"], 1, "{spec}");
        assert_eq!(plane(&status, "policy")["state"], "problems", "{spec}: the plane itself works");
        let rules = world.rules();
        for (direction, closed) in ["ingress", "egress"].into_iter().zip(closed) {
            assert_eq!(is_isolated(&rules, direction), closed, "{spec}: {direction}\n{rules}");
            assert_eq!(
                admits(&rules, direction, "tried"),
                closed.then_some(false),
                "{spec}: {direction}\n{rules}"
            );
        }
        assert_eq!(admits(&rules, "ingress", "good"), Some(true), "{spec}: the other policy\n{rules}");
        let (admitted, text) = explained(&world, "10.9.9.9", "default/web");
        assert_eq!(admitted, !closed[0], "{spec}: {text}");
        assert!(admitted || text.contains("the policy is invalid"), "{spec}: {text}");
        let (admitted, text) = explained(&world, "10.9.9.9", "default/other");
        assert!(admitted, "{spec}: {text}");

        world.write("tried.yaml", &good);
        world.until("a mended policy", |status| said(status).is_none());
        assert_eq!(admits(&world.rules(), "ingress", "tried"), Some(true), "after {spec}");
    }
    let (_, metrics) = world.get(20245, "/metrics");
    assert!(metrics.contains("kind=\"invalid_policies\"} 0"), "{metrics}");
}

#[test]
fn a_selector_that_is_wrong_selects_rather_more_pods_than_fewer() {
    let world = world();
    let text = tried("ingress: [{}]")
        .replace("matchLabels: {app: web}", "matchExpressions: [{key: app, operator: Is, values: [web]}]");
    world.write("tried.yaml", &text);
    world.until("the wrong selector", |status| {
        said(status).is_some_and(|said| said.contains("operator \"Is\""))
    });
    assert!(is_isolated(&world.rules(), "ingress") && !explained(&world, "10.9.9.9", "default/web").0);
    assert!(explained(&world, "10.9.9.9", "default/other").0, "what another policy admits stays admitted");
}

#[test]
fn a_policy_that_the_kernel_refuses_closes_its_pods_until_it_takes_it_and_others_change_meanwhile() {
    let world = world();
    let two_ports = tried("ingress: [{ports: [{port: 80}, {port: 8080}]}]");
    world.write("tried.yaml", &two_ports);
    world.until_rules("its set", |rules| rules.contains("set policy-numbers-"));
    let rules = world.rules();
    let name = rules.split("set policy-numbers-").nth(1).unwrap().split_whitespace().next().unwrap();
    let set = format!("policy-numbers-{name}");
    std::fs::remove_file(world.path("manifests").join("tried.yaml")).unwrap();
    world.until_rules("no set", |rules| !rules.contains(&set));
    // Somebody occupies the name that the policy's set has, with a set of a kind that we do not make.
    world
        .namespace
        .run("nft", &[&format!("add set inet routerd {set} {{ type ipv4_addr; flags dynamic; }}")]);
    world.write("tried.yaml", &two_ports);
    let status = world.until("a refused policy", |status| said(status).is_some());
    assert!(said(&status).unwrap().contains("the kernel refused"), "{status:#}");
    let (admitted, text) = explained(&world, "10.9.9.9", "default/web");
    assert!(!admitted && text.contains("the kernel refused the policy"), "{text}");
    assert!(
        is_isolated(&world.rules(), "ingress") && admits(&world.rules(), "ingress", "tried") == Some(false)
    );
    world.write("pods.yaml", &cluster(81));
    wait("a change of another policy", || {
        let (admitted, _) = explained(&world, "10.9.9.9", "default/other");
        (!admitted && admits(&world.rules(), "ingress", "good") == Some(true)).then_some(())
    });
    world.namespace.run("nft", &[&format!("delete set inet routerd {set}")]);
    world.until("a policy that is taken", |status| said(status).is_none());
    assert!(explained(&world, "10.9.9.9", "default/web").0);
}

#[test]
fn what_is_wrong_with_a_policy_is_logged_once() {
    let world = World::new("bad");
    world.write("pods.yaml", &cluster(80));
    world.write("tried.yaml", &tried("ingress: [{ports: [{port: 80, endPort: 79}]}]"));
    let log = world.path("log");
    let mut command = world.command();
    let _daemon = Guard(command.stderr(File::create(&log).unwrap()).spawn().unwrap());
    world.until("a complete view", |status| status["cluster"]["complete"] == true);
    assert_eq!(world.attach("web", WEB), Reply::Committed);
    world.until("what is wrong", |status| said(status).is_some());
    // More runs of the plane, with and without anything new of it.
    for number in 0..3 {
        world.write(
            "more.yaml",
            &(pods([(&*format!("other{number}"), "other")]) + &policy("more", "podSelector: {}")),
        );
        world.until("another pod", |status| status.to_string().contains("invalid_policies"));
        world.namespace.run("nft", &["flush chain inet routerd policy-forward"]);
        world.until_rules("rules again", |rules| rules.contains("goto policy-egress"));
    }
    let text = std::fs::read_to_string(&log).unwrap();
    let of_plane =
        |line: &&str| line.contains("cannot be enforced as written") && line.contains("default/tried");
    assert_eq!(text.lines().filter(of_plane).count(), 1, "{text}");
}
