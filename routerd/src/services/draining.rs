//! Backends that are no longer wanted and keep their connections for a while (`--ipvs-graceful-termination`).
//!
//! What drains is what the kernel has beyond what is wanted: a restart finds it there and begins its time anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kernel::ipvs::{Command, Destination};

use super::plan::{Extent, Plan, UDP};
use super::state::{State, Tuple, Weight};

/// A virtual service and a backend of it.
pub(super) type Backend = (Tuple, SocketAddr);

/// Who drains, and until when at most.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// `--ipvs-graceful-period`; `None`: nobody drains.
    period: Option<Duration>,
    until: BTreeMap<Backend, Instant>,
}

impl Draining {
    /// With at most `period` for each; `None`: at once.
    pub(super) fn new(period: Option<Duration>) -> Self {
        Self { period, until: BTreeMap::new() }
    }

    /// The virtual services with backends that drain.
    pub(super) fn tuples(&self) -> BTreeSet<Tuple> {
        self.until.keys().map(|(tuple, _)| *tuple).collect()
    }

    /// True if it drains.
    pub(super) fn drains(&self, backend: &Backend) -> bool {
        self.until.contains_key(backend)
    }

    /// True if its time is over.
    pub(super) fn is_over(&self, backend: &Backend, now: Instant) -> bool {
        self.until.get(backend).is_some_and(|until| *until <= now)
    }

    /// It has nothing left to drain.
    pub(super) fn end(&mut self, backend: Backend, now: Instant) {
        self.until.insert(backend, now);
    }

    /// True if a backend that is no longer wanted is kept for now.
    ///
    /// Not so for UDP: it has no connections whose end could be awaited, and a client would send to nobody meanwhile.
    pub(super) fn keeps(&self, backend: &Backend, now: Instant) -> bool {
        self.period.is_some() && backend.0.protocol != UDP && !self.is_over(backend, now)
    }

    /// These are kept, and of the virtual services that were `judged` no others.
    pub(super) fn settle(&mut self, kept: BTreeSet<Backend>, judged: impl Fn(&Tuple) -> bool, now: Instant) {
        self.until.retain(|backend, _| kept.contains(backend) || !judged(&backend.0));
        for backend in kept {
            self.until.entry(backend).or_insert(now + self.period.unwrap_or_default());
        }
    }

    /// Makes the plan give backends weight 0 that it would delete, as long as they drain.
    pub(super) fn spare(&mut self, plan: &mut Plan, kernel: &State, extent: &Extent, now: Instant) {
        let mut kept = BTreeSet::new();
        plan.balance.retain_mut(|command| {
            let Some((backend, weight)) = deleted(command, kernel) else { return true };
            if !self.keeps(&backend, now) {
                return true;
            }
            kept.insert(backend);
            let drained = Destination::masquerade(backend.1.ip(), backend.1.port(), 0);
            *command = Command::SetDestination(backend.0.key(), drained);
            weight != Some(0)
        });
        let judged = |tuple: &Tuple| match extent {
            Extent::Everything => true,
            Extent::Only(touched) => touched.tuples.contains(tuple),
        };
        self.settle(kept, judged, now);
    }
}

/// The backend that a command deletes, as the kernel has it.
fn deleted(command: &Command, kernel: &State) -> Option<(Backend, Weight)> {
    let Command::DeleteDestination(key, socket) = command else { return None };
    let tuple = Tuple::of(key)?;
    let found = kernel.services.get(&tuple)?.destinations.get(socket)?;
    Some(((tuple, *socket), *found))
}
