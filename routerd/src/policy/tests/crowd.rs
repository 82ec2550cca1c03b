//! Many policies of the same pods: they admit what they admit one by one, and cost what few cost.

use std::collections::BTreeSet;

use super::fixture::{World, elsewhere, pod};
use super::lab::{Lab, OUTSIDE, UDP_PORT};
use crate::policy::{PolicyKey, PolicyValue};

const WEB: &str = "10.244.1.2";
const WEB6: &str = "fd00:244:1::2";

/// Policies on all pods of `default` of which each admits the pods with a label of its own.
fn add_crowd(mut add: impl FnMut(&str, &str), count: usize) {
    for number in 0..count {
        let from = format!("from: [{{podSelector: {{matchLabels: {{friend: f{number}}}}}}}]");
        let port = if number % 2 == 0 { 80 } else { 8080 };
        let spec = format!("podSelector: {{}}\ningress: [{{{from}, ports: [{{port: {port}}}]}}]");
        add(&format!("default/p{number}"), &spec);
    }
}

#[test]
fn a_crowd_admits_each_peer_to_its_ports_and_a_change_is_a_few_elements() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/even", "friend=f40", 3);
    lab.pod("default/odd", "friend=f41", 4);
    lab.pod("default/stranger", "friend=nobody", 5);
    add_crowd(|name, spec| _ = lab.policy(name, spec), 50);
    let expected = [
        ("default/even", WEB, 80, true),
        ("default/even", WEB6, 80, true),
        ("default/even", WEB, 8080, false),
        ("default/odd", WEB, 8080, true),
        ("default/odd", WEB, 80, false),
        ("default/stranger", WEB, 80, false),
        ("outside", WEB, 80, false),
        ("node", WEB, 80, true),
    ];
    lab.expect(&expected);
    let sets = lab.node.run("nft", &["list", "sets"]);
    assert!(!sets.contains("policy-group"), "no set for each of fifty groups");
    assert_eq!(lab.resync().writes, 0);

    let report = lab.label("default/stranger", "friend=f7", 5);
    assert_eq!(
        report.writes, 5,
        "the table, an address into the maps of both families, a class and its port"
    );
    lab.expect(&[("default/stranger", WEB, 8080, true), ("default/stranger", WEB, 80, false)]);
    let report = lab.label("default/stranger", "friend=nobody", 5);
    assert_eq!(report.writes, 5);
    lab.expect(&expected);
    lab.label("default/stranger", "friend=f40", 5);
    let report = lab.label("default/stranger", "friend=nobody", 5);
    assert_eq!(report.writes, 3, "another pod of the class stays");
    lab.expect(&expected);
    // One policy less: its peers alone are gone.
    let touched = lab.world.remove_policy("default/p40");
    assert!(
        lab.apply(touched).writes <= 5,
        "the address, and the chain of the port that nobody has any more"
    );
    lab.expect(&[("default/even", WEB, 80, false), ("default/odd", WEB, 8080, true)]);
}

#[test]
fn a_policy_that_changes_costs_its_port_and_not_the_pods_it_admits() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/friend", "friend=yes", 3);
    for number in 0..200 {
        lab.world.pod(elsewhere(pod(
            &format!("default/far-{number}"),
            "friend=yes,far=yes",
            &format!("10.244.2.{number}"),
        )));
    }
    let policy = |port: usize| {
        let from = "from: [{podSelector: {matchLabels: {friend: 'yes'}}}]";
        format!("podSelector: {{}}\ningress: [{{{from}, ports: [{{port: {port}}}]}}]")
    };
    for number in 0..50 {
        lab.policy(&format!("default/p{number}"), &policy(9000 + 2 * number));
    }
    lab.expect(&[("default/friend", WEB, 80, false)]);
    let report = lab.policy("default/p7", &policy(80));
    assert_eq!(report.writes, 3, "the table, a number that comes and one that goes");
    lab.expect(&[("default/friend", WEB, 80, true), ("default/friend", WEB, 8080, false)]);
    // A group that nobody named before makes two classes of one.
    let far = "podSelector: {}\ningress: [{from: [{podSelector: {matchLabels: {far: 'yes'}}}], ports: [{port: 8080}]}]";
    lab.policy("default/far", far);
    lab.expect(&[("default/friend", WEB, 80, true), ("default/friend", WEB, 8080, false)]);
    lab.label("default/friend", "friend=yes,far=yes", 3);
    lab.expect(&[("default/friend", WEB, 80, true), ("default/friend", WEB, 8080, true)]);
    let touched = lab.world.remove_policy("default/far");
    lab.apply(touched);
    lab.expect(&[("default/friend", WEB, 80, true), ("default/friend", WEB, 8080, false)]);
    assert_eq!(lab.resync().writes, 0);
}

