//! What the task does with what it is told; without channels to wait on, so that a test can drive it step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::super::objects::{Attachment, ObjectName, Pod};
use super::super::source::{Hold, SourceMessage};
use super::super::status::{ClusterStatus, SourceProblem};
use super::super::{Change, Event, Index, Kind, Object, ObjectKey};
use super::handle::{Attach, AttachError, Input, Look};
use super::{Planes, Settings};
use crate::runner::{Subscriber, Waiter};

/// Asks for a pod that the watch has not shown yet.
pub trait PodLookup: Send {
    /// Starts to ask, without blocking; the answer comes by [`super::Handle`].
    fn ask(&self, pod: &ObjectName);
}

/// An ADD whose pod is not known yet.
struct Waiting {
    attach: Attach,
    until: Instant,
}

pub(super) struct State {
    index: Index,
    pub(super) planes: Planes,
    patience: Duration,
    pub(super) view_patience: Duration,
    pub(super) lookup: Option<Box<dyn PodLookup>>,
    missing: BTreeSet<Kind>,
    started: bool,
    waiting: BTreeMap<ObjectName, Vec<Waiting>>,
    /// Pods that were asked for by themselves and that the watch has not shown yet, with their UIDs.
    ahead: BTreeMap<ObjectName, String>,
    ready: Vec<Attach>,
    changes: Vec<Change>,
    item_problems: BTreeMap<String, Vec<String>>,
    source_problems: Vec<(String, String)>,
    status: watch::Sender<ClusterStatus>,
    source: String,
    events: u64,
}

impl State {
    pub(super) fn new(settings: Settings) -> (Self, watch::Receiver<ClusterStatus>) {
        let status = ClusterStatus { source: settings.source.clone(), ..ClusterStatus::default() };
        let (status, receiver) = watch::channel(status);
        let state = Self {
            index: Index::new(settings.node_name),
            planes: Planes::default(),
            patience: settings.patience,
            view_patience: settings.patience,
            lookup: None,
            missing: Kind::ALL.into_iter().collect(),
            started: false,
            waiting: BTreeMap::new(),
            ahead: BTreeMap::new(),
            ready: Vec::new(),
            changes: Vec::new(),
            item_problems: BTreeMap::new(),
            source_problems: Vec::new(),
            status,
            source: settings.source,
            events: 0,
        };
        (state, receiver)
    }

    pub(super) fn match_host_pods(&mut self, yes: bool) {
        self.index = std::mem::take(&mut self.index).with_host_pods_as_peers(yes);
    }

