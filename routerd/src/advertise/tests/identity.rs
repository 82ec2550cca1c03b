//! A node that for a moment does not know who it is, or that becomes another one.

use super::*;

const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const ROUTES: [(&str, &str); 1] = [("10.2.0.0/24", "192.0.2.2")];

const HOLD: Duration = Duration::from_secs(3);

/// A node of the AS that its annotation names.
fn of_as(name: &str, asn: &str) -> Event {
    let number = if name == "a" { 1 } else { 2 };
    Event::Upsert(Object::Node(Node {
        name: name.into(),
        pod_cidrs: vec![format!("10.{number}.0.0/24").parse().unwrap()],
        internal_addresses: vec![ADDRESSES[number - 1].parse().unwrap()],
        annotations: [("kube-router.io/node.asn".to_owned(), asn.to_owned())].into(),
        ..Node::default()
    }))
}

/// Two nodes whose ASes their annotations name, and what the first one sees.
struct Pair {
    one: Advertising,
    two: Advertising,
    index: Index,
    second: Index,
}

impl Pair {
    fn start(runtime: &tokio::runtime::Runtime, hold_time: Duration) -> Self {
        let bgp = || BgpConfig { full_mesh: false, hold_time, ..bgp() };
        let made = || {
            start(bgp(), vec![Family::V4], Served::default(), runtime.handle(), Settings::default()).unwrap()
        };
        let nodes = || [of_as("a", "64512"), of_as("b", "64512")];
        let (index, second) = (index("a", nodes()), index("b", nodes()));
        let mut pair = Self { one: made(), two: made(), index, second };
        pair.one.plane.subscriber.start(&pair.index);
        pair.two.plane.subscriber.start(&pair.second);
        pair
    }

    /// Something happens to the objects that the first node sees.
    fn happens(&mut self, event: Event) {
        let change = self.index.apply(event).unwrap();
        self.one.plane.subscriber.changed(&self.index, &[change], Vec::new());
    }

    /// The same at the second node.
    fn happens_there(&mut self, event: Event) {
        let change = self.second.apply(event).unwrap();
        self.two.plane.subscriber.changed(&self.second, &[change], Vec::new());
    }

    async fn problems(&mut self, done: impl Fn(&[crate::runner::Problem]) -> bool) {
        let told = self.one.plane.status.wait_for(|status| done(&status.problems));
        tokio::time::timeout(Duration::from_mins(1), told).await.expect("what is told of it").unwrap();
    }

    /// How often the session came up, at either end.
    async fn came_up(&self) -> Vec<u64> {
        let mut times = Vec::new();
        for link in [&self.one.link, &self.two.link] {
            let status = link.speaker().unwrap().status().await.unwrap();
            times.extend(status.peers.iter().map(|peer| peer.established));
        }
        times
    }

    async fn end(self) {
        self.one.link.stop().await;
        self.two.link.stop().await;
    }
}

/// Runs a test in a namespace with the addresses of both nodes.
fn with_pair(hold_time: Duration, test: impl AsyncFnOnce(Pair) + Send) {
    let ns = TestNs::new("identity");
    for address in ADDRESSES {
        ns.run("ip", &["address", "add", &format!("{address}/32"), "dev", "lo"]);
    }
    ns.run_in(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let pair = Pair::start(&runtime, hold_time);
        runtime.block_on(test(pair));
    });
}

#[test]
fn a_wrong_annotation_of_its_own_is_told_and_touches_no_session_and_no_route() {
    with_pair(HOLD, async |mut pair| {
        Learnt(&mut pair.one, BTreeMap::new()).wait_for(&ROUTES).await;
        pair.happens(of_as("a", "64512x"));
        pair.problems(|problems| {
            let of = |item: &str| problems.iter().any(|problem| problem.item == item);
            of("BGP speaker") && of("Node a") && !of("advertise")
        })
        .await;
        pair.happens(of_as("a", "64512"));
        pair.problems(|problems| !problems.iter().any(|problem| problem.item == "BGP speaker")).await;
        assert_eq!(pair.came_up().await, [1, 1]);
        assert!(pair.one.routes.try_recv().is_err(), "nothing else was learnt or lost");
        pair.end().await;
    });
}

#[test]
fn a_node_whose_object_is_made_anew_keeps_its_sessions_and_one_whose_object_stays_away_ends_them() {
    with_pair(HOLD, async |mut pair| {
        let gone = || Event::Delete(ObjectKey::Node("a".into()));
        let missed = |problems: &[crate::runner::Problem]| {
            problems.iter().any(|problem| problem.message.contains("--hostname-override"))
        };
        Learnt(&mut pair.one, BTreeMap::new()).wait_for(&ROUTES).await;
        pair.happens(gone());
        pair.problems(missed).await;
        pair.happens(of_as("a", "64512"));
        pair.problems(|problems| !missed(problems)).await;
        assert_eq!(pair.came_up().await, [1, 1]);
        assert!(pair.one.routes.try_recv().is_err(), "nothing else was learnt or lost");
        pair.happens(gone());
        let kept = ROUTES.map(|(prefix, hop)| (prefix.parse().unwrap(), vec![hop.parse().unwrap()]));
        Learnt(&mut pair.one, kept.into()).wait_for(&[]).await;
        Learnt(&mut pair.two, BTreeMap::from([("10.1.0.0/24".parse().unwrap(), Vec::new())]))
            .wait_for(&[])
            .await;
        assert!(pair.one.link.speaker().is_none());
        pair.end().await;
    });
}

#[test]
fn a_node_that_becomes_another_speaker_keeps_what_it_had_learnt_until_it_learns_it_again() {
    with_pair(20 * HOLD, async |mut pair| {
        Learnt(&mut pair.one, BTreeMap::new()).wait_for(&ROUTES).await;
        pair.happens(of_as("a", "64513"));
        let mut shown = pair.one.status.clone();
        let other = shown.wait_for(|status| status["asn"] == 64513);
        tokio::time::timeout(Duration::from_mins(1), other).await.expect("the other speaker").unwrap();
        // The rest of the AS moves, too.
        pair.happens(of_as("b", "64513"));
        for name in ["a", "b"] {
            pair.happens_there(of_as(name, "64513"));
        }
        let batch = tokio::time::timeout(Duration::from_mins(1), pair.one.routes.recv()).await;
        let batch = batch.expect("it is learnt again").unwrap();
        assert!(batch.iter().all(|route| !route.next_hops.is_empty()), "it was lost before: {batch:?}");
        pair.end().await;
    });
}
