//! Chance, so that many speakers do not act in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A source of factors between 0.75 and 1 (RFC 4271 §10). `RandomState` is seeded by the system and saves a crate.
#[derive(Debug, Default)]
pub(super) struct Jitter {
    state: RandomState,
    count: u64,
}

impl Jitter {
    /// A duration between three quarters of `time` and `time`.
    pub(super) fn shorten(&mut self, time: Duration) -> Duration {
        self.count += 1;
        // Sixteen bits are more than a timer needs.
        let [high, low, ..] = self.state.hash_one(self.count).to_be_bytes();
        let part = u32::from(u16::from_be_bytes([high, low]));
        time.saturating_sub(time / 4 * part / 65536)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_vary_within_the_last_quarter() {
        let mut jitter = Jitter::default();
        let time = Duration::from_secs(8);
        let all: std::collections::BTreeSet<_> = (0..50).map(|_| jitter.shorten(time)).collect();
        assert!(all.len() > 20 && all.iter().all(|one| (Duration::from_secs(6)..=time).contains(one)));
    }
}
