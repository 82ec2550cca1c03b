//! Time as a seam, so that tests need not wait for hold timers.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// A monotonic clock.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Time since the clock was made.
    fn now(&self) -> Duration;
    /// Returns when [`Clock::now`] has reached `deadline`, at once if it has already.
    fn sleep_until(&self, deadline: Duration) -> impl Future<Output = ()> + Send;
}

/// Returns at `deadline`, never if there is none.
pub(crate) async fn sleep_until<C: Clock>(clock: &C, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The real clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.0)
    }

    async fn sleep_until(&self, deadline: Duration) {
        tokio::time::sleep_until(self.0 + deadline).await;
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Debug, Clone)]
pub struct ManualClock {
    time: tokio::sync::watch::Sender<Duration>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { time: tokio::sync::watch::Sender::new(Duration::ZERO) }
    }
}

impl ManualClock {
    /// Moves the time on by `step`.
    pub fn advance(&self, step: Duration) {
        self.time.send_modify(|time| *time += step);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.time.borrow()
    }

    async fn sleep_until(&self, deadline: Duration) {
        let mut time = self.time.subscribe();
        // The sender lives in `self`, so this ends only when the time has come.
        let _ = time.wait_for(|now| *now >= deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_when_its_time_has_come() {
        let clock = ManualClock::default();
        let sleeper = clock.clone();
        let task = tokio::spawn(async move { sleeper.sleep_until(Duration::from_secs(9)).await });
        clock.advance(Duration::from_secs(8));
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        clock.advance(Duration::from_secs(1));
        task.await.unwrap();
        assert_eq!(clock.now(), Duration::from_secs(9));
    }
}
