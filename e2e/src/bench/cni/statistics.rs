//! Figures of several measurements.

use std::time::Duration;

/// Times of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that this share of them did not exceed, in milliseconds (nearest rank).
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The mean in milliseconds.
    pub(super) fn mean(&self) -> f64 {
        let sum: Duration = self.0.iter().sum();
        sum.as_secs_f64() * 1000.0 / f64::from(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut times = Times::default();
        for ms in (1..=100).rev() {
            times.push(Duration::from_millis(ms));
        }
        assert!((times.percentile(50) - 50.0).abs() < 1e-9);
        assert!((times.percentile(99) - 99.0).abs() < 1e-9);
        assert!((times.percentile(100) - 100.0).abs() < 1e-9);
        assert!((times.mean() - 50.5).abs() < 1e-9);
        assert!(Times::default().percentile(50).is_nan());
    }
}
