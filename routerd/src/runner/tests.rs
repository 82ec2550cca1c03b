//! The loop, with a fake kernel that remembers what it was asked.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::*;
use crate::cluster::objects::Namespace;
use crate::cluster::source::hold;
use crate::cluster::{Event, Object, ObjectKey};

/// Longer than anything takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_millis(150);

/// One value a namespace: how many labels it has.
struct Labels;

impl Plane for Labels {
    const NAME: &'static str = "labels";
    const EARLY: bool = true;
    type Key = String;
    type Value = usize;

    fn keys(&self, index: &Index) -> BTreeSet<String> {
        index.namespaces().keys().cloned().collect()
    }

    fn touched(&self, _: &Index, change: &Change) -> BTreeSet<String> {
        match change {
            Change::Namespace(delta) => delta.both().map(|namespace| namespace.name.clone()).collect(),
            _ => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, key: &String) -> Option<usize> {
        index.namespaces().get(key).map(|namespace| namespace.labels.len())
    }
}

type Seen = (BTreeMap<String, usize>, Scope<String>);

struct Fake {
    seen: Sender<Seen>,
    refuse: Option<&'static str>,
    refusals: u32,
    again: Option<Duration>,
    retry: bool,
}

impl Apply for Fake {
    type Key = String;
    type Value = usize;

    fn early(&mut self, desired: &BTreeMap<String, usize>) -> Report {
        self.seen.send((desired.clone(), Scope::Keys(desired.keys().cloned().collect()))).unwrap();
        Report { writes: 1, ..Report::default() }
    }

