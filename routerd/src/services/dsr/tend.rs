//! What is to be done between changes: backends that have drained go, and what somebody else has taken out of IPVS comes
//! back. IPVS tells nobody of its changes, so it has to be looked at; of the rest the monitor tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kernel::ipvs::{DestinationEntry, Ipvs};
use kernel::{KernelError, Result};
use nix::errno::Errno;

use super::apply::{Applier, of_node};
use super::desired::{Key, Value};
use super::plan::Balanced;
use crate::runner::{Apply as _, Problem, Report, Scope};
use crate::services::draining::Draining;
use crate::services::state::Tuple;

/// The time between two looks if they cost next to nothing.
const PAUSE: Duration = Duration::from_millis(400);
/// The longest time between two looks: what somebody deletes is back within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(700);
/// How much longer the pause is than the look before it, within those bounds.
const SHARE: u32 = 50;

/// What a look has seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Something is not as it was left.
    pub(super) differs: bool,
    /// A backend has drained, or its time is over.
    pub(super) over: bool,
}

impl Applier {
    /// How long to wait for the next look, if there is anything to look at.
    pub(super) fn pause(&self) -> Option<Duration> {
        (!self.left.is_empty()).then(|| (self.cost * SHARE).clamp(PAUSE, LONGEST_PAUSE))
    }

    /// One look; `None`: all is as it should be.
    pub(super) fn round(&mut self, desired: &BTreeMap<Key, Value>) -> Option<Report> {
        if self.left.is_empty() {
            return None;
        }
        let started = Instant::now();
        let seen = look(&self.left, &mut self.draining, started);
        self.cost = started.elapsed();
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                let message = format!("direct return is not watched: {error}");
                let problems = vec![Problem { item: of_node(), message, retry: true }];
                return Some(Report { problems, ..Report::default() });
            }
        };
        if seen == Seen::default() {
            return None;
        }
        let mut report = self.apply(desired, &Scope::Everything);
        report.repaired = seen.differs && report.writes > 0;
        // All of it was judged anew.
        report.judged = desired.keys().filter_map(|key| self.item(key)).chain([of_node()]).collect();
        Some(report)
    }
}

fn look(left: &BTreeMap<Tuple, Balanced>, draining: &mut Draining, now: Instant) -> Result<Seen> {
    let mut ipvs = Ipvs::open()?;
    let mut seen = Seen::default();
    for (tuple, expected) in left {
        let found = read(&mut ipvs, expected)?;
        if let Some((_, entries)) = &found {
            seen.over |= drain(draining, *tuple, entries, now);
        }
        seen.differs |= found.is_none_or(|(found, _)| found != *expected);
    }
    Ok(seen)
}

/// The service as it is in the kernel, with its destinations; `None` if it is not there.
fn read(ipvs: &mut Ipvs, expected: &Balanced) -> Result<Option<(Balanced, Vec<DestinationEntry>)>> {
    let key = expected.service.key;
    let service = match ipvs.service(&key) {
        Ok(entry) => entry.service,
        Err(KernelError { errno: Errno::ESRCH, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let entries = ipvs.destinations(&key)?;
    Ok(Some((Balanced::of(service, &entries), entries)))
}

/// True if a backend that is kept has no connection any more, or its time is over.
fn drain(draining: &mut Draining, tuple: Tuple, entries: &[DestinationEntry], now: Instant) -> bool {
    let mut over = false;
    for entry in entries {
        let backend = (tuple, entry.destination.socket());
        if entry.active_connections + entry.inactive_connections == 0 && draining.drains(&backend) {
            draining.end(backend, now);
        }
        over |= draining.is_over(&backend, now);
    }
    over
}
