//! The thread of a plane: merges what changed, applies it, answers who waits, tries again what failed.
//!
//! Work is batched by itself: while one apply runs, messages gather, and the next apply takes all of them. A single
//! change on an idle plane is applied at once. What somebody waits for goes before a look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::subscriber::{Handle, Subscriber, Waiter};
use super::window::{Held, Look, Window};
use super::{Apply, Plane, Problem, Report, Scope, Status};
use crate::cluster::source::Hold;

/// Keys and what should be for each; `None` is nothing.
pub(super) type Values<K, V> = Vec<(K, Option<V>)>;

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Message<K, V> {
    /// What is known before the first complete view, and what is held until it is added.
    Early(Values<K, V>, Hold),
    /// The first complete view.
    Complete(Values<K, V>),
    /// Some keys changed, and who waits for them.
    Changed(Values<K, V>, Vec<Waiter>),
    /// Somebody else changed something in the kernel.
    Poke,
    /// Somebody asks what the plane holds.
    Look(Look<K, V>),
}

/// How a worker keeps time.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How often the kernel is read back though nothing happened.
    pub verify_every: Duration,
    /// Wait before the first try again; it doubles up to `retry_most`.
    pub retry_first: Duration,
    /// The longest wait between tries.
    pub retry_most: Duration,
    /// How long to gather pokes: one flush of a table is many events.
    pub poke_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            verify_every: Duration::from_mins(5),
            retry_first: Duration::from_millis(250),
            retry_most: Duration::from_secs(30),
            poke_delay: Duration::from_millis(200),
        }
    }
}

/// Tells a plane that somebody else may have changed its kernel objects. Cheap to clone.
#[derive(Clone)]
pub struct Poker(std::sync::Arc<dyn Fn() + Send + Sync>);

impl Poker {
    /// The plane reads the kernel back soon; many pokes in a short time are one.
    pub fn poke(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Poker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Poker")
    }
}

/// A plane that runs.
pub struct Spawned {
    /// For the cluster task.
    pub subscriber: Box<dyn Subscriber>,
    /// For the administration.
    pub status: watch::Receiver<Status>,
    /// For the netlink monitor.
    pub poker: Poker,
}

/// Starts the thread of a plane.
pub fn spawn<P, A>(plane: P, apply: A, settings: Settings) -> std::io::Result<Spawned>
where
    P: Plane,
    A: Apply<Key = P::Key, Value = P::Value>,
{
    spawn_with_window(plane, apply, settings).map(|(spawned, _)| spawned)
}

/// A plane that runs, and the way to look at what it holds.
pub type WithWindow<P> = (Spawned, Window<<P as Plane>::Key, <P as Plane>::Value>);

/// The same, for a plane that is asked questions.
pub fn spawn_with_window<P, A>(plane: P, apply: A, settings: Settings) -> std::io::Result<WithWindow<P>>
where
    P: Plane,
    A: Apply<Key = P::Key, Value = P::Value>,
{
    let (worker, messages) = channel();
    let (publish, status) = watch::channel(Status::new(P::NAME));
    let (sent, hurry) = watch::channel(0);
    let poke_sender: Sender<Message<P::Key, P::Value>> = worker.clone();
    let poker = Poker(std::sync::Arc::new(move || {
        // A worker that is gone was already reported by its subscriber.
        let _ = poke_sender.send(Message::Poke);
    }));
    let state = Worker {
        name: P::NAME,
        apply,
        settings,
        publish,
        desired: BTreeMap::new(),
        pending: BTreeSet::new(),
        everything: None,
        complete: false,
        waiters: Vec::new(),
        looks: Vec::new(),
        sent: hurry,
        taken: 0,
        given_up: 0,
        next_verify: Instant::now() + settings.verify_every,
        next_retry: None,
        retry_delay: settings.retry_first,
        next_poked: None,
        next_tend: None,
    };
    std::thread::Builder::new().name(format!("plane-{}", P::NAME)).spawn(move || state.run(&messages))?;
    let window = Window(worker.clone());
    Ok((
        Spawned {
            subscriber: Box::new(Handle { plane, worker, sent, noted: Default::default() }),
            status,
            poker,
        },
        window,
    ))
}

/// A look at everything is given up this often in a row at most: it must come to its end some time.
const MOST_GIVEN_UP: u32 = 3;

/// Why everything is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// To see if others changed something: what is then written is put right.
    Look,
    /// There is something to do, as at the start or when something failed.
    Work,
}

