//! What is to be done between changes: backends that have drained go, and what somebody else has taken out of IPVS comes
//! back. IPVS tells nobody of its changes, so it has to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::KernelError;

use super::apply::{Applier, Kernel};
use super::execute::Known;
use super::plan::Extent;
use super::scheduling::Scheduling;
use super::state::{State, Tuple, Weight, weight_of};
use super::wanted::Touched;
use super::{Few, status};
use crate::runner::Report;

/// The time between two looks if they cost next to nothing.
const PAUSE: Duration = Duration::from_millis(400);
/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much longer the pause is than the look before it: what share of a CPU looking costs.
const SHARE: u32 = 200;
/// How long one look may read backends; the next one goes on where it ended.
const READING: Duration = Duration::from_millis(2);

/// How far looking has come.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The virtual service whose backends were read last.
    at: Option<Tuple>,
    /// What the last look cost.
    cost: Duration,
}

impl Round {
    /// How long to wait for the next look.
    pub(super) fn pause(&self) -> Duration {
        (self.cost * SHARE).clamp(PAUSE, LONGEST_PAUSE)
    }
}

impl<K: Kernel> Applier<K> {
    /// One look; `None`: all is as it should be.
    pub(super) fn round(&mut self) -> Option<Report> {
        let started = Instant::now();
        let mut known = self.known.take()?;
        let mut report = Report::default();
        let found = self.drained().and_then(|drained| Ok((drained, self.missed(&mut known)?)));
        let outcome = match found {
            Ok((drained, missed)) if drained.is_empty() && missed.is_empty() => {
                self.known = Some(known);
                None
            }
            Ok((drained, missed)) => {
                report.repaired = !missed.is_empty();
                let tuples = drained.union(&missed).copied().collect();
                let mut known = Known::new(known);
                self.run(&mut known, &Extent::Only(Touched { tuples, ..Touched::default() }), &mut report);
                self.known = known.state();
                report.counts = status::counts(&self.wanted);
                Some(report)
            }
            Err(error) => {
                report.problems.push(status::of_plane(error.to_string(), true));
                report.counts = status::counts(&self.wanted);
                Some(report)
            }
        };
        self.round.cost = started.elapsed();
        outcome
    }

    /// The virtual services with backends that have no connection any more, or whose time is over.
    fn drained(&mut self) -> Result<BTreeSet<Tuple>, KernelError> {
        let mut drained = BTreeSet::new();
        for tuple in self.draining.tuples() {
            let now = Instant::now();
            for (destination, connections) in self.kernel.backends(&tuple)? {
                let backend = (tuple, destination.socket());
                if connections == 0 && self.draining.drains(&backend) {
                    self.draining.end(backend, now);
                }
                if self.draining.is_over(&backend, now) {
                    drained.insert(tuple);
                }
            }
        }
        Ok(drained)
    }

    /// The virtual services of ours that are not as `known` says; it then says how they are.
    fn missed(&mut self, known: &mut State) -> Result<BTreeSet<Tuple>, KernelError> {
        let found = self.kernel.services()?;
        let schedulings =
            found.iter().map(|service| (Tuple::of(&service.key), Scheduling::of_kernel(service)));
        let mut found: BTreeMap<Tuple, _> =
            schedulings.filter_map(|(tuple, scheduling)| Some((tuple?, scheduling))).collect();
        let mut missed = BTreeSet::new();
        for tuple in self.wanted.state().services.keys() {
            match (known.services.get_mut(tuple), found.remove(tuple)) {
                (Some(balanced), Some(scheduling)) if balanced.scheduling != scheduling => {
                    Arc::make_mut(balanced).scheduling = scheduling;
                }
                (Some(_), None) => _ = known.services.remove(tuple),
                _ => continue,
            }
            missed.insert(*tuple);
        }
        let started = Instant::now();
        while let Some(tuple) = self.next() {
            let Some(balanced) = known.services.get_mut(&tuple) else { continue };
            let found = self.kernel.backends(&tuple)?;
            let found: Few<SocketAddr, Weight> =
                found.iter().map(|(found, _)| (found.socket(), weight_of(found))).collect();
            if balanced.destinations != found {
                Arc::make_mut(balanced).destinations = found;
                missed.insert(tuple);
            }
            if started.elapsed() > READING {
                break;
            }
        }
        Ok(missed)
    }

    /// The next virtual service of the round; `None` once at its end.
    fn next(&mut self) -> Option<Tuple> {
        let from = self.round.at.map_or(Bound::Unbounded, Bound::Excluded);
        self.round.at =
            self.wanted.state().services.range((from, Bound::Unbounded)).next().map(|(at, _)| *at);
        self.round.at
    }
}
