//! One endpoint that changes.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::cold::{Running, wait};
use super::objects::{FLIP, flip, put};
use super::probe;

/// Figures of one change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// From the API's event to the first connection that the new endpoint answers.
    pub(super) wall: Duration,
    /// Processor time that it took.
    pub(super) cpu: Duration,
}

/// An endpoint that nobody answers at becomes one that answers.
pub(super) fn change(running: &mut Running) -> Result<Change> {
    put(&running.api, flip(false))?;
    let before = running.agent.settle()?;
    let first = probe::first(&running.world, FLIP);
    std::thread::sleep(Duration::from_millis(100));
    let wall = seen(running, &first)?;
    Ok(Change { wall, cpu: running.agent.settle()?.saturating_sub(before) })
}

/// Tells of the endpoint that answers; how long it takes until it does.
pub(super) fn seen(running: &mut Running, first: &std::sync::mpsc::Receiver<Instant>) -> Result<Duration> {
    let begin = Instant::now();
    put(&running.api, flip(true))?;
    Ok(wait(&mut running.agent, first)?.saturating_duration_since(begin))
}
