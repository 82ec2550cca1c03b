//! What an operator sees of the janitor.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::free::Freed;

/// So many of the things that were freed last are shown.
const MOST_SHOWN: usize = 20;

/// Addresses of one family of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// The network's name.
    pub network: String,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Addresses that no pod has. At most 2^63 - 1, which stands for more.
    pub free: u64,
    /// Addresses that pods have.
    pub used: u64,
}

/// What the janitor did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JanitorStatus {
    /// How often it looked.
    pub runs: u64,
    /// How long the last look took, in milliseconds.
    pub last_duration_ms: f64,
    /// Things without a sign of life that are waited for.
    pub suspects: u64,
    /// What was freed since the start, by kind.
    pub freed: BTreeMap<&'static str, u64>,
    /// How many of the shared chains and sets of the plugin's tables were missing or changed, and mended.
    pub mended: u64,
    /// What was freed last.
    pub last_freed: VecDeque<String>,
    /// What kept it from its work at the last look.
    pub problems: Vec<String>,
    /// Addresses of our networks.
    pub pools: Vec<Pool>,
}

impl JanitorStatus {
    pub(super) fn record(&mut self, freed: &[Freed], suspects: u64, problems: Vec<String>, took: Duration) {
        self.runs += 1;
        self.last_duration_ms = took.as_secs_f64() * 1000.0;
        self.suspects = suspects;
        self.problems = problems;
        for one in freed {
            *self.freed.entry(one.kind.as_str()).or_default() += 1;
            self.last_freed.push_back(one.name.clone());
        }
        let surplus = self.last_freed.len().saturating_sub(MOST_SHOWN);
        self.last_freed.drain(..surplus);
    }
}
