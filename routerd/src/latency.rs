//! How long something takes, counted in classes.

use std::time::Duration;

use serde::Serialize;

/// Upper bounds of the classes, in seconds.
pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// How long something took each time that it was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
    /// The longest one in seconds.
    pub most_seconds: f64,
    /// How many fell into each class of [`BOUNDS`]; the last one is what is beyond.
    pub classes: [u64; BOUNDS.len() + 1],
}

impl Latency {
    /// Takes one in.
    pub(crate) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.count += 1;
        self.sum_seconds += seconds;
        self.most_seconds = self.most_seconds.max(seconds);
        let class = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.classes[class] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_class_that_holds_it() {
        let mut latency = Latency::default();
        for millis in [1, 2, 15, 99, 20_000] {
            latency.observe(Duration::from_millis(millis));
        }
        assert_eq!(latency.classes, [1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!((latency.count, latency.most_seconds), (5, 20.0));
    }
}
