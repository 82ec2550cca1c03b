//! Chance, so that many speakers do not act in step. `RandomState` is seeded by the system and saves a crate.

use std::hash::{BuildHasher, RandomState};

/// A source of numbers that nobody foresees, good enough for timers and identifiers.
#[derive(Debug, Default)]
pub(crate) struct Chance {
    state: RandomState,
    count: u64,
}

impl Chance {
    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.count += 1;
        self.state.hash_one(self.count)
    }

    /// A number from 0 to below 1. Sixteen bits are more than a timer needs.
    pub(crate) fn part(&mut self) -> f64 {
        let [high, low, ..] = self.number().to_be_bytes();
        f64::from(u16::from_be_bytes([high, low])) / 65536.0
    }
}