    /// When the first of those that wait loses its patience.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().flatten().map(|waiting| waiting.until).min()
    }

    /// Takes in one message. The planes hear of it at [`State::settle`].
    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::Source(message) => self.take_source(message),
            Input::Attach(attach) => self.take_attach(attach),
            Input::Restore(attachments) => {
                for attachment in attachments {
                    self.apply(Event::Attach(attachment));
                }
            }
            Input::Detach(container, interface) => {
                self.take_back(&container, &interface);
                self.apply(Event::Detach(container, interface));
            }
            Input::Routes(routes) => routes.into_iter().for_each(|route| self.apply(Event::Route(route))),
            Input::Passwords(passwords) => self.apply(Event::Passwords(passwords)),
            Input::InForce(news) => self.apply(Event::InForce(news)),
            Input::Looked(name, None) => {
                self.refuse(&name, |_| true, |pod, view| AttachError::UnknownPod { pod, view });
            }
            Input::Looked(_, Some(pod)) if self.is_waited_for(&pod) => {
                self.ahead.insert(pod.name.clone(), pod.uid.clone());
                self.apply(Event::Upsert(Object::Pod(*pod)));
            }
            Input::Look(look) if self.missing.is_empty() => self.show(look),
            // Nobody waits any more, and the watch knows better by now; or there is nothing to see yet.
            Input::Looked(..) | Input::Look(_) => {}
        }
    }

    fn show(&self, look: Look) {
        if catch_unwind(AssertUnwindSafe(|| (look.0)(&self.index))).is_err() {
            tracing::error!("a question to the index was answered by a panic; this is a bug of routerd");
        }
    }

    fn take_source(&mut self, message: SourceMessage) {
        match message {
            SourceMessage::Complete(kind, objects) => {
                self.events += objects.len() as u64;
                let (planes, changes, started) = (&mut self.planes, &mut self.changes, self.started);
                self.index.replace_each(kind, objects, |index, change| {
                    note(planes, started, index, &change);
                    changes.push(change);
                });
                self.missing.remove(&kind);
                if kind == Kind::Pod {
                    self.ahead.clear();
                }
            }
            SourceMessage::Early(objects, hold) => self.show_early(objects, &hold),
            SourceMessage::Events(events) => events.into_iter().for_each(|event| self.take_event(event)),
            SourceMessage::Problems { item, messages } if messages.is_empty() => {
                self.item_problems.remove(&item);
            }
            SourceMessage::Problems { item, messages } => {
                if self.item_problems.get(&item) != Some(&messages) {
                    for message in &messages {
                        tracing::warn!(item, "{message}");
                    }
                    self.item_problems.insert(item, messages);
                }
            }
            SourceMessage::AllProblems(problems) => {
                let new = problems.iter().filter(|problem| !self.source_problems.contains(problem));
                new.for_each(|(item, message)| tracing::warn!(item, "{message}"));
                self.source_problems = problems;
            }
        }
    }

    /// Takes in what a watch shows, which may be behind what was asked for by itself.
    fn take_event(&mut self, event: Event) {
        let deleted = |pod, _| AttachError::Deleted { pod };
        match &event {
            Event::Delete(ObjectKey::Pod(name)) => self.refuse(name, |_| true, deleted),
            Event::PodGone(name, uid) => self.refuse(name, |attachment| is_of(attachment, uid), deleted),
            Event::Upsert(Object::Pod(pod)) => match self.ahead.get(&pod.name) {
                Some(uid) if *uid == pod.uid => _ = self.ahead.remove(&pod.name),
                // An earlier pod of that name, of which the watch has yet to show the end.
                Some(_) => return,
                None => {}
            },
            _ => {}
        }
        self.apply(event);
    }

    /// True if an ADD waits for just this pod, which the watch has not shown yet.
    fn is_waited_for(&self, pod: &Pod) -> bool {
        let waiting = self.waiting.get(&pod.name).into_iter().flatten();
        let mut unknown = waiting.filter(|one| !self.knows(&one.attach));
        unknown.any(|one| is_of(&one.attach.attachment, &pod.uid))
    }

    /// Shows planes what came before the view, in an index of its own: in the real one it would count as all there is.
    fn show_early(&mut self, objects: Vec<Object>, hold: &Hold) {
        if self.started {
            return;
        }
        let mut index = Index::new(self.index.node_name());
        for object in objects {
            index.apply(Event::Upsert(object));
        }
        for plane in &mut self.planes.others {
            guarded(plane, |plane| plane.early(&index, hold.clone()));
        }
    }

    fn take_attach(&mut self, attach: Attach) {
        let name = attach.attachment.pod.clone();
        if self.missing.is_empty()
            && !self.knows(&attach)
            && let Some(lookup) = &self.lookup
        {
            lookup.ask(&name);
        }
        let patience = if self.missing.is_empty() { self.patience } else { self.view_patience };
        let until = Instant::now() + patience;
        self.waiting.entry(name).or_default().push(Waiting { attach, until });
    }

    fn apply(&mut self, event: Event) {
        self.events += 1;
        if let Some(change) = self.index.apply(event) {
            note(&mut self.planes, self.started, &self.index, &change);
            self.changes.push(change);
        }
    }

    /// True if the pod an attachment names is in the index, and not only an earlier one of the same name.
    fn knows(&self, attach: &Attach) -> bool {
        let known = self.index.pods().get(&attach.attachment.pod);
        known.is_some_and(|pod| is_of(&attach.attachment, &pod.uid))
    }

    /// Ends the waiting for the pod of those that `which` names.
    fn refuse(
        &mut self,
        pod: &ObjectName,
        which: impl Fn(&Attachment) -> bool,
        error: impl Fn(ObjectName, String) -> AttachError,
    ) {
        let all = self.waiting.remove(pod).unwrap_or_default();
        let (refused, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|waiting| which(&waiting.attach.attachment));
        for waiting in refused {
            // One that no longer waits has given up itself.
            let _ = waiting.attach.reply.send(Err(error(pod.clone(), self.source.clone())));
        }
        if !others.is_empty() {
            self.waiting.insert(pod.clone(), others);
        }
    }

    /// Ends the waiting of an interface that is gone: attached later than it was taken away, it would stay for ever.
    fn take_back(&mut self, container: &str, interface: &str) {
        self.waiting.retain(|pod, list| {
            let is_it = |one: &Attachment| one.container == container && one.interface == interface;
            for one in list.extract_if(.., |waiting| is_it(&waiting.attach.attachment)) {
                // One that has given up itself does not listen any more.
                let _ = one.attach.reply.send(Err(AttachError::Detached { pod: pod.clone() }));
            }
            !list.is_empty()
        });
    }

    /// Tells the planes what changed, answers those who wait too long, and publishes the status.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.started {
            self.admit();
        }
        self.expire(now);
        let attaches = std::mem::take(&mut self.ready);
        let changes = std::mem::take(&mut self.changes);
        let started = Instant::now();
        if self.missing.is_empty() && !self.started {
            self.index.pack();
        }
        let index = &self.index;
        if !self.missing.is_empty() {
            // Nothing is told before the first complete view; what changed until then is part of it.
        } else if self.started {
            for plane in &mut self.planes.others {
                guarded(plane, |plane| plane.changed(index, &changes, Vec::new()));
            }
            match &mut self.planes.gate {
                Some(gate) => {
                    let waiters = attaches.into_iter().map(waiter).collect();
                    guarded(gate, |gate| gate.changed(index, &changes, waiters));
                }
                None => attaches.into_iter().for_each(|attach| drop(attach.reply.send(Ok(())))),
            }
        } else {
            tracing::info!(source = self.source, "the first complete view of the cluster is there");
            self.started = true;
            for plane in self.planes.gate.iter_mut().chain(&mut self.planes.others) {
                guarded(plane, |plane| plane.start(index));
            }
            // Who waits for an ADD comes after that, as a change: an address that an earlier run knew as another pod's is
            // nobody's first, and what it leaves behind in the kernel goes.
            self.admit();
            if let Some(lookup) = &self.lookup {
                self.waiting.keys().for_each(|pod| lookup.ask(pod));
            }
            if !self.ready.is_empty() {
                return self.settle(now);
            }
        }
        tracing::debug!(changes = changes.len(), took = ?started.elapsed(), "told the planes");
        self.publish();
    }

    /// Takes in the attachments whose pods are known by now. Who has given up says so by a detach, which may have come
    /// already or not yet.
    fn admit(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (name, mut list) in waiting {
            list.retain(|one| !one.attach.reply.is_closed());
            let (known, unknown): (Vec<_>, Vec<_>) =
                list.into_iter().partition(|one| self.knows(&one.attach));
            for one in known {
                self.apply(Event::Attach(one.attach.attachment.clone()));
                self.ready.push(one.attach);
            }
            if !unknown.is_empty() {
                self.waiting.insert(name, unknown);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let view = &self.source;
        let complete = self.missing.is_empty();
        self.waiting.retain(|pod, list| {
            for late in list.extract_if(.., |waiting| waiting.until <= now) {
                let (pod, view) = (pod.clone(), view.clone());
                let error = if complete {
                    AttachError::UnknownPod { pod, view }
                } else {
                    AttachError::NoView { view }
                };
                let _ = late.attach.reply.send(Err(error));
            }
            !list.is_empty()
        });
    }

    fn publish(&self) {
        let kinds = Kind::ALL.into_iter().map(|kind| (kind.name(), self.index.count(kind) as u64));
        let mut objects: BTreeMap<&'static str, u64> = kinds.collect();
        objects.insert("attachment", self.index.attachments().len() as u64);
        objects.insert("learnt route", self.index.routes().len() as u64);
        let single = |(item, message): (&String, &String)| SourceProblem {
            item: item.clone(),
            message: message.clone(),
        };
        let items = self.item_problems.iter();
        let items = items.flat_map(|(item, messages)| messages.iter().map(move |message| (item, message)));
        let all = self.source_problems.iter().map(|(item, message)| (item, message));
        let status = ClusterStatus {
            source: self.source.clone(),
            complete: self.missing.is_empty(),
            own_node: self.index.own_node().is_some(),
            objects,
            events: self.events,
            problems: items.chain(all).map(single).collect(),
        };
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

/// True if the attachment is of the pod with this UID, as far as both say which they mean.
fn is_of(attachment: &Attachment, uid: &str) -> bool {
    let own = attachment.uid.as_deref().unwrap_or_default();
    own.is_empty() || uid.is_empty() || own == uid
}

fn waiter(attach: Attach) -> Waiter {
    let pod = attach.attachment.pod;
    let item = format!("Pod {pod}");
    let (reply, committed) = oneshot::channel::<Result<(), String>>();
    tokio::spawn(async move {
        let outcome = match committed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(AttachError::NotCommitted { pod, reason }),
            Err(_) => Err(AttachError::NotCommitted { pod, reason: "the policy plane has ended".to_owned() }),
        };
        let _ = attach.reply.send(outcome);
    });
    Waiter { item, reply }
}

/// Lets the planes note what a change touches while the index shows the state right after it.
fn note(planes: &mut Planes, started: bool, index: &Index, change: &Change) {
    // Before the start nothing is noted: everything is computed then.
    if started {
        for plane in planes.gate.iter_mut().chain(&mut planes.others) {
            guarded(plane, |plane| plane.note(index, change));
        }
    }
}

/// A mistake in one plane must not end the task that all depend on.
fn guarded(plane: &mut Box<dyn Subscriber>, call: impl FnOnce(&mut dyn Subscriber)) {
    let name = plane.name();
    if catch_unwind(AssertUnwindSafe(|| call(plane.as_mut()))).is_err() {
        tracing::error!(plane = name, "the plane failed to compute what should be; this is a bug of routerd");
    }
}
