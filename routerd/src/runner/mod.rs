//! What every plane is, and the loop that runs it.
//!
//! ```text
//!   cluster task (owns the Index)                       a thread of the plane's own
//!   Subscriber: Change -> touched keys -> desired  ──►  worker: merge, Apply::apply, Status
//!                                                  ◄──  replies to whoever waits for the commit
//! ```

mod status;
mod subscriber;
#[cfg(test)]
mod tests;
mod window;
mod worker;

pub use status::Status;
pub use subscriber::{Subscriber, Waiter};
pub use window::{Held, Window};
pub use worker::{Poker, Settings, Spawned, WithWindow, spawn, spawn_with_window};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use crate::cluster::{Change, Index};
use crate::ruleset::Ruleset;

/// The pure half of a plane: from the index to what should be, key by key. It runs in the task that owns the index
/// and must not block.
pub trait Plane: Send + 'static {
    /// The plane's name in status, metrics and log.
    const NAME: &'static str;
    /// Something of its work can be done before the first complete view; see [`Apply::early`].
    const EARLY: bool = false;
    /// What its work is divided by, as a Service's name or a prefix.
    type Key: Clone + Ord + Debug + Send + 'static;
    /// What should be in the kernel for a key.
    type Value: Clone + PartialEq + Debug + Send + 'static;

    /// Every key that may have a value.
    fn keys(&self, index: &Index) -> BTreeSet<Self::Key>;
    /// The keys whose value `change` may have changed; the index shows the state right after it.
    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Self::Key>;
    /// What should be for `key`; `None` if nothing.
    fn desired(&self, index: &Index, key: &Self::Key) -> Option<Self::Value>;
}

/// What of the desired state is to be brought into the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope<K> {
    /// All of it: read the kernel back, compare, repair. At start, on a timer, and when somebody else changed something.
    Everything,
    /// Only these keys changed since the last call.
    Keys(BTreeSet<K>),
}

/// One thing that could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object it concerns, as `Service default/web`, `Pod default/web-0` or `route 10.244.2.0/24`; the plane's own
    /// name if it concerns all of it.
    pub item: String,
    /// What was tried, why it failed and what to do.
    pub message: String,
    /// Worth trying again soon (a refused kernel call), or only after the object changes (a bad field).
    pub retry: bool,
}

/// What one run of [`Apply::apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Kernel writes; an unchanged state has none.
    pub writes: u64,
    /// Objects the plane holds, by kind, for status and metrics, as `services: 12`.
    pub counts: BTreeMap<&'static str, u64>,
    /// What could not be done. The rest was.
    pub problems: Vec<Problem>,
    /// Items of other keys than those of the scope that were judged as well: what an earlier run said of them is over
    /// unless `problems` says it again.
    pub judged: BTreeSet<String>,
    /// Something that others had changed was put right. For a plane that can tell; if a run that nobody's change and no
    /// retry asked for has writes, that is known without it.
    pub repaired: bool,
    /// Look at everything again after this time, though nothing is wrong: something is kept until then.
    pub again: Option<Duration>,
}

/// The half of a plane that writes to the kernel, on a thread of its own.
pub trait Apply: Send + 'static {
    /// The plane's key.
    type Key: Clone + Ord + Debug + Send + 'static;
    /// The plane's value.
    type Value: Clone + PartialEq + Debug + Send + 'static;

    /// Makes the kernel hold `desired`, as far as `scope` says. It never fails as a whole: what cannot be done is a
    /// [`Problem`] and the rest goes on.
    fn apply(&mut self, desired: &BTreeMap<Self::Key, Self::Value>, scope: &Scope<Self::Key>) -> Report;

    /// Adds to the kernel what of `desired` a new node cannot do without. This comes before the first complete view, so
    /// `desired` is a small part: what is not in it may be wanted all the same. Nothing may be removed or changed.
    fn early(&mut self, desired: &BTreeMap<Self::Key, Self::Value>) -> Report {
        let _ = desired;
        Report::default()
    }

    /// Looks if the kernel still holds all of `desired`, which was applied before, and repairs it. `None`: `hurried` says
    /// that somebody waits for something else, and nothing was written; it is asked again after that.
    fn look(
        &mut self,
        desired: &BTreeMap<Self::Key, Self::Value>,
        hurried: &dyn Fn() -> bool,
    ) -> Option<Report> {
        let _ = hurried;
        Some(self.apply(desired, &Scope::Everything))
    }

    /// What is to be done from time to time between runs though nothing changed, as ending what was only kept for a
    /// while, or looking at what the kernel tells no changes of. `None`: there was nothing to do.
    fn tend(&mut self, desired: &BTreeMap<Self::Key, Self::Value>) -> Option<Report> {
        let _ = desired;
        None
    }

    /// How long after a run or a [`Apply::tend`] the next one is due; `None`: never.
    fn tend_after(&self) -> Option<Duration> {
        None
    }

    /// The [`Problem::item`] that problems of `key` are reported under. A run that has judged the key without finding a
    /// problem then clears what an earlier run said of it; without an item it stays until everything is looked at.
    fn item(&self, key: &Self::Key) -> Option<String> {
        let _ = key;
        None
    }

    /// The plane's part of the nft table as it was last written, for whoever compares it with the kernel.
    fn wanted(&self) -> Option<Ruleset> {
        None
    }
}