struct Worker<A: Apply> {
    name: &'static str,
    apply: A,
    settings: Settings,
    publish: watch::Sender<Status>,
    desired: BTreeMap<A::Key, A::Value>,
    pending: BTreeSet<A::Key>,
    everything: Option<Reason>,
    complete: bool,
    waiters: Vec<Waiter>,
    looks: Vec<Look<A::Key, A::Value>>,
    /// How many waiters were sent to this thread, and how many it has taken in.
    sent: watch::Receiver<u64>,
    taken: u64,
    /// How often in a row a look was given up because somebody waits.
    given_up: u32,
    next_verify: Instant,
    next_retry: Option<Instant>,
    retry_delay: Duration,
    next_poked: Option<Instant>,
    next_tend: Option<Instant>,
}

impl<A: Apply> Worker<A> {
    fn run(mut self, messages: &Receiver<Message<A::Key, A::Value>>) {
        loop {
            match messages.recv_timeout(self.until_next()) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            self.look_at_clock();
            if self.complete {
                self.work();
            }
            self.show();
        }
    }

    /// Lets those look who asked; before the first complete view there is nothing to see.
    fn show(&mut self) {
        for look in self.looks.drain(..).filter(|_| self.complete) {
            let held = Held {
                values: &self.desired,
                problems: &self.publish.borrow().problems,
                item: &|key| self.apply.item(key),
                wanted: &|| self.apply.wanted(),
            };
            (look.0)(&held);
        }
    }

    /// How long nothing needs to be done.
    fn until_next(&self) -> Duration {
        let soonest = [self.next_retry, self.next_poked, self.next_tend, Some(self.next_verify)];
        let soonest = soonest.into_iter().flatten().min();
        soonest.map_or(self.settings.verify_every, |at| at.saturating_duration_since(Instant::now()))
    }

    fn take(&mut self, message: Message<A::Key, A::Value>) {
        match message {
            Message::Early(values, hold) => {
                self.add_early(values);
                drop(hold);
            }
            Message::Complete(values) => {
                self.desired = values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
                self.complete = true;
                self.everything = Some(Reason::Work);
            }
            Message::Changed(values, waiters) => {
                for (key, value) in values {
                    let unchanged = self.desired.get(&key) == value.as_ref();
                    match value {
                        Some(value) => self.desired.insert(key.clone(), value),
                        None => self.desired.remove(&key),
                    };
                    if !unchanged {
                        self.pending.insert(key);
                    }
                }
                self.taken += waiters.len() as u64;
                self.waiters.extend(waiters);
            }
            Message::Poke => {
                self.next_poked.get_or_insert_with(|| Instant::now() + self.settings.poke_delay);
            }
            Message::Look(look) => self.looks.push(look),
        }
    }

    /// Status stays as it is but for the writes: the plane is not in force before the complete view is.
    fn add_early(&mut self, values: Values<A::Key, A::Value>) {
        if self.complete {
            return;
        }
        let early = values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let report = self.apply.early(&early);
        for problem in &report.problems {
            tracing::debug!(plane = self.name, item = %problem.item, "too early: {}", problem.message);
        }
        if report.writes > 0 {
            tracing::info!(
                plane = self.name,
                writes = report.writes,
                "what a new node needs first was added"
            );
            self.publish.send_modify(|status| status.writes += report.writes);
        }
    }

    fn look_at_clock(&mut self) {
        let now = Instant::now();
        if !self.complete {
            // There is nothing yet to compare with; the first complete view looks at everything.
            self.next_verify = now + self.settings.verify_every;
            self.next_poked = None;
            return;
        }
        let look = [self.next_poked, Some(self.next_verify)].into_iter().flatten().any(|at| at <= now);
        let retry = self.next_retry.is_some_and(|at| at <= now);
        let asked = [(look, Reason::Look), (retry, Reason::Work)];
        let asked = asked.into_iter().filter_map(|(due, reason)| due.then_some(reason));
        self.everything = asked.chain(self.everything).max();
        self.next_poked = self.next_poked.filter(|at| *at > now);
        self.next_retry = self.next_retry.filter(|at| *at > now);
    }

    fn work(&mut self) {
        let pending = !self.pending.is_empty() || !self.waiters.is_empty();
        // Before everything was applied once, or while the plane does not work, keys alone say nothing.
        let whole = !self.publish.borrow().synced || self.publish.borrow().is_broken();
        if pending && !(whole && self.everything.is_some()) {
            let keys = std::mem::take(&mut self.pending);
            // With nothing touched, the last run has done what the waiters wait for.
            if !keys.is_empty() {
                self.run_for(&Scope::Keys(keys), Reason::Work);
            }
            self.answer();
        }
        if let Some(reason) = self.everything.take() {
            match reason {
                Reason::Look if !whole => self.look(),
                _ => {
                    self.pending.clear();
                    self.run_for(&Scope::Everything, reason);
                    self.answer();
                }
            }
        }
        self.tend();
    }

