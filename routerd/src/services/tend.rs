//! What is to be done between changes: backends that have drained go, and what somebody else has taken out of IPVS comes
//! back. IPVS tells nobody of its changes, so it has to be looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
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
/// The longest time between two looks: what somebody deletes is back within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(700);
/// How much longer the pause is than the look before it, within those bounds: what share of a CPU looking costs.
const SHARE: u32 = 50;
/// The same for a look that the kernel answers with a message for each virtual service.
const SHARE_OF_DUMPS: u32 = 200;
/// The longest time between two of those.
const LONGEST_PAUSE_OF_DUMPS: Duration = Duration::from_secs(30);
/// How long one look may read backends; the next one goes on where it ended.
const READING: Duration = Duration::from_millis(2);

/// How far looking has come.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The virtual service whose backends were read last.
    at: Option<Tuple>,
    /// What the last look cost.
    cost: Duration,
    /// What the last glance saw, if that was as it should be.
    seen: Option<u64>,
    /// Not before this time all are dumped again.
    next_dump: Option<Instant>,
}

impl Round {
    /// How long to wait for the next look.
    pub(super) fn pause(&self) -> Duration {
        (self.cost * SHARE).clamp(PAUSE, LONGEST_PAUSE)
    }
}

/// Of all virtual services together, in any order; the numbers of two that differ are the same by chance only.
fn digest<'a>(all: impl Iterator<Item = (&'a Tuple, Option<Scheduling>, usize)>) -> u64 {
    all.map(|one| BuildHasherDefault::<DefaultHasher>::default().hash_one(one)).fold(0, u64::wrapping_add)
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
        let glance = self.glance(known);
        // A kernel without the interface for that has all of them dumped.
        let everything = glance.is_err();
        let mut missed = glance.unwrap_or_default();
        missed.extend(self.dump(known, everything)?);
        let started = Instant::now();
        while let Some(tuple) = self.next() {
            if self.reread(known, tuple)? {
                missed.insert(tuple);
            }
            if started.elapsed() > READING {
                break;
            }
        }
        Ok(missed)
    }

    /// Looks at the IPv4 ones, each with the number of its backends.
    fn glance(&mut self, known: &mut State) -> Result<BTreeSet<Tuple>, KernelError> {
        let mut seen = 0_u64;
        self.kernel.headings(&mut |tuple, scheduling, backends| {
            seen = seen.wrapping_add(digest(std::iter::once((&tuple, scheduling, backends))));
        })?;
        if self.round.seen == Some(seen) {
            return Ok(BTreeSet::new());
        }
        let of_ipv4 = known.services.iter().filter(|(tuple, _)| tuple.address.is_ipv4());
        let expected = of_ipv4.map(|(tuple, one)| (tuple, one.scheduling, one.destinations.len()));
        let mut missed = BTreeSet::new();
        // Ours may all be there and others have come or gone.
        if digest(expected) != seen {
            let mut found = BTreeMap::new();
            self.kernel.headings(&mut |tuple, scheduling, backends| {
                found.insert(tuple, (scheduling, Some(backends)));
            })?;
            missed = self.compare(known, &mut found, |tuple| tuple.address.is_ipv4())?;
        }
        self.round.seen = missed.is_empty().then_some(seen);
        Ok(missed)
    }

    /// Has the kernel tell of each by a message, if it is time for that: those of IPv6, or all of them.
    fn dump(&mut self, known: &mut State, everything: bool) -> Result<BTreeSet<Tuple>, KernelError> {
        let last = self.wanted.state().services.last_key_value();
        let needed = everything || last.is_some_and(|(tuple, _)| tuple.address.is_ipv6());
        let started = Instant::now();
        if !needed || self.round.next_dump.is_some_and(|at| started < at) {
            return Ok(BTreeSet::new());
        }
        let found = self.kernel.services()?;
        let found = found.iter().map(|service| (Tuple::of(&service.key), Scheduling::of_kernel(service)));
        let mut found: BTreeMap<Tuple, _> =
            found.filter_map(|(tuple, scheduling)| Some((tuple?, (scheduling, None)))).collect();
        let missed = self.compare(known, &mut found, |tuple| everything || tuple.address.is_ipv6())?;
        let pause = (started.elapsed() * SHARE_OF_DUMPS).min(LONGEST_PAUSE_OF_DUMPS);
        self.round.next_dump = Some(Instant::now() + pause);
        Ok(missed)
    }

    /// Those of ours that are not as they were `found`, which takes them out of that.
    fn compare(
        &mut self,
        known: &mut State,
        found: &mut BTreeMap<Tuple, (Option<Scheduling>, Option<usize>)>,
        judged: impl Fn(&Tuple) -> bool,
    ) -> Result<BTreeSet<Tuple>, KernelError> {
        let mut missed = BTreeSet::new();
        let mut other_backends = Vec::new();
        for tuple in self.wanted.state().services.keys().filter(|tuple| judged(tuple)) {
            match (known.services.get_mut(tuple), found.remove(tuple)) {
                (Some(balanced), Some((scheduling, backends))) => {
                    if backends.is_some_and(|number| number != balanced.destinations.len()) {
                        other_backends.push(*tuple);
                    }
                    if balanced.scheduling == scheduling {
                        continue;
                    }
                    Arc::make_mut(balanced).scheduling = scheduling;
                }
                (Some(_), None) => _ = known.services.remove(tuple),
                _ => continue,
            }
            missed.insert(*tuple);
        }
        for tuple in other_backends {
            self.reread(known, tuple)?;
            missed.insert(tuple);
        }
        Ok(missed)
    }

    /// Reads the backends of a virtual service; true if they are not as `known` says, which then says how they are.
    fn reread(&mut self, known: &mut State, tuple: Tuple) -> Result<bool, KernelError> {
        let Some(balanced) = known.services.get_mut(&tuple) else { return Ok(false) };
        let found = self.kernel.backends(&tuple)?;
        let found: Few<SocketAddr, Weight> =
            found.iter().map(|(found, _)| (found.socket(), weight_of(found))).collect();
        let differs = balanced.destinations != found;
        if differs {
            Arc::make_mut(balanced).destinations = found;
        }
        Ok(differs)
    }

    /// The next virtual service of the round; `None` once at its end.
    fn next(&mut self) -> Option<Tuple> {
        let from = self.round.at.map_or(Bound::Unbounded, Bound::Excluded);
        self.round.at =
            self.wanted.state().services.range((from, Bound::Unbounded)).next().map(|(at, _)| *at);
        self.round.at
    }
}
