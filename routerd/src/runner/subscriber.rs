//! The end of a plane that the cluster task holds.

use std::collections::BTreeSet;
use std::sync::mpsc::Sender;

use tokio::sync::{oneshot, watch};

use super::Plane;
use super::worker::{Message, Values};
use crate::cluster::source::Hold;
use crate::cluster::{Change, Index};

/// Somebody who waits until what a change touched is in the kernel.
#[derive(Debug)]
pub struct Waiter {
    /// The object whose problem would be the waiter's problem, as `Pod default/web-0`.
    pub item: String,
    /// The answer: committed, or why not.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// A plane as the cluster task sees it, whatever its keys and values are.
pub trait Subscriber: Send {
    /// The plane's name.
    fn name(&self) -> &'static str;

    /// A few objects are there before the first complete view, in an index that holds no others. Most planes wait.
    /// Who adds something for them keeps `hold` until that is done.
    fn early(&mut self, index: &Index, hold: Hold) {
        let _ = (index, hold);
    }

    /// The first complete view is there: computes everything. Until then the plane writes nothing, but for what
    /// [`Self::early`] adds.
    fn start(&mut self, index: &Index);

    /// Notes what `change` touches. `index` shows the state right after it: what the next change takes away (the policy
    /// that asks for a label, say) still tells what this one means. Nothing is computed before [`Self::changed`].
    fn note(&mut self, index: &Index, change: &Change) {
        let _ = (index, change);
    }

    /// Computes what `changes` touch, all of which were noted. `index` shows the state after all of them. Every waiter is
    /// answered after the commit, also if nothing was touched.
    fn changed(&mut self, index: &Index, changes: &[Change], waiters: Vec<Waiter>);
}

/// The pure half of a plane and the way to its worker.
pub(super) struct Handle<P: Plane> {
    pub(super) plane: P,
    pub(super) worker: Sender<Message<P::Key, P::Value>>,
    /// How many waiters were sent: a look at everything is given up for them.
    pub(super) sent: watch::Sender<u64>,
    /// What was noted, and of how many changes.
    pub(super) noted: (BTreeSet<P::Key>, usize),
}

impl<P: Plane> Handle<P> {
    fn values(&self, index: &Index, keys: BTreeSet<P::Key>) -> Values<P::Key, P::Value> {
        keys.into_iter()
            .map(|key| {
                let value = self.plane.desired(index, &key);
                (key, value)
            })
            .collect()
    }

    fn send(&self, message: Message<P::Key, P::Value>) {
        // The worker ends only with the process; its waiters then see a closed channel.
        if self.worker.send(message).is_err() {
            tracing::error!(plane = P::NAME, "the plane's thread is gone; restart routerd");
        }
    }
}

impl<P: Plane> Subscriber for Handle<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn early(&mut self, index: &Index, hold: Hold) {
        if P::EARLY {
            self.send(Message::Early(self.values(index, self.plane.keys(index)), hold));
        }
    }

    fn start(&mut self, index: &Index) {
        let values = self.values(index, self.plane.keys(index));
        self.send(Message::Complete(values));
    }

    fn note(&mut self, index: &Index, change: &Change) {
        let touched = self.plane.touched(index, change);
        self.noted.0.extend(touched);
        self.noted.1 += 1;
    }

    fn changed(&mut self, index: &Index, changes: &[Change], waiters: Vec<Waiter>) {
        let (mut keys, noted) = std::mem::take(&mut self.noted);
        if noted != changes.len() {
            keys.extend(changes.iter().flat_map(|change| self.plane.touched(index, change)));
        }
        if keys.is_empty() && waiters.is_empty() {
            return;
        }
        self.sent.send_modify(|sent| *sent += waiters.len() as u64);
        let values = self.values(index, keys);
        self.send(Message::Changed(values, waiters));
    }
}
