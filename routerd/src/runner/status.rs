//! What a plane says of itself.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Problem, Report};
use crate::latency::Latency;

/// The state of a plane, as `routerd status`, `/readyz` and the metrics show it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// The plane's name.
    pub name: &'static str,
    /// How often it was applied.
    pub runs: u64,
    /// Kernel writes since the start.
    pub writes: u64,
    /// How often something that others had changed was put right.
    pub repairs: u64,
    /// How long the last run took.
    pub last_duration: Duration,
    /// How long runs took.
    pub durations: Latency,
    /// When a run last ended without a problem.
    pub last_success: Option<SystemTime>,
    /// True once the complete view was applied, whatever problems single objects had.
    pub synced: bool,
    /// Objects it holds, by kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// What could not be done in the last run.
    pub problems: Vec<Problem>,
}

impl Status {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn record(&mut self, report: Report, duration: Duration, now: SystemTime) {
        self.runs += 1;
        self.writes += report.writes;
        self.repairs += u64::from(report.repaired);
        self.record_duration(duration);
        self.synced = true;
        self.counts = report.counts;
        self.problems = report.problems;
        if self.problems.is_empty() {
            self.last_success = Some(now);
        }
    }

    /// Takes in how long a run took.
    pub(crate) fn record_duration(&mut self, duration: Duration) {
        self.last_duration = duration;
        self.durations.observe(duration);
    }

    /// True if the plane as a whole does not work, as on a kernel without IPVS.
    pub fn is_broken(&self) -> bool {
        self.problems.iter().any(|problem| problem.item == self.name)
    }
}
