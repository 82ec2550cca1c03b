//! The task with planes that write down what they are told.

mod given_up;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::oneshot;

use super::*;
use crate::cluster::objects::{Attachment, LearntRoute, ObjectName, Pod};
use crate::cluster::source::{Hold, hold};
use crate::cluster::{Change, Event, Index, Kind, Object, ObjectKey};
use crate::runner::Waiter;

/// What a fake plane was told: the start, or changes and who waits.
enum Told {
    Early(usize),
    Start(usize),
    Changed(Vec<Change>, Vec<Waiter>),
}

struct Fake(Sender<Told>);

impl Subscriber for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn early(&mut self, index: &Index, _: Hold) {
        self.0.send(Told::Early(index.pods().len())).unwrap();
    }

    fn start(&mut self, index: &Index) {
        self.0.send(Told::Start(index.pods().len())).unwrap();
    }

    fn changed(&mut self, _: &Index, changes: &[Change], waiters: Vec<Waiter>) {
        self.0.send(Told::Changed(changes.to_vec(), waiters)).unwrap();
    }
}

struct Broken;

impl Subscriber for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn start(&mut self, _: &Index) {
        panic!("a mistake");
    }

    fn changed(&mut self, _: &Index, _: &[Change], _: Vec<Waiter>) {
        panic!("a mistake");
    }
}

struct World {
    ends: Ends,
    gate: Receiver<Told>,
    other: Receiver<Told>,
}

fn world(patience: Duration) -> World {
    let (gate, gate_told) = channel();
    let (other, other_told) = channel();
    let settings = Settings { node_name: "n1".into(), source: "folder /x".into(), patience };
    let (task, ends) = Task::new(settings);
    let planes =
        Planes { gate: Some(Box::new(Fake(gate))), others: vec![Box::new(Broken), Box::new(Fake(other))] };
    tokio::spawn(task.with_planes(planes).run());
    World { ends, gate: gate_told, other: other_told }
}

fn told(receiver: &Receiver<Told>) -> Told {
    receiver.recv_timeout(LONG).unwrap()
}

fn pod(name: &str, uid: &str) -> Object {
    Object::Pod(Pod {
        name: ObjectName::new("default", name),
        uid: uid.into(),
        labels: std::collections::BTreeMap::new(),
        node: None,
        host_network: false,
        finished: false,
        drain_leaves: false,
        addresses: Vec::new(),
        ports: Vec::new(),
    })
}

fn attachment(pod: &str, uid: Option<&str>) -> Attachment {
    Attachment {
        container: format!("container-of-{pod}"),
        interface: "eth0".into(),
        pod: ObjectName::new("default", pod),
        uid: uid.map(str::to_owned),
        netns: String::new(),
        host_device: "veth0".into(),
        addresses: vec!["10.244.1.2".parse().unwrap()],
    }
}

impl World {
    async fn send(&self, message: SourceMessage) {
        self.ends.source.send(message).await.unwrap();
    }

    async fn complete(&self, pods: Vec<Object>) {
        for kind in Kind::ALL {
            let objects = if kind == Kind::Pod { pods.clone() } else { Vec::new() };
            self.send(SourceMessage::Complete(kind, objects)).await;
        }
    }

    /// When it returns the task has been told, by a channel that keeps the order.
    fn attach(&self, attachment: Attachment) -> oneshot::Receiver<Result<(), AttachError>> {
        let (sender, receiver) = oneshot::channel();
        let handle = self.ends.handle.clone();
        let mut answer = Box::pin(async move { handle.attach(attachment).await });
        let at_once = (&mut answer).now_or_never();
        tokio::spawn(async move {
            let answer = if let Some(answer) = at_once { answer } else { answer.await };
            sender.send(answer)
        });
        receiver
    }

