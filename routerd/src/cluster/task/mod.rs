//! The one task that owns the index: takes in what sources, plugin and BGP say, and hands each plane what it touches.
//!
//! ```text
//!   sources ──► inbox ──► Index::apply ──► changes ──► every plane's Subscriber
//!   plugin  ──►  (drained whole, so that many events are one batch)   │
//!   BGP     ──►                                                       └─► waiters answered after the policy commit
//! ```

mod handle;
mod state;
#[cfg(test)]
mod tests;

pub use handle::{AttachError, Handle, WAITS_AT_MOST};
pub use state::PodLookup;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use self::handle::Input;
use self::state::State;
use super::source::SourceMessage;
use super::status::ClusterStatus;
use crate::runner::Subscriber;

/// Messages under way before a sender has to wait.
const INBOX: usize = 1024;
/// Messages taken in before the planes are told, so that a flood of events does not delay them for ever.
const BATCH: usize = 4096;

/// What the task is made from.
pub struct Settings {
    /// The name of this node.
    pub node_name: String,
    /// Where the view comes from, for status.
    pub source: String,
    /// How long an ADD waits for a pod that no source has shown, though the view of the cluster is complete.
    pub patience: Duration,
}

/// The planes that are told of changes.
#[derive(Default)]
pub struct Planes {
    /// The one whose commit an ADD waits for: policy. Without it an ADD waits for nothing.
    pub gate: Option<Box<dyn Subscriber>>,
    /// The others.
    pub others: Vec<Box<dyn Subscriber>>,
}

/// The task, not yet running.
pub struct Task {
    state: State,
    inbox: mpsc::Receiver<Input>,
    sources: mpsc::Receiver<SourceMessage>,
}

/// The ways to talk with the task.
pub struct Ends {
    /// For the plugin's socket and for BGP.
    pub handle: Handle,
    /// For the source.
    pub source: mpsc::Sender<SourceMessage>,
    /// For the administration.
    pub status: watch::Receiver<ClusterStatus>,
}

impl Task {
    /// A task with an empty index, and the ways to it. The source's sender must be dropped by whoever does not use it.
    pub fn new(settings: Settings) -> (Self, Ends) {
        let (input, inbox) = mpsc::channel(INBOX);
        let (source, sources) = mpsc::channel(INBOX);
        let (state, status) = State::new(settings);
        (Self { state, inbox, sources }, Ends { handle: Handle::new(input), source, status })
    }

    /// Adds the planes. Separate from [`Task::new`], because planes are made with a [`Handle`].
    #[must_use]
    pub fn with_planes(mut self, planes: Planes) -> Self {
        self.state.planes = planes;
        self
    }

    /// Pods in the host's network are peers of policies by their node's addresses.
    #[must_use]
    pub fn matching_host_pods(mut self, yes: bool) -> Self {
        self.state.match_host_pods(yes);
        self
    }

    /// Sets how long an ADD waits for the first complete view. Without it as long as for a pod.
    #[must_use]
    pub fn waiting_for_the_view(mut self, patience: Duration) -> Self {
        self.state.view_patience = patience;
        self
    }

    /// Adds a way to ask for a pod that the watch has not shown yet. Without it an ADD waits for the watch.
    #[must_use]
    pub fn with_lookup(mut self, lookup: Box<dyn PodLookup>) -> Self {
        self.state.lookup = Some(lookup);
        self
    }

    /// Runs until every [`Handle`] and the source are gone.
    pub async fn run(mut self) {
        let mut batch = VecDeque::new();
        loop {
            let deadline = self.state.next_deadline();
            tokio::select! {
                Some(input) = self.inbox.recv() => batch.push_back(input),
                Some(message) = self.sources.recv() => batch.push_back(Input::Source(message)),
                () = sleep_until(deadline) => {}
                else => return,
            }
            self.drain(&mut batch);
            for input in batch.drain(..) {
                self.state.take(input);
            }
            self.state.settle(Instant::now());
        }
    }

    fn drain(&mut self, batch: &mut VecDeque<Input>) {
        while batch.len() < BATCH {
            if let Ok(message) = self.sources.try_recv() {
                batch.push_back(Input::Source(message));
            } else if let Ok(input) = self.inbox.try_recv() {
                batch.push_back(input);
            } else {
                return;
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
