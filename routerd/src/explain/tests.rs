//! Questions about a small cluster, answered from the plane's own values.

mod dialled;
mod seen;

use std::collections::BTreeSet;

use super::answer::{Answer, Judgement, Outcome};
use super::ends::Resolver;
use super::judge::Values;
use super::others::{Here, Others, Snapshot};
use super::question::Question;
use super::seen::Masquerade;
use super::ways::Judges;
use crate::cluster::manifests;
use crate::cluster::objects::{Attachment, ObjectName};
use crate::cluster::{Event, Index};
use crate::policy::{PolicyKey, PolicyPlane, PolicyValue};
use crate::runner::Plane as _;

const CLUSTER: &str = include_str!("tests/cluster.yaml");

/// What the plane of this node would hold, with some keys refused by the kernel.
struct Ours<'a>(&'a Index, &'a [PolicyKey]);

impl Values for Ours<'_> {
    fn value(&self, key: &PolicyKey) -> Option<PolicyValue> {
        PolicyPlane.desired(self.0, key)
    }

    fn refused(&self, key: &PolicyKey) -> Option<String> {
        self.1.contains(key).then(|| "no space".to_owned())
    }
}

struct World {
    index: Index,
    refused: Vec<PolicyKey>,
    masquerade: Option<Masquerade>,
}

fn world() -> World {
    world_of(Index::new("node1"))
}

fn world_of(index: Index) -> World {
    let mut world = World { index, refused: Vec::new(), masquerade: Some(Masquerade::default()) };
    world.take(CLUSTER);
    world
}

impl World {
    fn take(&mut self, manifests: &str) {
        for object in manifests::read(manifests) {
            self.index.apply(Event::Upsert(object));
        }
    }

    fn attach(&mut self, pod: &str, address: &str) {
        let (namespace, name) = pod.split_once('/').unwrap();
        self.index.apply(Event::Attach(Attachment {
            container: format!("container-of-{name}"),
            interface: "eth0".into(),
            pod: ObjectName::new(namespace, name),
            uid: None,
            netns: String::new(),
            host_device: String::new(),
            addresses: vec![address.parse().unwrap()],
        }));
    }

    fn ask(&self, from: &str, to: &str, port: u16) -> Result<Answer, String> {
        let question = Question::parse(from, to, &port.to_string(), "tcp").unwrap();
        let local = BTreeSet::from(["10.244.1.1".parse().unwrap()]);
        let found = Resolver::new(&self.index, &local, self.masquerade).ways(&question)?;
        let others = Others::new(PolicyPlane, &Snapshot::take(&self.index));
        let alone = Others::one_by_one(PolicyPlane, &Snapshot::take(&self.index));
        let ours = Here { held: &Ours(&self.index, &self.refused), alone: Some(alone) };
        let judges = Judges { here: "node1", ours: &ours, others: &others };
        let ways: Vec<_> = found.ways.iter().map(|way| judges.verdict(way, question.protocol)).collect();
        let admitted = !ways.is_empty() && ways.iter().all(|way| way.admitted);
        Ok(Answer { question, node: "node1".into(), admitted, ways, notes: found.notes })
    }

    /// The one way's egress and ingress.
    fn directions(&self, from: &str, to: &str, port: u16) -> (Judgement, Judgement) {
        let answer = self.ask(from, to, port).unwrap();
        assert_eq!(answer.ways.len(), 1, "{answer:?}");
        (answer.ways[0].egress.clone(), answer.ways[0].ingress.clone())
    }
}

#[test]
fn the_rule_that_admits_is_named_by_policy_and_number() {
    let (egress, ingress) = world().directions("default/friend", "default/web", 80);
    assert_eq!((egress.outcome, egress.isolated_by.len()), (Outcome::Admitted, 0));
    assert_eq!(ingress.outcome, Outcome::Admitted);
    let rule = &ingress.admitted_by[0];
    assert_eq!((rule.policy.as_str(), rule.rule), ("default/web", 2));
    assert!(rule.admits.contains("app=friend") && rule.admits.contains("TCP 80"), "{rule:?}");
    assert!(ingress.here && ingress.node.as_deref() == Some("node1"));
}

