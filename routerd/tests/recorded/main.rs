//! What a real control plane said, said again: the watches of Kubernetes 1.36 (API server and controllers) while nodes
//! joined, got pod ranges, annotations and other addresses, were silent, cordoned and deleted, and while pods, Services, their
//! slices and a policy came, changed and went (`kubernetes/scenario.sh`). Each line of `kubernetes/KIND.jsonl` is one event as it came
//! over the wire.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod facts;

use std::collections::BTreeMap;

use facts::Facts;
use proptest::prelude::*;
use routerd::advertise::Advertise;
use routerd::cluster::wire::{Wire, WireNamespace, WireNode, WirePod, WirePolicy, WireService, WireSlice};
use routerd::cluster::{Event, Index, Object};
use routerd::config::{Config, Environment, Invocation, parse};
use routerd::policy::PolicyPlane;
use routerd::routing::Routing;
use routerd::runner::Plane;
use routerd::services::desired::Services;
use routerd::services::dsr::Dsr;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An event with the API server's revision, which orders those of all kinds.
type Said = (u64, Event);

/// One watch.
fn watch<T: Wire + DeserializeOwned>(text: &str) -> Vec<Said> {
    let said = |line: &str| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        let object = event["object"].take();
        let revision = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        let converted = serde_json::from_value::<T>(object).unwrap().convert();
        assert_eq!(converted.problems, [], "{line}");
        let object: Object = converted.object.unwrap();
        let event = match event["type"].as_str().unwrap() {
            "ADDED" | "MODIFIED" => Event::Upsert(object),
            "DELETED" => Event::Delete(object.key()),
            other => panic!("{other}"),
        };
        (revision, event)
    };
    // Bookmarks have no more than a revision.
    text.lines().filter(|line| !line.contains(r#""type":"BOOKMARK""#)).map(said).collect()
}

/// All watches.
fn watches() -> [Vec<Said>; 6] {
    [
        watch::<WireNode>(include_str!("kubernetes/nodes.jsonl")),
        watch::<WireNamespace>(include_str!("kubernetes/namespaces.jsonl")),
        watch::<WirePod>(include_str!("kubernetes/pods.jsonl")),
        watch::<WireService>(include_str!("kubernetes/services.jsonl")),
        watch::<WireSlice>(include_str!("kubernetes/endpointslices.jsonl")),
        watch::<WirePolicy>(include_str!("kubernetes/networkpolicies.jsonl")),
    ]
}

/// As it happened.
fn in_order() -> Vec<Event> {
    let mut all: Vec<Said> = watches().into_iter().flatten().collect();
    all.sort_by_key(|(revision, _)| *revision);
    all.into_iter().map(|(_, event)| event).collect()
}

/// The settings of a daemon with these flags.
fn config() -> Config {
    let flags = "--enable-ipv6 --advertise-external-ip --advertise-loadbalancer-ip --strict-external-ip-validation=false";
    let Ok(Invocation::Run(values)) = parse(["routerd"].into_iter().chain(flags.split(' '))) else {
        panic!("{flags}")
    };
    let environment = Environment { node_name: Some("a".to_owned()), ..Environment::default() };
    Config::new(&values, &environment).unwrap()
}

/// A plane and what is kept of it, key by key.
struct Kept<P: Plane> {
    plane: P,
    values: BTreeMap<P::Key, P::Value>,
}

impl<P: Plane> Kept<P> {
    fn new(plane: P) -> Self {
        let values = all(&plane, &Index::new("a"));
        Self { plane, values }
    }

    fn take(&mut self, index: &Index, change: &routerd::cluster::Change) {
        for key in self.plane.touched(index, change) {
            match self.plane.desired(index, &key) {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
        }
        assert_eq!(self.values, all(&self.plane, index), "{} after {change:?}", P::NAME);
    }
}

/// A look at everything.
fn all<P: Plane>(plane: &P, index: &Index) -> BTreeMap<P::Key, P::Value> {
    let value = |key: P::Key| Some((key.clone(), plane.desired(index, &key)?));
    plane.keys(index).into_iter().filter_map(value).collect()
}

/// The planes of node `a`.
struct Node {
    index: Index,
    routing: Kept<Routing>,
    advertise: Kept<Advertise>,
    services: Kept<Services>,
    direct: Kept<Dsr>,
    policy: Kept<PolicyPlane>,
}

impl Node {
    fn new() -> Self {
        let config = config();
        let settings = routerd::services::Settings { any_external_address: true, ..Default::default() };
        let families = config.families();
        let advertise = Advertise {
            families: families.clone(),
            bgp: config.bgp,
            services: Services::new(settings.clone()),
            direct: Dsr::new(settings.clone()),
            programmed_by: None,
        };
        Self {
            index: Index::new("a"),
            routing: Kept::new(Routing { families, egress: true }),
            advertise: Kept::new(advertise),
            services: Kept::new(Services::new(settings.clone())),
            direct: Kept::new(Dsr::new(settings)),
            policy: Kept::new(PolicyPlane),
        }
    }

    /// Takes one event in; whether it changed anything.
    fn take(&mut self, event: Event) -> bool {
        let Some(change) = self.index.apply(event) else { return false };
        self.routing.take(&self.index, &change);
        self.advertise.take(&self.index, &change);
        self.services.take(&self.index, &change);
        self.direct.take(&self.index, &change);
        self.policy.take(&self.index, &change);
        true
    }

    /// What all of them want.
    fn wants(&self) -> String {
        format!(
            "{:#?}{:#?}{:#?}{:#?}{:#?}",
            self.routing.values,
            self.advertise.values,
            self.services.values,
            self.direct.values,
            self.policy.values
        )
    }
}

#[test]
fn each_step_of_a_real_control_plane_leads_to_what_a_look_at_everything_gives() {
    let (mut node, mut facts) = (Node::new(), Facts::default());
    for event in in_order() {
        node.take(event.clone());
        facts.look(&node);
        assert!(!node.take(event), "what is told twice changes nothing");
    }
    facts.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Each watch is a connection of its own, and one may be far behind the others.
    #[test]
    fn in_whichever_order_the_watches_come_they_end_alike(turns in proptest::collection::vec(0..6_usize, 300)) {
        let mut straight = Node::new();
        for event in in_order() {
            straight.take(event);
        }
        let mut node = Node::new();
        let mut watches = watches().map(Vec::into_iter);
        for turn in turns {
            if let Some((_, event)) = watches[turn].next() {
                node.take(event);
            }
        }
        for (_, event) in watches.into_iter().flatten() {
            node.take(event);
        }
        prop_assert_eq!(node.wants(), straight.wants());
    }
}
