//! The task that reads, keeps the last lines, and serves those who ask.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kernel::nflog::Entry;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::counters::{Counters, Totals};
use super::ear::{self, Heard};
use super::entry::Raw;
use super::line::Line;
use super::names;
use super::status::DropsStatus;
use crate::cluster::task::Handle;

/// Lines that are kept for who asks later, about half a megabyte.
const KEPT: usize = 1024;
/// Lines that may wait for who follows.
const WAITING: usize = 1024;
/// Questions that may wait.
const QUESTIONS: usize = 64;
/// The kernel's counters are read at most so often, whoever asks.
const COUNT_AT_MOST_EVERY: Duration = Duration::from_millis(500);
/// How long an answer may take, before the question is given up.
const PATIENCE: Duration = Duration::from_secs(4);

/// The last lines, and those that come after them.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) first: Vec<Line>,
    pub(super) following: broadcast::Receiver<Line>,
}

#[derive(Debug)]
enum Question {
    Lines(usize, oneshot::Sender<Subscription>),
    Totals(oneshot::Sender<Arc<Totals>>),
}

/// The way to refused packets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drops {
    questions: Option<mpsc::Sender<Question>>,
    status: watch::Receiver<DropsStatus>,
}

impl Drops {
    /// Where no policies are enforced.
    pub fn none() -> Self {
        Self { questions: None, status: watch::channel(DropsStatus::default()).1 }
    }

    /// Starts the thread and the task. They run as long as the process.
    pub fn spawn(cluster: Handle) -> std::io::Result<Self> {
        Ok(Self::hearing(ear::spawn()?, cluster))
    }

    /// Starts the task alone, on what a thread hears.
    pub(super) fn hearing(heard: mpsc::Receiver<Heard>, cluster: Handle) -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (status, receiver) = watch::channel(DropsStatus::default());
        let desk = Desk {
            cluster,
            kept: VecDeque::new(),
            followers: broadcast::Sender::new(WAITING),
            status,
            totals: Arc::default(),
            counted: None,
        };
        tokio::spawn(desk.run(heard, asked));
        Self { questions: Some(questions), status: receiver }
    }

    /// The state of the reader.
    pub fn status(&self) -> DropsStatus {
        self.status.borrow().clone()
    }

    /// What was refused so far; `None` where no policies are enforced, and if it takes too long.
    pub async fn totals(&self) -> Option<Arc<Totals>> {
        self.ask(Question::Totals).await
    }

    /// The last lines, `most` of them, and those that come.
    pub(super) async fn subscribe(&self, most: usize) -> Option<Subscription> {
        self.ask(|reply| Question::Lines(most, reply)).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.questions.as_ref()?.send(question(reply)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
    }

    /// False where no policies are enforced.
    pub(super) fn is_there(&self) -> bool {
        self.questions.is_some()
    }
}

struct Desk {
    cluster: Handle,
    kept: VecDeque<Line>,
    followers: broadcast::Sender<Line>,
    status: watch::Sender<DropsStatus>,
    totals: Arc<Totals>,
    counted: Option<Instant>,
}

impl Desk {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard>, mut asked: mpsc::Receiver<Question>) {
        loop {
            tokio::select! {
                Some(heard) = heard.recv() => self.hear(heard).await,
                Some(question) = asked.recv() => self.answer(question).await,
                else => return,
            }
        }
    }

    async fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Begin => self.status.send_modify(|status| {
                status.reading = true;
                status.problem.clear();
            }),
            Heard::Deaf(problem) => {
                if self.status.borrow().problem == problem {
                    return;
                }
                tracing::warn!("{problem}");
                self.tell(Line::notice(&problem));
                self.status.send_modify(|status| {
                    status.reading = false;
                    status.problem = problem;
                });
            }
            Heard::Entries(entries) => self.show(entries).await,
        }
    }

    async fn show(&mut self, entries: Vec<Entry>) {
        let now = SystemTime::now();
        let understood = |entry: &Entry| match entry {
            Entry::Lost(lost) => Some(Err(u64::from(*lost))),
            // Another's rule may log to the group.
            Entry::Packet(packet) => Raw::new(packet, now).map(Ok),
        };
        let read: Vec<Result<Raw, u64>> = entries.iter().filter_map(understood).collect();
        let addresses = read.iter().flatten().flat_map(Raw::addresses).collect();
        let names = names::ask(&self.cluster, addresses).await;
        for one in read {
            match one {
                Ok(raw) => {
                    self.status.send_modify(|status| status.read += 1);
                    let refused = raw.named(|address| names.get(&address).cloned());
                    self.tell(Line::refused(&refused));
                }
                Err(lost) => {
                    self.status.send_modify(|status| status.lost += lost);
                    self.tell(Line::lost_by_routerd(lost));
                }
            }
        }
    }

    fn tell(&mut self, line: Line) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line.clone());
        // Nobody may be following.
        let _ = self.followers.send(line);
    }

    async fn answer(&mut self, question: Question) {
        // Who asked may have lost patience.
        match question {
            Question::Lines(most, reply) => {
                let first = self.kept.len().saturating_sub(most);
                let first = self.kept.iter().skip(first).cloned().collect();
                let _ = reply.send(Subscription { first, following: self.followers.subscribe() });
            }
            Question::Totals(reply) => {
                self.count().await;
                let _ = reply.send(Arc::clone(&self.totals));
            }
        }
    }

    async fn count(&mut self) {
        if self.counted.is_some_and(|at| at.elapsed() < COUNT_AT_MOST_EVERY) {
            return;
        }
        match tokio::task::spawn_blocking(Counters::read).await {
            Ok(Ok(counters)) => {
                let names = names::ask(&self.cluster, counters.addresses()).await;
                self.totals = Arc::new(counters.sum(&names));
                self.counted = Some(Instant::now());
            }
            Ok(Err(error)) => tracing::warn!(%error, "the counters of refused packets cannot be read"),
            Err(error) => tracing::error!(%error, "a bug of routerd: reading counters has panicked"),
        }
    }
}