#[test]
fn policies_that_become_a_crowd_and_are_none_again_admit_the_same_all_the_time() {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/friend", "friend=f1", 3);
    let check = |lab: &Lab| {
        lab.expect(&[
            ("default/friend", WEB, 8080, true),
            ("default/friend", WEB, 80, false),
            ("outside", WEB, 8080, false),
        ]);
    };
    let has_crowd = |lab: &Lab| lab.node.run("nft", &["list", "chains"]).contains("policy-many-i-");
    add_crowd(|name, spec| _ = lab.policy(name, spec), 32);
    assert!(!has_crowd(&lab));
    check(&lab);
    add_crowd(|name, spec| _ = lab.policy(name, spec), 33);
    assert!(has_crowd(&lab));
    check(&lab);
    let touched = lab.world.remove_policy("default/p32");
    lab.apply(touched);
    assert!(!has_crowd(&lab));
    check(&lab);
    assert_eq!(lab.resync().writes, 0);
}

#[test]
fn blocks_everybody_whole_namespaces_and_names_of_a_crowd_add_up() {
    let mut lab = Lab::new();
    lab.world.index = std::mem::take(&mut lab.world.index).with_crowds_above(0);
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/near", "", 3);
    lab.pod("other/far", "", 4);
    for (name, rule) in [
        ("default/a", "{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.9/32]}}]}"),
        ("default/b", "{from: [{ipBlock: {cidr: 192.0.0.0/8}}], ports: [{port: 80}]}"),
        ("default/c", "{from: [{namespaceSelector: {matchLabels: {team: other}}}], ports: [{port: 8080}]}"),
        ("default/d", "{ports: [{port: 53, protocol: UDP}]}"),
        ("default/e", "{from: [{ipBlock: {cidr: '::/0'}}], ports: [{port: 80}]}"),
    ] {
        lab.policy(name, &format!("podSelector: {{matchLabels: {{app: web}}}}\ningress: [{rule}]"));
    }
    lab.expect(&[
        ("outside", WEB, 80, true),
        ("outside", WEB, 8080, false),
        ("outside", WEB6, 80, true),
        ("outside", WEB6, 8080, false),
        ("other/far", WEB, 8080, true),
        ("other/far", WEB, 80, false),
        ("default/near", WEB, 8080, false),
        ("default/near", WEB6, 80, true),
        ("default/web", OUTSIDE, 80, true),
    ]);
    assert!(lab.reaches_udp("default/near", WEB, UDP_PORT), "everybody may ask by UDP");
    assert_eq!(lab.resync().writes, 0);
}

#[test]
fn a_peer_that_leaves_in_the_same_batch_as_the_policy_that_named_it_is_admitted_no_more() {
    let mut world = World::new();
    world.pod(pod("default/web", "app=web", WEB));
    world.pod(elsewhere(pod("default/friend", "friend=f1", "10.244.2.9")));
    add_crowd(|name, spec| _ = world.policy(name, spec), 40);
    let members = |world: &World| -> BTreeSet<PolicyKey> {
        let all = world.desired().into_iter();
        all.filter(|(_, value)| matches!(value, PolicyValue::Member(_))).map(|(key, _)| key).collect()
    };
    let before = members(&world);
    assert_eq!(before.len(), 1);
    let mut touched = world.pod(elsewhere(pod("default/friend", "", "10.244.2.9")));
    touched.extend(world.remove_policy("default/p1"));
    assert!(members(&world).is_empty());
    assert!(before.is_subset(&touched));
}