    /// The UID of the pod that the index has under the name once the event has been taken in.
    async fn uid_after(&self, event: Event, name: &ObjectName) -> Option<String> {
        // What comes after it, by the same channel.
        let text = format!("{event:?}");
        let mark = Pod { name: ObjectName::new("marks", &text), ..Pod::default() };
        self.send(SourceMessage::Events(vec![event, Event::Upsert(Object::Pod(mark))])).await;
        loop {
            let (name, mark) = (name.clone(), ObjectName::new("marks", &text));
            let look = move |index: &Index| {
                let uid = index.pods().get(&name).map(|pod| pod.uid.clone());
                index.pods().contains_key(&mark).then_some(uid)
            };
            if let Some(uid) = self.ends.handle.look(look).await.flatten() {
                return uid;
            }
        }
    }

    /// Returns when the task has taken in what it was told by the handle.
    async fn taken_in(&self) {
        self.ends.handle.look(|_| ()).await;
    }
}

fn is_attachment(change: &Change) -> bool {
    matches!(change, Change::Attachment(_))
}

/// The waiter of the next message that has one.
fn next_waiter(receiver: &Receiver<Told>) -> (Vec<Change>, Waiter) {
    loop {
        if let Told::Changed(changes, mut waiters) = told(receiver)
            && let Some(waiter) = waiters.pop()
        {
            return (changes, waiter);
        }
    }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_the_view_is_shown_and_is_no_part_of_it() {
    let world = world(LONG);
    let (held, release) = hold();
    world.send(SourceMessage::Early(vec![pod("early", "")], held)).await;
    release.wait().await;
    assert!(matches!(told(&world.other), Told::Early(1)));
    world.complete(vec![pod("a", ""), pod("b", "")]).await;
    assert!(matches!(told(&world.other), Told::Start(2)), "the early one is not in the view");
    world.send(SourceMessage::Early(vec![pod("late", "")], hold().0)).await;
    world.send(SourceMessage::Events(vec![Event::Upsert(pod("c", ""))])).await;
    assert!(matches!(told(&world.other), Told::Changed(changes, _) if changes.len() == 1), "too late");
    assert!(matches!(told(&world.gate), Told::Start(2)), "policies wait for the whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_hear_nothing_before_every_kind_was_listed() {
    let mut world = world(LONG);
    for kind in Kind::ALL.into_iter().skip(1) {
        world.send(SourceMessage::Complete(kind, Vec::new())).await;
    }
    world.send(SourceMessage::Events(vec![Event::Upsert(pod("a", ""))])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.gate.try_recv().is_err() && world.other.try_recv().is_err());
    assert!(!world.ends.status.borrow().complete);
    world.send(SourceMessage::Complete(Kind::Node, Vec::new())).await;
    assert!(matches!(told(&world.gate), Told::Start(1)));
    assert!(matches!(told(&world.other), Told::Start(1)), "also behind a plane that panicked");
    world.ends.status.wait_for(|status| status.complete).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_is_answered_when_the_policy_is_committed_and_not_before() {
    let world = world(LONG);
    world.complete(vec![pod("a", "u1")]).await;
    let mut answer = world.attach(attachment("a", Some("u1")));
    let (changes, waiter) = next_waiter(&world.gate);
    assert!(changes.iter().any(is_attachment));
    assert_eq!(waiter.item, "Pod default/a");
    assert!(answer.try_recv().is_err());
    waiter.reply.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_whose_policy_is_refused_fails_and_its_attachment_is_forgotten() {
    let world = world(LONG);
    world.complete(vec![pod("a", "")]).await;
    let answer = world.attach(attachment("a", Some("u1")));
    let (_, waiter) = next_waiter(&world.gate);
    waiter.reply.send(Err("no space".into())).unwrap();
    let error = answer.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("default/a") && error.to_string().contains("no space"), "{error}");
    loop {
        if let Told::Changed(changes, _) = told(&world.gate)
            && let Some(Change::Attachment(delta)) = changes.into_iter().find(is_attachment)
        {
            assert!(delta.new.is_none());
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_waits_for_its_pod_and_is_not_content_with_an_earlier_one_of_that_name() {
    let world = world(LONG);
    world.complete(vec![pod("a", "old")]).await;
    let mut answer = world.attach(attachment("a", Some("new")));
    world.taken_in().await;
    assert!(answer.try_recv().is_err());
    world.send(SourceMessage::Events(vec![Event::Upsert(pod("a", "new"))])).await;
    let (changes, waiter) = next_waiter(&world.gate);
    assert!(
        changes.iter().any(is_attachment) && changes.iter().any(|change| matches!(change, Change::Pod(_)))
    );
    waiter.reply.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_for_a_pod_that_nobody_knows_fails_after_a_bounded_time() {
    let mut world = world(Duration::from_millis(50));
    let before = world.attach(attachment("a", None)).await.unwrap();
    assert_eq!(before, Err(AttachError::NoView { view: "folder /x".into() }));
    world.complete(Vec::new()).await;
    world.ends.status.wait_for(|status| status.complete).await.unwrap();
    let error = world.attach(attachment("a", None)).await.unwrap().unwrap_err();
    assert!(matches!(&error, AttachError::UnknownPod { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_waits_longer_for_the_first_view_than_for_a_pod() {
    let settings = Settings { node_name: "n1".into(), source: String::new(), patience: Duration::ZERO };
    let (task, ends) = Task::new(settings);
    tokio::spawn(task.waiting_for_the_view(LONG).run());
    let early = tokio::spawn({
        let handle = ends.handle.clone();
        async move { handle.attach(attachment("a", None)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!early.is_finished());
    for kind in Kind::ALL {
        let objects = if kind == Kind::Pod { vec![pod("a", "")] } else { Vec::new() };
        ends.source.send(SourceMessage::Complete(kind, objects)).await.unwrap();
    }
    assert_eq!(early.await.unwrap(), Ok(()));
    let error = ends.handle.attach(attachment("b", None)).await.unwrap_err();
    assert!(matches!(error, AttachError::UnknownPod { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_whose_pod_is_deleted_fails_at_once() {
    let world = world(LONG);
    world.complete(vec![pod("a", "old")]).await;
    let answer = world.attach(attachment("a", Some("new")));
    world.taken_in().await;
    let name = ObjectName::new("default", "a");
    world.send(SourceMessage::Events(vec![Event::Delete(ObjectKey::Pod(name.clone()))])).await;
    assert_eq!(answer.await.unwrap(), Err(AttachError::Deleted { pod: name }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_behind_does_not_touch_the_pod_that_was_asked_for() {
    let mut world = world(LONG);
    let name = ObjectName::new("default", "a");
    world.complete(vec![pod("a", "old")]).await;
    world.ends.status.wait_for(|status| status.complete).await.unwrap();
    let answer = world.attach(attachment("a", Some("new")));
    let Object::Pod(asked) = pod("a", "new") else { unreachable!() };
    world.ends.handle.looked(name.clone(), Some(asked)).await;
    next_waiter(&world.gate).1.reply.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Ok(()));
    let gone = |uid: &str| Event::PodGone(name.clone(), uid.to_owned());
    for (late, held) in [
        (Event::Upsert(pod("a", "old")), Some("new")),
        (gone("old"), Some("new")),
        (Event::Upsert(pod("a", "new")), Some("new")),
        (Event::Upsert(pod("a", "newest")), Some("newest")),
        (gone("newest"), None),
    ] {
        assert_eq!(world.uid_after(late.clone(), &name).await.as_deref(), held, "{late:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_goes_on_waiting_when_an_earlier_pod_of_that_name_is_deleted() {
    let world = world(LONG);
    world.complete(vec![pod("a", "old")]).await;
    let answer = world.attach(attachment("a", Some("new")));
    let gone = Event::PodGone(ObjectName::new("default", "a"), "old".into());
    world.send(SourceMessage::Events(vec![gone, Event::Upsert(pod("a", "new"))])).await;
    next_waiter(&world.gate).1.reply.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_add_that_came_before_the_first_view_is_served_with_it() {
    let world = world(LONG);
    let answer = world.attach(attachment("a", None));
    world.taken_in().await;
    world.complete(vec![pod("a", "")]).await;
    assert!(matches!(told(&world.gate), Told::Start(_)));
    let (_, waiter) = next_waiter(&world.gate);
    waiter.reply.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_policy_an_add_waits_for_nothing() {
    let (task, ends) = Task::new(Settings { node_name: "n1".into(), source: String::new(), patience: LONG });
    tokio::spawn(task.run());
    for kind in Kind::ALL {
        let objects = if kind == Kind::Pod { vec![pod("a", "")] } else { Vec::new() };
        ends.source.send(SourceMessage::Complete(kind, objects)).await.unwrap();
    }
    assert_eq!(ends.handle.attach(attachment("a", None)).await, Ok(()));
    let mut status = ends.status;
    status.wait_for(|status| status.objects.get("attachment") == Some(&1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_adds_at_once_are_few_batches_and_all_are_answered() {
    let world = world(LONG);
    let names: Vec<String> = (0..50).map(|number| format!("p{number}")).collect();
    world.complete(names.iter().map(|name| pod(name, "")).collect()).await;
    let answers: Vec<_> = names.iter().map(|name| world.attach(attachment(name, None))).collect();
    let mut answered = 0;
    while answered < names.len() {
        if let Told::Changed(_, waiters) = told(&world.gate) {
            answered += waiters.len();
            for waiter in waiters {
                waiter.reply.send(Ok(())).unwrap();
            }
        }
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_complete_list_takes_away_what_is_not_in_it() {
    let world = world(LONG);
    world.complete(vec![pod("a", ""), pod("b", "")]).await;
    assert!(matches!(told(&world.gate), Told::Start(2)));
    world.send(SourceMessage::Complete(Kind::Pod, vec![pod("b", "")])).await;
    loop {
        if let Told::Changed(changes, _) = told(&world.gate)
            && !changes.is_empty()
        {
            assert!(matches!(&changes[..], [Change::Pod(delta)] if delta.new.is_none()), "{changes:?}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn learnt_routes_and_problems_reach_planes_and_status() {
    let mut world = world(LONG);
    world.complete(Vec::new()).await;
    assert!(matches!(told(&world.gate), Told::Start(0)));
    let prefix = "10.244.2.0/24".parse().unwrap();
    world
        .ends
        .handle
        .routes(vec![LearntRoute { prefix, next_hops: ["192.0.2.2".parse().unwrap()].into_iter().collect() }])
        .await;
    while !matches!(told(&world.other), Told::Changed(changes, _) if matches!(&changes[..], [Change::Route(_)]))
    {
    }
    let problem = |messages: &[&str]| SourceMessage::Problems {
        item: "Service default/web".into(),
        messages: messages.iter().map(|text| (*text).to_owned()).collect(),
    };
    world.send(problem(&["spec.type: x"])).await;
    world.ends.status.wait_for(|status| status.problems.len() == 1).await.unwrap();
    world.send(problem(&[])).await;
    world.ends.status.wait_for(|status| status.problems.is_empty()).await.unwrap();
    world.ends.status.wait_for(|status| status.objects.get("learnt route") == Some(&1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_sees_the_index_once_it_is_complete_and_a_bad_look_harms_nobody() {
    let world = world(LONG);
    assert_eq!(world.ends.handle.look(|index| index.pods().len()).await, None);
    world.complete(vec![pod("a", "")]).await;
    let seen = world.ends.handle.look(|index| index.pods().len()).await;
    // The view may not be complete yet: the two ways into the task keep no order.
    assert!(seen.is_none_or(|pods| pods == 1));
    assert!(matches!(told(&world.gate), Told::Start(1)));
    assert_eq!(world.ends.handle.look(|_| -> usize { panic!("a mistake") }).await, None);
    assert_eq!(world.ends.handle.look(|index| index.pods().len()).await, Some(1));
}
