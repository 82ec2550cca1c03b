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

/// For so long it is watched what a program takes when nothing changes.
const IDLE: Duration = Duration::from_secs(4);

/// What a program takes of each second when nothing changes, as what looks after its objects.
pub(super) fn idle(running: &mut Running) -> Result<Duration> {
    let before = running.agent.settle()?;
    let begin = Instant::now();
    std::thread::sleep(IDLE);
    let taken = running.agent.cpu()?.saturating_sub(before);
    Ok(taken.div_f64(begin.elapsed().as_secs_f64()))
}

/// An endpoint that nobody answers at becomes one that answers. What the program takes anyway, `idle` of each second, is not
/// counted.
pub(super) fn change(running: &mut Running, idle: Duration) -> Result<Change> {
    put(&running.api, flip(false))?;
    let before = running.agent.settle()?;
    let begin = Instant::now();
    let first = probe::first(&running.world, FLIP);
    std::thread::sleep(Duration::from_millis(100));
    let wall = seen(running, &first)?;
    let taken = running.agent.settle()?.saturating_sub(before);
    let anyway = idle.mul_f64(begin.elapsed().as_secs_f64());
    Ok(Change { wall, cpu: taken.saturating_sub(anyway) })
}

/// Tells of the endpoint that answers; how long it takes until it does.
pub(super) fn seen(running: &mut Running, first: &std::sync::mpsc::Receiver<Instant>) -> Result<Duration> {
    let begin = Instant::now();
    put(&running.api, flip(true))?;
    Ok(wait(&mut running.agent, first)?.saturating_duration_since(begin))
}