    fn apply(&mut self, desired: &BTreeMap<String, usize>, scope: &Scope<String>) -> Report {
        self.seen.send((desired.clone(), scope.clone())).unwrap();
        let mut report = Report { writes: 1, again: self.again.take(), ..Report::default() };
        if let Some(item) = self.refuse.filter(|_| self.refusals > 0) {
            self.refusals -= 1;
            report.problems.push(Problem { item: item.into(), message: "refused".into(), retry: self.retry });
        }
        report
    }
}

fn settings() -> Settings {
    Settings {
        verify_every: Duration::from_hours(1),
        retry_first: Duration::from_millis(20),
        retry_most: Duration::from_millis(40),
        poke_delay: Duration::from_millis(20),
    }
}

fn start(refuse: Option<&'static str>, refusals: u32) -> (Spawned, Receiver<Seen>) {
    let (seen, receiver) = channel();
    (spawn(Labels, Fake { seen, refuse, refusals, again: None, retry: true }, settings()).unwrap(), receiver)
}

fn upsert(index: &mut Index, name: &str, labels: usize) -> Vec<Change> {
    let labels = (0..labels).map(|number| (number.to_string(), String::new())).collect();
    index
        .apply(Event::Upsert(Object::Namespace(Namespace { name: name.into(), labels })))
        .into_iter()
        .collect()
}

fn waiter(item: &str) -> (Waiter, oneshot::Receiver<Result<(), String>>) {
    let (reply, answer) = oneshot::channel();
    (Waiter { item: item.into(), reply }, answer)
}

/// A run is told of before its status is.
fn until(status: &watch::Receiver<Status>, wanted: impl Fn(&Status) -> bool) {
    let end = std::time::Instant::now() + SOON;
    while !wanted(&status.borrow()) {
        assert!(std::time::Instant::now() < end, "{:?}", *status.borrow());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nothing_is_applied_before_the_first_complete_view() {
    let (mut plane, seen) = start(None, 0);
    let mut index = Index::new("node");
    let changes = upsert(&mut index, "a", 1);
    plane.subscriber.changed(&index, &changes, Vec::new());
    assert!(seen.recv_timeout(QUIET).is_err());
    assert!(!plane.status.borrow().synced);
    plane.subscriber.start(&index);
    let (desired, scope) = seen.recv_timeout(SOON).unwrap();
    assert_eq!((desired.len(), scope), (1, Scope::Everything));
}

#[test]
fn what_is_early_is_added_but_the_plane_is_not_in_force_before_the_first_complete_view() {
    let (mut plane, seen) = start(None, 0);
    let mut index = Index::new("node");
    upsert(&mut index, "a", 1);
    let (held, release) = hold();
    plane.subscriber.early(&index, held);
    assert_eq!(seen.recv_timeout(SOON).unwrap().0, BTreeMap::from([("a".to_owned(), 1)]));
    let waiting = tokio::runtime::Builder::new_current_thread().build().unwrap();
    waiting.block_on(release.wait());
    // Nothing of it is taken for what is known.
    let mut index = Index::new("node");
    upsert(&mut index, "b", 1);
    assert!(!plane.status.borrow().synced);
    plane.subscriber.start(&index);
    let (desired, scope) = seen.recv_timeout(SOON).unwrap();
    assert_eq!((desired, scope), (BTreeMap::from([("b".to_owned(), 1)]), Scope::Everything));
    plane.subscriber.early(&index, hold().0);
    assert!(seen.recv_timeout(QUIET).is_err(), "it is too late");
}

#[test]
fn a_change_is_applied_for_its_keys_only_and_an_unchanged_value_not_at_all() {
    let (mut plane, seen) = start(None, 0);
    let mut index = Index::new("node");
    upsert(&mut index, "a", 1);
    upsert(&mut index, "b", 1);
    plane.subscriber.start(&index);
    seen.recv_timeout(SOON).unwrap();

    let changes = upsert(&mut index, "b", 2);
    plane.subscriber.changed(&index, &changes, Vec::new());
    let (desired, scope) = seen.recv_timeout(SOON).unwrap();
    assert_eq!(desired["b"], 2);
    assert_eq!(scope, Scope::Keys(BTreeSet::from(["b".to_owned()])));

    plane.subscriber.changed(&index, &changes, Vec::new());
    assert!(seen.recv_timeout(QUIET).is_err(), "the same value again must not be applied");
}

#[test]
fn a_deleted_object_leaves_the_desired_state() {
    let (mut plane, seen) = start(None, 0);
    let mut index = Index::new("node");
    upsert(&mut index, "a", 1);
    plane.subscriber.start(&index);
    seen.recv_timeout(SOON).unwrap();
    let change = index.apply(Event::Delete(ObjectKey::Namespace("a".into()))).unwrap();
    plane.subscriber.changed(&index, &[change], Vec::new());
    assert!(seen.recv_timeout(SOON).unwrap().0.is_empty());
}

#[test]
fn who_waits_is_answered_after_the_commit_also_if_nothing_was_touched() {
    let (mut plane, seen) = start(None, 0);
    let mut index = Index::new("node");
    plane.subscriber.start(&index);
    let changes = upsert(&mut index, "a", 1);
    let (first, answer) = waiter("Pod x/y");
    plane.subscriber.changed(&index, &changes, vec![first]);
    assert_eq!(answer.blocking_recv().unwrap(), Ok(()));
    assert!(seen.try_iter().any(|(desired, _)| desired.contains_key("a")));
    let (second, answer) = waiter("Pod x/y");
    plane.subscriber.changed(&index, &[], vec![second]);
    assert_eq!(answer.blocking_recv().unwrap(), Ok(()));
}

#[test]
fn who_waits_hears_of_a_problem_of_its_own_object_and_of_the_whole_plane_but_not_of_others() {
    for (item, expected) in [
        ("Pod x/y", Err("refused".to_owned())),
        ("labels", Err("refused".to_owned())),
        ("Pod x/other", Ok(())),
    ] {
        let (mut plane, _seen) = start(Some(item), u32::MAX);
        let mut index = Index::new("node");
        let changes = upsert(&mut index, "a", 1);
        plane.subscriber.start(&index);
        let (one, answer) = waiter("Pod x/y");
        plane.subscriber.changed(&index, &changes, vec![one]);
        assert_eq!(answer.blocking_recv().unwrap(), expected, "{item}");
    }
}

#[test]
fn what_failed_is_tried_again_until_it_succeeds_and_then_no_more() {
    let (mut plane, seen) = start(Some("Namespace a"), 2);
    let mut index = Index::new("node");
    upsert(&mut index, "a", 1);
    plane.subscriber.start(&index);
    for _ in 0..3 {
        assert_eq!(seen.recv_timeout(SOON).unwrap().1, Scope::Everything);
    }
    assert!(seen.recv_timeout(QUIET).is_err());
    until(&plane.status, |status| {
        let works = status.problems.is_empty() && status.last_success.is_some();
        works && (status.runs, status.writes) == (3, 3)
    });
}

#[test]
fn many_pokes_are_one_look_at_the_kernel() {
    let ((seen, receiver), (leave, gate), (begin, begun)) = (channel(), channel(), channel());
    let fake = Fake { seen, refuse: None, refusals: 0, again: None, retry: false };
    let mut plane = spawn(Labels, Gated(begin, gate, fake), settings()).unwrap();
    plane.subscriber.start(&Index::new("node"));
    begun.recv_timeout(SOON).unwrap();
    for _ in 0..50 {
        plane.poker.poke();
    }
    for _ in 0..2 {
        leave.send(()).unwrap();
        assert_eq!(receiver.recv_timeout(SOON).unwrap().1, Scope::Everything);
    }
    begun.recv_timeout(SOON).unwrap();
    assert!(begun.recv_timeout(QUIET).is_err());
}

#[test]
fn a_plane_that_asks_for_another_look_gets_one() {
    let (seen, receiver) = channel();
    let fake = Fake { seen, refuse: None, refusals: 0, again: Some(Duration::from_millis(20)), retry: true };
    let mut plane = spawn(Labels, fake, settings()).unwrap();
    plane.subscriber.start(&Index::new("node"));
    for _ in 0..2 {
        assert_eq!(receiver.recv_timeout(SOON).unwrap().1, Scope::Everything);
    }
    assert!(receiver.recv_timeout(QUIET).is_err());
}

#[test]
fn a_plane_that_did_not_work_as_a_whole_is_judged_anew_after_a_change() {
    let (seen, receiver) = channel();
    let fake = Fake { seen, refuse: Some("labels"), refusals: 1, again: None, retry: false };
    let mut plane = spawn(Labels, fake, settings()).unwrap();
    let mut index = Index::new("node");
    plane.subscriber.start(&index);
    receiver.recv_timeout(SOON).unwrap();
    assert!(receiver.recv_timeout(QUIET).is_err(), "without a change there is no reason to try again");
    let changes = upsert(&mut index, "a", 1);
    plane.subscriber.changed(&index, &changes, Vec::new());
    assert!(matches!(receiver.recv_timeout(SOON).unwrap().1, Scope::Keys(_)));
    assert_eq!(receiver.recv_timeout(SOON).unwrap().1, Scope::Everything);
    assert!(receiver.recv_timeout(QUIET).is_err());
    until(&plane.status, |status| status.problems.is_empty());
}

#[test]
fn a_stream_of_changes_does_not_put_off_what_is_to_be_tried_again() {
    let (mut plane, seen) = start(Some("Namespace x"), 1);
    let mut index = Index::new("node");
    plane.subscriber.start(&index);
    assert_eq!(seen.recv_timeout(SOON).unwrap().1, Scope::Everything);
    let end = std::time::Instant::now() + SOON;
    for labels in 1.. {
        let changes = upsert(&mut index, "a", labels % 2 + 1);
        plane.subscriber.changed(&index, &changes, Vec::new());
        if seen.try_iter().any(|(_, scope)| scope == Scope::Everything) {
            return;
        }
        assert!(std::time::Instant::now() < end, "it was put off for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_sees_what_the_plane_was_told_before_and_nothing_before_the_first_complete_view() {
    let (seen, _receiver) = channel();
    let fake = Fake { seen, refuse: Some("Namespace a"), refusals: 1, again: None, retry: false };
    let (mut plane, window) = spawn_with_window(Labels, fake, settings()).unwrap();
    assert_eq!(window.look(|held| held.values.len()).await, None);
    let mut index = Index::new("node");
    upsert(&mut index, "a", 1);
    plane.subscriber.start(&index);
    let first = window.look(|held| (held.values.clone(), held.problems.len())).await.unwrap();
    assert_eq!(first, (BTreeMap::from([("a".to_owned(), 1)]), 1));
    let changes = upsert(&mut index, "b", 2);
    plane.subscriber.changed(&index, &changes, Vec::new());
    assert_eq!(window.look(|held| held.values.get("b").copied()).await, Some(Some(2)));
}

/// Its key `b` has a problem until a run for another key says that it has judged it as well.
struct Rivals(bool);

impl Apply for Rivals {
    type Key = String;
    type Value = usize;

    fn apply(&mut self, _: &BTreeMap<String, usize>, scope: &Scope<String>) -> Report {
        let everything = *scope == Scope::Everything;
        let problem = Problem { item: "Namespace b".into(), message: "a has it".into(), retry: false };
        let judged = (self.0 && !everything).then(|| "Namespace b".to_owned());
        let problems = everything.then_some(problem);
        Report {
            problems: problems.into_iter().collect(),
            judged: judged.into_iter().collect(),
            ..Report::default()
        }
    }
}

#[test]
fn what_was_wrong_with_a_key_is_over_when_a_run_for_another_has_judged_it() {
    for (judges, left) in [(true, 0), (false, 1)] {
        let mut plane = spawn(Labels, Rivals(judges), settings()).unwrap();
        let mut index = Index::new("node");
        plane.subscriber.start(&index);
        // The first may be done together with the look at everything.
        for labels in 1..3 {
            let changes = upsert(&mut index, "a", labels);
            let (one, answer) = waiter("Namespace a");
            plane.subscriber.changed(&index, &changes, vec![one]);
            assert_eq!(answer.blocking_recv().unwrap(), Ok(()));
        }
        assert_eq!(plane.status.borrow().problems.len(), left, "{judges}");
    }
}

/// Says when a run begins, and waits for leave.
struct Gated(Sender<()>, Receiver<()>, Fake);

impl Apply for Gated {
    type Key = String;
    type Value = usize;

    fn apply(&mut self, desired: &BTreeMap<String, usize>, scope: &Scope<String>) -> Report {
        self.0.send(()).unwrap();
        self.1.recv().unwrap();
        self.2.apply(desired, scope)
    }
}

#[test]
fn who_waits_is_answered_before_everything_is_looked_at() {
    let ((seen, receiver), (leave, gate), (begin, begun)) = (channel(), channel(), channel());
    let fake = Fake { seen, refuse: None, refusals: 0, again: None, retry: false };
    let at_once = Settings { poke_delay: Duration::ZERO, ..settings() };
    let mut plane = spawn(Labels, Gated(begin, gate, fake), at_once).unwrap();
    let mut index = Index::new("node");
    plane.subscriber.start(&index);
    begun.recv_timeout(SOON).unwrap();
    plane.poker.poke();
    let changes = upsert(&mut index, "a", 1);
    let (one, answer) = waiter("Pod x/y");
    plane.subscriber.changed(&index, &changes, vec![one]);
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    assert_eq!(answer.blocking_recv().unwrap(), Ok(()), "though the look has no leave yet");
    let scopes: Vec<_> = receiver.try_iter().map(|(_, scope)| scope).collect();
    assert_eq!(scopes, [Scope::Everything, Scope::Keys(BTreeSet::from(["a".to_owned()]))]);
    leave.send(()).unwrap();
    assert_eq!(receiver.recv_timeout(SOON).unwrap().1, Scope::Everything);
}

#[test]
fn what_a_look_writes_was_changed_by_others_and_what_a_retry_writes_was_not() {
    let (mut plane, seen) = start(Some("Namespace a"), 1);
    let mut index = Index::new("node");
    upsert(&mut index, "a", 1);
    plane.subscriber.start(&index);
    for _ in 0..2 {
        assert_eq!(seen.recv_timeout(SOON).unwrap().1, Scope::Everything);
    }
    assert_eq!(plane.status.borrow().repairs, 0);
    plane.poker.poke();
    assert_eq!(seen.recv_timeout(SOON).unwrap().1, Scope::Everything);
    until(&plane.status, |status| status.repairs == 1);
}

#[test]
fn a_plane_without_a_view_rests_whatever_the_clock_says() {
    let (seen, receiver) = channel();
    let fake = Fake { seen, refuse: None, refusals: 0, again: None, retry: false };
    let often = Settings { verify_every: Duration::from_millis(10), ..settings() };
    let mut plane = spawn(Labels, fake, often).unwrap();
    plane.poker.poke();
    assert!(receiver.recv_timeout(QUIET).is_err());
    plane.subscriber.start(&Index::new("node"));
    for _ in 0..3 {
        assert_eq!(receiver.recv_timeout(SOON).unwrap().1, Scope::Everything);
    }
}

/// A look that somebody else's hurry ends; it says when it begins.
struct Slow(Sender<()>, Fake);

impl Apply for Slow {
    type Key = String;
    type Value = usize;

    fn apply(&mut self, desired: &BTreeMap<String, usize>, scope: &Scope<String>) -> Report {
        self.1.apply(desired, scope)
    }

    fn look(&mut self, desired: &BTreeMap<String, usize>, hurried: &dyn Fn() -> bool) -> Option<Report> {
        self.0.send(()).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while std::time::Instant::now() < end {
            if hurried() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(self.apply(desired, &Scope::Everything))
    }
}

#[test]
fn a_look_under_way_is_given_up_for_who_waits_but_not_for_ever() {
    let ((seen, receiver), (begin, begun)) = (channel(), channel());
    let fake = Fake { seen, refuse: None, refusals: 0, again: None, retry: false };
    let mut plane = spawn(Labels, Slow(begin, fake), settings()).unwrap();
    let mut index = Index::new("node");
    plane.subscriber.start(&index);
    assert_eq!(receiver.recv_timeout(SOON).unwrap().1, Scope::Everything);
    plane.poker.poke();
    for labels in 1..=3 {
        begun.recv_timeout(SOON).unwrap();
        let changes = upsert(&mut index, "a", labels);
        let (one, answer) = waiter("Pod x/y");
        plane.subscriber.changed(&index, &changes, vec![one]);
        assert_eq!(answer.blocking_recv().unwrap(), Ok(()));
        assert!(matches!(receiver.recv_timeout(SOON).unwrap().1, Scope::Keys(_)), "the look has not ended");
    }
    begun.recv_timeout(SOON).unwrap();
    let (one, answer) = waiter("Pod x/y");
    plane.subscriber.changed(&index, &[], vec![one]);
    assert_eq!(receiver.recv_timeout(SOON).unwrap().1, Scope::Everything, "the fourth look ends");
    assert_eq!(answer.blocking_recv().unwrap(), Ok(()));
}

/// Counts how often it was tended, and has something to tell each second time.
struct Tended(Sender<()>, Fake, bool);

impl Apply for Tended {
    type Key = String;
    type Value = usize;

    fn apply(&mut self, desired: &BTreeMap<String, usize>, scope: &Scope<String>) -> Report {
        self.1.apply(desired, scope)
    }

    fn tend(&mut self, desired: &BTreeMap<String, usize>) -> Option<Report> {
        assert_eq!(desired.len(), 1);
        self.0.send(()).unwrap();
        self.2 = !self.2;
        self.2.then(|| Report { writes: 10, ..Report::default() })
    }

    fn tend_after(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }
}

#[test]
fn what_is_due_between_runs_is_done_and_told_only_if_there_was_something_to_do() {
    let ((seen, receiver), (tended, times)) = (channel(), channel());
    let fake = Fake { seen, refuse: Some("Namespace a"), refusals: 1, again: None, retry: false };
    let mut plane = spawn(Labels, Tended(tended, fake, false), settings()).unwrap();
    let mut index = Index::new("node");
    upsert(&mut index, "a", 1);
    plane.subscriber.start(&index);
    for _ in 0..4 {
        times.recv_timeout(SOON).unwrap();
    }
    assert_eq!(receiver.try_iter().count(), 1, "it is no look at everything");
    let status = plane.status.borrow().clone();
    assert!(status.runs > 1);
    assert_eq!(status.writes, 1 + 10 * (status.runs - 1), "only what there is to tell is told");
    assert_eq!(status.problems.len(), 1, "what is wrong with an object stays so");
}
