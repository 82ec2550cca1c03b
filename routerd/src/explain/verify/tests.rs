//! What somebody else does to the kernel is found, by name.

use std::collections::{BTreeMap, BTreeSet};

use kernel::nft::Nft;
use kernel::testing::TestNs;

use super::compare::differences;
use super::{Comparison, Difference, Fault, render};
use crate::cluster::manifests;
use crate::cluster::{Event, Index};
use crate::policy::{PolicyApplier, PolicyKey, PolicyPlane, PolicyValue};
use crate::ruleset::Ruleset;
use crate::runner::{Apply as _, Plane as _, Scope};

const CLUSTER: &str = "apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDR: 10.244.1.0/24}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node1}
status: {podIP: 10.244.1.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}, {port: 443}]}]}
";

struct World {
    namespace: TestNs,
    applier: PolicyApplier,
    desired: BTreeMap<PolicyKey, PolicyValue>,
}

fn world() -> World {
    let mut index = Index::new("node1");
    for object in manifests::read(CLUSTER) {
        index.apply(Event::Upsert(object));
    }
    let keys = PolicyPlane.keys(&index);
    let values = keys.into_iter().filter_map(|key| Some((key.clone(), PolicyPlane.desired(&index, &key)?)));
    let mut world =
        World { namespace: TestNs::new("verify"), applier: PolicyApplier::new(), desired: values.collect() };
    world.apply();
    world
}

impl World {
    fn apply(&mut self) {
        let (applier, desired) = (&mut self.applier, &self.desired);
        let report = self.namespace.run_in(|| applier.apply(desired, &Scope::Everything));
        assert_eq!(report.problems, []);
    }

    fn look(&self) -> Vec<Difference> {
        let wanted = self.applier.wanted().unwrap();
        let observed =
            self.namespace.run_in(|| Ruleset::observe(&mut Nft::open().unwrap(), "policy-").unwrap());
        differences(&observed, &wanted)
    }

    /// The name of a thing that begins so.
    fn named(&self, begin: &str) -> String {
        let wanted = self.applier.wanted().unwrap();
        let mut names = wanted.chains.keys().chain(wanted.sets.keys());
        names.find(|name| name.starts_with(begin)).unwrap().clone()
    }
}

#[test]
fn an_untouched_kernel_is_equal() {
    assert_eq!(world().look(), []);
}

#[test]
fn every_kind_of_damage_is_named_and_gone_after_the_repair() {
    let mut world = world();
    let (numbers, chain) = (world.named("policy-numbers-"), world.named("policy-i-"));
    let cases = [
        ("flush chain inet routerd policy-forward", Fault::Missing, "rule", "policy-forward", "rule 1: "),
        ("add rule inet routerd policy-ingress drop", Fault::Extra, "rule", "policy-ingress", "drop"),
        (
            "delete element inet routerd policy-ingress4 { 10.244.1.2 }",
            Fault::Missing,
            "element",
            "policy-ingress4",
            "10.244.1.2 : goto",
        ),
        (
            "add element inet routerd policy-egress4 { 10.9.9.9 : accept }",
            Fault::Extra,
            "element",
            "policy-egress4",
            "10.9.9.9 : accept",
        ),
        (
            "delete element inet routerd policy-egress4 { 10.244.1.2 }; add element inet routerd policy-egress4 { 10.244.1.2 : drop }",
            Fault::Different,
            "element",
            "policy-egress4",
            "is 10.244.1.2 : drop, should be 10.244.1.2 : ",
        ),
        ("add chain inet routerd policy-foreign", Fault::Extra, "chain", "policy-foreign", "with 0 rules"),
        ("delete table inet routerd", Fault::Missing, "chain", "policy-output", "rules"),
        (
            &format!("flush chain inet routerd {chain}; delete set inet routerd {numbers}"),
            Fault::Missing,
            "set",
            &*numbers,
            "with 2 elements",
        ),
    ];
    for (damage, fault, kind, of, what) in cases {
        world.namespace.run("nft", &[damage]);
        let found = world.look();
        let is_it = |one: &&Difference| {
            one.fault == fault && one.kind == kind && one.of == of && one.what.contains(what)
        };
        assert!(found.iter().any(|one| is_it(&one)), "{damage}: {found:#?}");
        world.apply();
        assert_eq!(world.look(), [], "{damage}");
    }
}

#[test]
fn the_outcome_counts_and_shows_the_first_differences() {
    let world = world();
    let wanted = world.applier.wanted().unwrap();
    let many: BTreeSet<Difference> = (0..600)
        .map(|number| Difference {
            fault: Fault::Extra,
            kind: "element".into(),
            of: "policy-ingress4".into(),
            what: format!("10.0.0.{number}"),
        })
        .collect();
    let outcome = Comparison::new(&wanted, many.into_iter().collect(), false);
    let text = render(&outcome);
    assert!(!outcome.equal && text.starts_with("different: 600 differences"), "{text}");
    assert!(
        text.contains("  extra     element of policy-ingress4: 10.0.0.0\n") && text.contains("and 100 more")
    );
    assert!(render(&Comparison::new(&wanted, Vec::new(), false)).starts_with("equal: "));
}