#[test]
fn what_nothing_admits_names_who_isolates_and_the_closest_rule_first() {
    let (_, ingress) = world().directions("default/friend", "default/web", 81);
    assert_eq!(
        (ingress.outcome, ingress.isolated_by.as_slice()),
        (Outcome::Refused, &["default/web".to_owned()][..])
    );
    let first = &ingress.closest[0];
    assert_eq!((first.rule.rule, first.peer, first.port), (2, true, false));
    assert!(first.lacks.contains("the peer is right, but TCP 81"), "{first:?}");
    let (_, ingress) = world().directions("default/stranger", "default/web", 80);
    let closest = ingress.closest.iter().find(|miss| miss.rule.rule == 2).unwrap();
    assert!(
        !closest.peer && closest.port && closest.lacks.contains("10.244.1.4 is not among"),
        "{closest:?}"
    );
}

#[test]
fn a_block_admits_all_but_its_exceptions_and_a_named_port_is_the_pods_own() {
    let world = world();
    for (from, port, outcome) in [
        ("192.0.2.200", 9000, Outcome::Admitted),
        ("192.0.2.65", 9000, Outcome::Refused),
        ("192.0.2.200", 9001, Outcome::Refused),
    ] {
        assert_eq!(world.directions(from, "default/web", port).1.outcome, outcome, "{from} {port}");
    }
}

#[test]
fn egress_is_the_senders_nodes_and_ingress_the_receivers() {
    let (egress, ingress) = world().directions("default/friend", "default/far", 80);
    assert!(egress.here && !ingress.here);
    assert_eq!((ingress.node.as_deref(), ingress.outcome), (Some("node2"), Outcome::Refused));
    assert_eq!(ingress.isolated_by, ["default/far"]);
    let (egress, ingress) = world().directions("default/far", "default/web", 80);
    assert_eq!(
        (egress.node.as_deref(), egress.outcome, egress.here),
        (Some("node2"), Outcome::Admitted, false)
    );
    assert!(ingress.here && ingress.outcome == Outcome::Refused);
    let text = super::render(&world().ask("default/friend", "default/far", 80).unwrap());
    assert!(
        text.contains("ingress refused on node2, not here") && text.contains("`routerd explain` on node2"),
        "{text}"
    );
}

#[test]
fn a_service_is_every_backend_at_its_real_port_by_name_by_address_and_by_node_port() {
    let world = world();
    for to in ["svc/default/web", "10.96.0.10"] {
        let answer = world.ask("default/friend", to, 8080).unwrap();
        let seen: Vec<_> =
            answer.ways.iter().map(|way| (way.destination.to_string(), way.port, way.admitted)).collect();
        assert_eq!(seen, [("10.244.1.2".to_owned(), 80, true), ("10.244.2.2".to_owned(), 80, false)], "{to}");
        assert!(!answer.admitted, "one backend refuses");
        assert!(answer.ways[0].via.as_ref().unwrap().contains("Service default/web"));
    }
    assert_eq!(world.ask("default/friend", "192.0.2.2", 30080).unwrap().ways.len(), 2);
    let error = world.ask("default/friend", "svc/default/web", 9).unwrap_err();
    assert!(error.contains("has no port TCP 9; it has TCP 8080"), "{error}");
    let empty = world.ask("default/friend", "svc/default/empty", 80).unwrap();
    assert!(!empty.admitted && empty.notes[0].contains("no endpoint"), "{empty:?}");
}

