//! What the kernel refuses holds up nobody else.

use super::fixture::{attachment, elsewhere, pod};
use super::lab::Lab;
use super::upkeep::{WEB, lab};
use crate::cluster::Event;
use crate::runner::Report;

const FRIEND: &str = "10.244.1.3";

/// A policy that the kernel will refuse, once [`obstruct`] has been called.
const PORTS: &str =
    "podSelector: {matchLabels: {app: friend}}\ningress: [{ports: [{port: 80}, {port: 8080}]}]";

/// Somebody occupies the name that the set of [`PORTS`] has, with a set of a kind that we do not make. Returns the name.
fn obstruct(lab: &mut Lab) -> String {
    lab.policy("default/q", PORTS);
    lab.expect(&[("outside", "10.244.1.3", 80, true)]);
    let listed = lab.node.run("nft", &["-t", "list", "table", "inet", "routerd"]);
    let line = listed.lines().find(|line| line.contains("set policy-numbers-")).unwrap();
    let name = line.split_whitespace().nth(1).unwrap().to_owned();
    let touched = lab.world.remove_policy("default/q");
    lab.apply(touched);
    let occupy = format!("add set inet routerd {name} {{ type ipv4_addr; flags dynamic; }}");
    lab.node.run("nft", &[&occupy]);
    name
}

#[test]
fn a_policy_that_the_kernel_refuses_is_closed_and_the_others_work() {
    let mut lab = lab();
    let name = obstruct(&mut lab);
    let report = lab.policy("default/q", PORTS);
    let problem = report.problems.iter().find(|problem| problem.item == "NetworkPolicy default/q").unwrap();
    assert!(problem.retry && problem.message.contains(&name), "{problem:?}");
    lab.expect(&[
        ("outside", "10.244.1.3", 80, false),
        ("default/friend", WEB, 80, true),
        ("outside", WEB, 80, false),
    ]);
    // Other changes go on while it is closed, and it opens when the obstacle is gone.
    lab.label("default/friend", "app=friend,more=labels", 3);
    lab.node.run("nft", &[&format!("delete set inet routerd {name}")]);
    assert_eq!(lab.resync().problems, []);
    lab.expect(&[("outside", "10.244.1.3", 80, true)]);
}

#[test]
fn a_refused_change_of_a_group_that_keeps_members_is_not_taken_for_damage_that_somebody_did() {
    let mut lab = lab();
    lab.world.pod(elsewhere(pod("default/far", "app=friend", "10.244.2.9")));
    lab.resync();
    obstruct(&mut lab);
    let mut touched = lab.world.pod(elsewhere(pod("default/far", "app=enemy", "10.244.2.9")));
    touched.extend(lab.world.policy("default/q", PORTS));
    let report = lab.apply(touched);
    assert!(report.problems.iter().any(|problem| problem.item == "NetworkPolicy default/q"), "{report:?}");
    assert!(!report.repaired, "{report:?}");
    lab.expect(&[("default/friend", WEB, 80, true), ("outside", WEB, 80, false)]);
}

/// What is said of each object.
fn said(report: &Report) -> Vec<&str> {
    report.problems.iter().map(|problem| problem.item.as_str()).collect()
}

#[test]
fn a_group_that_the_kernel_refuses_closes_the_policies_that_name_it_and_says_so_of_them() {
    let mut lab = lab();
    lab.policy("default/q", "podSelector: {matchLabels: {app: friend}}\ningress: [{ports: [{port: 80}]}]");
    let listed = lab.node.run("nft", &["-t", "list", "table", "inet", "routerd"]);
    let name = listed.split_whitespace().find(|word| word.starts_with("policy-group4-")).unwrap().to_owned();
    let touched = lab.world.remove_policy("default/p");
    lab.apply(touched);
    let occupy = format!("add set inet routerd {name} {{ type ipv4_addr; flags dynamic; }}");
    lab.node.run("nft", &[&occupy]);
    let report = lab.policy("default/p", super::upkeep::FROM_FRIENDS);
    let items = said(&report);
    assert!(items.contains(&"NetworkPolicy default/p"), "{report:?}");
    assert!(!items.contains(&"policy") && !items.contains(&"NetworkPolicy default/q"), "{report:?}");
    lab.expect(&[
        ("default/friend", WEB, 80, false),
        ("outside", FRIEND, 80, true),
        ("outside", FRIEND, 8080, false),
    ]);
    // Others change meanwhile, and it works once the name is free.
    lab.policy("default/q", "podSelector: {matchLabels: {app: friend}}\ningress: [{ports: [{port: 8080}]}]");
    lab.expect(&[("outside", FRIEND, 8080, true), ("outside", FRIEND, 80, false)]);
    lab.node.run("nft", &[&format!("delete set inet routerd {name}")]);
    assert_eq!(lab.resync().problems, []);
    lab.expect(&[("default/friend", WEB, 80, true), ("outside", WEB, 80, false)]);
}

