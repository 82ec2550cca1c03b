//! Timers that do not run in step with those of other speakers.

use std::time::Duration;

use crate::chance::Chance;

/// A source of factors between 0.75 and 1 (RFC 4271 §10).
#[derive(Debug, Default)]
pub(super) struct Jitter(Chance);

impl Jitter {
    /// A duration between three quarters of `time` and `time`.
    pub(super) fn shorten(&mut self, time: Duration) -> Duration {
        time.saturating_sub((time / 4).mul_f64(self.0.part()))
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