#[test]
fn the_node_itself_reaches_its_pods_and_another_node_is_an_address() {
    let world = world();
    for node in ["192.0.2.1", "10.244.1.1", "default/host"] {
        let (egress, ingress) = world.directions(node, "default/closed", 80);
        assert_eq!((egress.outcome, ingress.outcome), (Outcome::Admitted, Outcome::Admitted), "{node}");
        assert!(ingress.why.contains("own pods"), "{ingress:?}");
    }
    let (egress, ingress) = world.directions("192.0.2.2", "default/closed", 80);
    assert_eq!((egress.outcome, ingress.outcome), (Outcome::NotJudged, Outcome::Refused));
    let (egress, ingress) = world.directions("default/closed", "192.0.2.1", 80);
    assert_eq!((egress.outcome, ingress.outcome), (Outcome::Refused, Outcome::NotJudged));
    let (_, ingress) = world.directions("default/friend", "default/host", 80);
    assert!(ingress.outcome == Outcome::NotJudged && ingress.why.contains("host network"));
    let (egress, _) = world.directions("default/closed", "default/closed", 80);
    assert_eq!(egress.outcome, Outcome::Admitted, "a pod reaches itself");
}

#[test]
fn addresses_that_nobody_has_or_that_are_closed_are_told() {
    let mut world = world();
    let (egress, ingress) = world.directions("default/friend", "10.244.1.99", 80);
    assert_eq!((egress.outcome, ingress.outcome), (Outcome::Admitted, Outcome::Refused));
    assert!(ingress.why.contains("no verdict"), "{ingress:?}");
    world.attach("default/ghost", "10.244.1.50");
    let (egress, _) = world.directions("default/ghost", "default/friend", 80);
    assert!(egress.outcome == Outcome::Refused && egress.why.contains("does not know"), "{egress:?}");
    let (_, ingress) = world.directions("default/friend", "8.8.8.8", 53);
    assert!(ingress.outcome == Outcome::NotJudged && ingress.node.is_none());
}

#[test]
fn what_is_not_known_is_an_error_that_says_what() {
    let world = world();
    for (from, to, said) in [
        ("nowhere/a", "default/web", "no namespace nowhere"),
        ("default/fri", "default/web", "no pod default/fri is known; there is default/friend"),
        ("default/done", "default/web", "has finished"),
        ("default/new", "default/web", "has no address yet"),
        ("default/web", "svc/default/none", "no Service default/none"),
    ] {
        let error = world.ask(from, to, 80).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_policy_that_is_invalid_or_refused_by_the_kernel_is_told_so() {
    let mut world = world();
    let (_, ingress) = world.directions("default/friend", "default/bad", 80);
    let miss = &ingress.closest[0];
    assert!(
        miss.rule.rule == 0 && miss.lacks.contains("invalid") && miss.lacks.contains("nonsense"),
        "{miss:?}"
    );
    world.refused.push(PolicyKey::Policy(ObjectName::new("default", "web")));
    let (_, ingress) = world.directions("default/friend", "default/web", 80);
    assert_eq!(ingress.outcome, Outcome::Refused);
    assert!(ingress.closest[0].lacks.contains("the kernel refused the policy"), "{ingress:?}");
    let text = super::render(&world.ask("default/friend", "default/web", 80).unwrap());
    assert!(
        text.starts_with("refused: default/friend to default/web") && text.contains("no space"),
        "{text}"
    );
}

#[test]
fn policies_that_are_taken_together_are_named_one_by_one() {
    let (world, crowded) = (world(), world_of(Index::new("node1").with_crowds_above(0)));
    let (_, alone) = world.directions("default/friend", "default/web", 80);
    let (_, together) = crowded.directions("default/friend", "default/web", 80);
    assert!(together.isolated_by[0].starts_with("the many policies"), "{together:?}");
    assert_eq!((&together.admitted_by, together.outcome), (&alone.admitted_by, Outcome::Admitted));
    let (_, alone) = world.directions("default/friend", "default/web", 81);
    let (_, together) = crowded.directions("default/friend", "default/web", 81);
    assert_eq!((together.outcome, &together.closest[0]), (Outcome::Refused, &alone.closest[0]));
}