#[test]
fn a_chain_that_somebody_elses_rule_leads_to_stays_empty_and_holds_up_nothing() {
    let mut lab = lab();
    let listed = lab.node.run("nft", &["-t", "list", "table", "inet", "routerd"]);
    let after = listed.split("comment \"ingress of default/p\"").next().unwrap();
    let name = after.split("chain ").last().unwrap().split_whitespace().next().unwrap().to_owned();
    let foreign = format!("add chain inet routerd mine; add rule inet routerd mine jump {name}");
    lab.node.run("nft", &[&foreign]);
    let touched = lab.world.remove_policy("default/p");
    let report = lab.apply(touched);
    assert_eq!(said(&report), [format!("nf_tables {name}")], "{report:?}");
    assert!(!report.repaired && report.problems[0].retry, "{report:?}");
    lab.expect(&[("outside", WEB, 80, true)]);
    assert!(!lab.resync().repaired, "what stays is no damage");
    // It is filled again when the policy comes back, and goes when the foreign rule does.
    lab.policy("default/p", super::upkeep::FROM_FRIENDS);
    lab.expect(&[("default/friend", WEB, 80, true), ("outside", WEB, 80, false)]);
    let touched = lab.world.remove_policy("default/p");
    lab.apply(touched);
    lab.node.run("nft", &["flush chain inet routerd mine; delete chain inet routerd mine"]);
    assert_eq!(lab.resync().problems, []);
    assert!(!lab.node.run("nft", &["list", "chains"]).contains(&name));
}

/// Chains of somebody else that lead to `policy-ingress` so deep down that the kernel takes no judgement behind it
/// (`NFT_JUMP_STACK_SIZE`).
fn dig(lab: &Lab) {
    let dug = (4..16).rev().any(|depth: u32| {
        let level = |to| format!("add chain inet routerd d{to}\nadd rule inet routerd d{} jump d{to}\n", to - 1);
        let levels: String = (1..=depth).map(level).collect();
        let text = format!(
            "add chain inet routerd d0 {{ type filter hook forward priority 99; }}\n{levels}add rule inet routerd d{depth} jump policy-ingress\n"
        );
        lab.node.command("nft").arg(&text).output().unwrap().status.success()
    });
    assert!(dug);
}

#[test]
fn what_the_kernel_refuses_without_a_name_is_found_by_trying_and_the_rest_is_done() {
    let mut lab = Lab::new();
    for (name, labels, number) in [("web", "app=web", 2), ("friend", "app=friend", 3), ("more", "", 4)] {
        lab.pod(&format!("default/{name}"), labels, number);
    }
    dig(&lab);
    assert_eq!(lab.resync().problems, []);
    // Of what changes at once only the pod that is isolated needs more depth than there is.
    lab.wire("default/new", 5);
    let addresses = Lab::addresses(5).join(" ");
    let mut touched = lab.world.policy("default/p", super::upkeep::FROM_FRIENDS);
    touched.extend(lab.world.event(Event::Attach(attachment("default/new", "new", &addresses))));
    touched.extend(lab.world.pod(pod("default/new", "", &addresses)));
    touched.extend(lab.world.pod(pod("default/more", "more=labels", &Lab::addresses(4).join(" "))));
    let report = lab.apply(touched);
    assert_eq!(said(&report), ["Pod default/web"], "{report:?}");
    lab.expect(&[
        ("default/friend", WEB, 80, false),
        ("outside", WEB, 80, false),
        ("node", WEB, 80, true),
        ("outside", FRIEND, 80, true),
        ("outside", "10.244.1.4", 80, true),
        ("outside", "10.244.1.5", 80, true),
    ]);
    lab.node.run("nft", &["flush chain inet routerd d0"]);
    assert_eq!(lab.resync().problems, []);
    lab.expect(&[("default/friend", WEB, 80, true), ("outside", WEB, 80, false)]);
}
