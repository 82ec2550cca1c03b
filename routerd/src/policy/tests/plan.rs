//! Plans bring any state to any other one, in a real kernel.

use kernel::nft::Nft;
use kernel::testing::TestNs;
use proptest::prelude::*;

use super::fixture::{World, pod};
use super::touched::events;
use crate::policy::model::Model;
use crate::policy::{Plan, render};
use crate::ruleset::Ruleset;

fn ruleset(world: &World) -> Ruleset {
    let mut model = Model::default();
    for (key, value) in world.desired() {
        model.add(&render::fragment(&key, &value));
    }
    model.ruleset()
}

fn world(specs: &[&str]) -> World {
    let mut world = World::new();
    world.pod(pod("default/web", "app=web", "10.244.1.2 fd00:244:1::2"));
    world.pod(pod("default/friend", "app=friend", "10.244.1.3"));
    for (number, spec) in specs.iter().enumerate() {
        world.policy(&format!("default/p{number}"), spec);
    }
    world
}

#[test]
fn equal_states_make_an_empty_plan_and_a_relabelled_peer_a_few_elements() {
    let spec = "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]";
    let mut world = world(&[spec]);
    let before = ruleset(&world);
    assert_eq!(Plan::between(&before, &before.clone()), Plan::default());
    world.pod(pod("default/friend", "app=enemy", "10.244.1.3"));
    let plan = Plan::between(&before, &ruleset(&world));
    let texts: Vec<String> = plan.transaction.operations().iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert_eq!(texts[0], "add table inet routerd");
    assert!(texts[1].starts_with("delete 1 element(s) of inet routerd policy-group4-"), "{}", texts[1]);
}

#[test]
fn what_an_earlier_version_left_under_our_names_makes_way() {
    let space = TestNs::new("polway");
    let script = "add table inet routerd
        add chain inet routerd policy-forward { type filter hook forward priority -7; policy drop; }
        add chain inet routerd policy-egress
        add chain inet routerd policy-old
        add set inet routerd policy-pods4 { type inet_service; }
        add set inet routerd policy-gone { type ipv4_addr; elements = { 10.0.0.1 } }
        add map inet routerd policy-ingress4 { type ipv4_addr : verdict; elements = { 10.0.0.1 : goto policy-old } }
        add rule inet routerd policy-forward tcp dport @policy-pods4 jump policy-egress
        add rule inet routerd policy-egress ip saddr @policy-gone goto policy-old
        add chain inet routerd services-keep { type filter hook forward priority 5; }
        add rule inet routerd services-keep counter";
    for line in script.lines() {
        space.run("nft", &[line]);
    }
    let desired = ruleset(&world(&["podSelector: {}\npolicyTypes: [Ingress, Egress]"]));
    space.run_in(|| {
        let mut nft = Nft::open().unwrap();
        let observed = Ruleset::observe(&mut nft, "policy-").unwrap();
        nft.commit(&Plan::between(&observed, &desired).transaction).unwrap();
        assert_eq!(Plan::between(&Ruleset::observe(&mut nft, "policy-").unwrap(), &desired), Plan::default());
    });
    let printed = space.run("nft", &["list", "ruleset"]);
    assert!(printed.contains("services-keep") && !printed.contains("policy-old"), "{printed}");
    assert!(printed.contains("hook forward priority filter; policy accept"), "{printed}");
}

#[test]
fn any_state_is_reached_from_any_other_and_reads_back_as_wanted() {
    let space = TestNs::new("polplan");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(48));
    let cases = (events(), proptest::sample::select(vec![0, 2, usize::MAX]));
    let outcome = runner.run(&cases, |(events, crowds)| {
        let mut world = World::crowded(crowds);
        for event in events {
            world.event(event);
        }
        let desired = ruleset(&world);
        // The namespace still holds the state of the case before.
        space.run_in(|| {
            let mut nft = Nft::open().unwrap();
            let observed = Ruleset::observe(&mut nft, "policy-").unwrap();
            nft.commit(&Plan::between(&observed, &desired).transaction).unwrap();
            let after = Ruleset::observe(&mut nft, "policy-").unwrap();
            assert_eq!(after, desired);
        });
        Ok(())
    });
    outcome.unwrap();
}
