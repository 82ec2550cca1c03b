//! What large clusters cost: figures to read, no test. Run in a release build, as
//! `cargo test --release -p routerd --lib policy::tests::scale -- --ignored --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use nix::time::{ClockId, clock_gettime};

use super::fixture::{NODE, elsewhere, pod, policy};
use crate::cluster::objects::{Namespace, Node, Pod};
use crate::cluster::{Change, Event, Index, Kind, Object, ObjectKey};
use crate::policy::{PolicyApplier, PolicyKey, PolicyPlane, PolicyValue};
use crate::runner::{Apply, Plane, Scope};

/// A cluster of a size.
struct Case {
    pods: usize,
    local: usize,
    namespaces: usize,
    policies: usize,
    /// The spec of a policy by its number.
    spec: fn(usize) -> String,
}

/// Every application has so many pods.
const REPLICAS: usize = 5;

fn app(number: usize) -> usize {
    number / REPLICAS
}

impl Case {
    fn pod(&self, number: usize, extra: &str) -> Pod {
        let (space, app) = (app(number) % self.namespaces, app(number));
        let name = format!("ns{space}/pod-{number}");
        let labels =
            format!("app=app-{app},pod-template-hash=abcdef{app},release=r{app},tier=t{}{extra}", app % 10);
        let (high, low) = (number / 250, number % 250 + 2);
        let one = pod(&name, &labels, &format!("10.{}.{}.{low}", 1 + high / 250, high % 250));
        // The local ones are spread over the applications.
        if number.is_multiple_of(self.pods / self.local) { one } else { elsewhere(one) }
    }

    fn objects(&self) -> BTreeMap<Kind, Vec<Object>> {
        let networks = vec!["10.1.0.0/24".parse().unwrap()];
        let node = Node { name: NODE.into(), pod_cidrs: networks, ..Node::default() };
        let namespace = |number| Namespace {
            name: format!("ns{number}"),
            labels: [("n".to_owned(), format!("{number}"))].into(),
        };
        let policies = (0..self.policies)
            .map(|number| policy(&format!("ns{}/p{number}", number % self.namespaces), &(self.spec)(number)));
        BTreeMap::from([
            (Kind::Node, vec![Object::Node(node)]),
            (
                Kind::Namespace,
                (0..self.namespaces).map(|number| Object::Namespace(namespace(number))).collect(),
            ),
            (Kind::Pod, (0..self.pods).map(|number| Object::Pod(self.pod(number, ""))).collect()),
            (Kind::NetworkPolicy, policies.collect()),
        ])
    }
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096 / 1_000_000
}

struct Run {
    index: Index,
    desired: BTreeMap<PolicyKey, PolicyValue>,
    applier: PolicyApplier,
}

impl Run {
    fn change(&mut self, what: &str, events: Vec<Event>) {
        let (begun, spent) = (Instant::now(), cpu());
        let changes: Vec<Change> = events.into_iter().filter_map(|event| self.index.apply(event)).collect();
        let touched: BTreeSet<PolicyKey> =
            changes.iter().flat_map(|change| PolicyPlane.touched(&self.index, change)).collect();
        let mut changed = BTreeSet::new();
        for key in &touched {
            let value = PolicyPlane.desired(&self.index, key);
            if self.desired.get(key) != value.as_ref() {
                changed.insert(key.clone());
            }
            match value {
                Some(value) => self.desired.insert(key.clone(), value),
                None => self.desired.remove(key),
            };
        }
        let pure = (begun.elapsed(), cpu().checked_sub(spent).unwrap());
        let count = changed.len();
        let report = (count > 0).then(|| self.applier.apply(&self.desired, &Scope::Keys(changed)));
        assert!(report.iter().all(|report| report.problems.is_empty()), "{report:?}");
        println!(
            "  {what}: {:.2?} ({:.2?} CPU); pure {:.2?}, {} keys touched, {count} changed, {} writes",
            begun.elapsed(),
            cpu().checked_sub(spent).unwrap(),
            pure.1,
            touched.len(),
            report.map_or(0, |report| report.writes),
        );
    }
}