    /// A stream of changes does not put it off.
    fn tend(&mut self) {
        if self.next_tend.is_some_and(|at| at <= Instant::now()) {
            let started = Instant::now();
            if let Some(report) = self.apply.tend(&self.desired) {
                self.done(report, &Scope::Keys(BTreeSet::new()), Reason::Work, started);
            }
            self.next_tend = None;
        }
        let after = self.apply.tend_after();
        self.next_tend = after.map(|delay| self.next_tend.unwrap_or_else(|| Instant::now() + delay));
    }

    fn run_for(&mut self, scope: &Scope<A::Key>, reason: Reason) {
        let started = Instant::now();
        let report = self.apply.apply(&self.desired, scope);
        self.done(report, scope, reason, started);
    }

    /// Everything else is applied already. Who comes meanwhile does not wait for the end of it, within reason.
    fn look(&mut self) {
        let (started, taken, patient) = (Instant::now(), self.taken, self.given_up >= MOST_GIVEN_UP);
        let hurried = || !patient && *self.sent.borrow() > taken;
        let report = self.apply.look(&self.desired, &hurried);
        if let Some(report) = report {
            self.given_up = 0;
            self.done(report, &Scope::Everything, Reason::Look, started);
        } else {
            self.given_up += 1;
            self.next_poked = Some(Instant::now());
        }
    }

    fn done(&mut self, mut report: Report, scope: &Scope<A::Key>, reason: Reason, started: Instant) {
        report.repaired |= reason == Reason::Look && report.writes > 0;
        self.log(&report, scope);
        self.after(report, scope, started.elapsed());
    }

    fn after(&mut self, mut report: Report, scope: &Scope<A::Key>, duration: Duration) {
        match scope {
            Scope::Everything => {
                self.next_verify = Instant::now() + self.settings.verify_every;
                self.next_poked = None;
                self.next_retry = report.again.map(|delay| Instant::now() + delay);
                if report.problems.iter().any(|problem| problem.retry) {
                    self.next_retry = Some(Instant::now() + self.retry_delay);
                    self.retry_delay = (self.retry_delay * 2).min(self.settings.retry_most);
                } else {
                    self.retry_delay = self.settings.retry_first;
                }
            }
            Scope::Keys(keys) => {
                let kept = self.kept(keys, &report);
                // Whether the plane as a whole works again is seen by looking at everything. A stream of changes must
                // neither put that off nor make it more frequent.
                let whole = kept.iter().any(|problem| problem.item == self.name);
                report.problems.extend(kept);
                let again = report.problems.iter().any(|problem| problem.retry) || whole;
                let delay = if again { Some(self.retry_delay) } else { report.again };
                let asked = delay.map(|delay| Instant::now() + delay);
                self.next_retry = [self.next_retry, asked].into_iter().flatten().min();
            }
        }
        // Who waits for news of the plane waits for what is wrong, or for its first run; each run would wake them for nothing.
        self.publish.send_if_modified(|status| {
            let news = !status.synced || status.problems != report.problems;
            status.record(report, duration, SystemTime::now());
            news
        });
    }

    /// A run for some keys says nothing of the others: what was wrong with them still is.
    fn kept(&self, keys: &BTreeSet<A::Key>, report: &Report) -> Vec<Problem> {
        let items = keys.iter().filter_map(|key| self.apply.item(key));
        let judged: BTreeSet<String> = items.chain(report.judged.iter().cloned()).collect();
        let new = |old: &Problem| report.problems.iter().any(|new| new.item == old.item);
        let status = self.publish.borrow();
        status.problems.iter().filter(|old| !judged.contains(&old.item) && !new(old)).cloned().collect()
    }

    fn answer(&mut self) {
        let status = self.publish.borrow();
        for waiter in self.waiters.drain(..) {
            let problem = status
                .problems
                .iter()
                .find(|problem| problem.item == waiter.item || problem.item == self.name);
            let answer = problem.map_or(Ok(()), |problem| Err(problem.message.clone()));
            // One that no longer waits has timed out and said so itself.
            let _ = waiter.reply.send(answer);
        }
    }

    fn log(&self, report: &Report, scope: &Scope<A::Key>) {
        let keys = match scope {
            Scope::Everything => None,
            Scope::Keys(keys) => Some(keys.len()),
        };
        tracing::debug!(plane = self.name, ?keys, writes = report.writes, "applied");
        if report.repaired {
            tracing::warn!(
                plane = self.name,
                "somebody else changed what is ours in the kernel; it was put right"
            );
        }
        let known = self.publish.borrow();
        for problem in report.problems.iter().filter(|problem| !known.problems.contains(problem)) {
            tracing::warn!(plane = self.name, item = %problem.item, "{}", problem.message);
        }
    }
}