fn run(name: &str, case: &Case) {
    let before = resident();
    let objects = case.objects();
    let made = resident();
    let mut run = Run { index: Index::new(NODE), desired: BTreeMap::new(), applier: PolicyApplier::new() };
    println!("{name}: {} pods, {} local, {} policies", case.pods, case.local, case.policies);
    let (begun, spent) = (Instant::now(), cpu());
    for (kind, objects) in objects {
        run.index.replace(kind, objects);
    }
    let indexed = begun.elapsed();
    let keys = PolicyPlane.keys(&run.index);
    let value = |key: PolicyKey| PolicyPlane.desired(&run.index, &key).map(|value| (key, value));
    run.desired = keys.into_iter().filter_map(value).collect();
    let computed = begun.elapsed();
    let report = run.applier.apply(&run.desired, &Scope::Everything);
    assert_eq!(report.problems, []);
    println!(
        "  cold: {:.2?} ({:.2?} CPU); index {indexed:.2?}, desired {:.2?}, kernel {:.2?}; {} keys, {} writes; \
         resident {} MB (begun with {before}, objects {})",
        begun.elapsed(),
        cpu().checked_sub(spent).unwrap(),
        computed.checked_sub(indexed).unwrap(),
        begun.elapsed().checked_sub(computed).unwrap(),
        run.desired.len(),
        report.writes,
        resident(),
        made - before,
    );
    let of = |number: usize, extra: &str| vec![Event::Upsert(Object::Pod(case.pod(number, extra)))];
    let remote = 7;
    for round in 0..2 {
        run.change("label of a remote pod", of(remote, &format!(",x=y{round}")));
        run.change("label of a local pod", of(0, &format!(",x=y{round}")));
        let mut moved = case.pod(remote, "");
        moved.labels.insert("app".into(), format!("app-{}", 3 + round));
        run.change("application of a remote pod", vec![Event::Upsert(Object::Pod(moved))]);
        let mut moved = case.pod(0, "");
        moved.labels.insert("app".into(), format!("app-{}", 3 + round));
        run.change("application of a local pod", vec![Event::Upsert(Object::Pod(moved))]);
        run.change("the same again", of(remote, ""));
        run.change("nothing", of(remote, ""));
        let new = || case.pod(case.pods + round, "");
        run.change("a new pod", vec![Event::Upsert(Object::Pod(new()))]);
        run.change("it is gone", vec![Event::Delete(ObjectKey::Pod(new().name))]);
        run.change(
            "a new policy",
            vec![Event::Upsert(policy("ns0/new", &(case.spec)(case.policies + round)))],
        );
        run.change(
            "it is gone",
            vec![Event::Delete(ObjectKey::NetworkPolicy(super::fixture::name("ns0/new")))],
        );
    }
    let begun = Instant::now();
    let report = run.applier.apply(&run.desired, &Scope::Everything);
    println!("  a look at everything: {:.2?}, {} writes", begun.elapsed(), report.writes);
}

fn from_app(subject: &str, number: usize) -> String {
    format!(
        "podSelector: {subject}\ningress: [{{from: [{{podSelector: {{matchLabels: {{app: app-{number}}}}}}}], ports: [{{port: {}}}]}}]",
        1000 + number % 3
    )
}

/// What `cargo lab bench policy` has: three applications, namespaces by label, a port of its own; and egress to a block.
fn several_peers(number: usize) -> String {
    let peer = |k: usize| format!("{{podSelector: {{matchLabels: {{app: app-{}}}}}}}", (number * 7 + k) % 50);
    let (port, team) = (1000 + number % 50_000, number % 10);
    format!(
        "podSelector: {{}}\npolicyTypes: [Ingress, Egress]\ningress: [{{from: [{}, {}, {}, {{namespaceSelector: {{matchLabels: {{n: '{team}'}}}}}}], \
         ports: [{{port: {port}}}]}}]\negress: [{{to: [{{ipBlock: {{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}}}], ports: [{{port: 53}}, {{protocol: UDP, port: 53}}]}}]",
        peer(0),
        peer(1),
        peer(2)
    )
}

#[test]
#[ignore = "figures of a release build"]
fn figures() {
    let namespace = TestNs::new("scale");
    namespace.run_in(|| {
        let own = |number: usize| from_app(&format!("{{matchLabels: {{app: app-{number}}}}}"), number + 1);
        let small = Case { pods: 1000, local: 100, namespaces: 1, policies: 200, spec: own };
        run("small", &small);
        let large = Case { pods: 10_000, local: 100, namespaces: 1, policies: 2000, spec: own };
        run("large", &large);
        let whole = |number: usize| {
            let rule = "ingress: [{from: [{podSelector: {}}], ports: [{port: http}]}]";
            format!("podSelector: {{matchLabels: {{app: app-{number}}}}}\n{rule}")
        };
        run("whole", &Case { pods: 10_000, local: 100, namespaces: 1, policies: 2000, spec: whole });
        let all = |number: usize| from_app("{}", number);
        run("all", &Case { pods: 10_000, local: 100, namespaces: 1, policies: 10_000, spec: all });
        run(
            "crowd",
            &Case { pods: 10_000, local: 100, namespaces: 1, policies: 10_000, spec: several_peers },
        );
    });
}
