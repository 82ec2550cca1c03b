//! One Service with thousands of endpoints, which are replaced one by one while it is asked all the time.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::cold::{self, Cold};
use super::flip;
use super::objects::{self, FLIP, MANY, SLICE, put, slice_of_many};
use super::probe::{self, Load};
use super::program::Program;

/// How many endpoints are replaced, of ours and of a peer, which takes seconds or minutes for each.
pub(super) const REPLACED: [u32; 2] = [100, 10];
/// How long after one the next is.
const PACE: Duration = Duration::from_millis(50);

/// Figures of one program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roll {
    pub(super) cold: Cold,
    pub(super) replaced: u32,
    /// From the event after the last replacement to that being in force.
    pub(super) behind: Duration,
    /// Processor time of one replacement on the mean.
    pub(super) cpu: Duration,
    /// Connections that were tried meanwhile, and those of them that failed.
    pub(super) tried: usize,
    pub(super) failed: usize,
}

/// Starts a program with such a Service and replaces endpoints.
pub(super) fn measure(
    program: &Program,
    name: &str,
    endpoints: usize,
    replaced: u32,
    folder: &Path,
) -> Result<Roll> {
    let mut all = objects::cluster(1)?;
    all.extend(objects::many(endpoints)?);
    let (mut running, cold) = cold::start(program, name, all, 1, folder)?;
    let many = probe::first(&running.world, MANY);
    cold::wait(&mut running.agent, &many)?;
    let before = running.agent.settle()?;
    let load = Load::start(&running.world, MANY);
    let slices = endpoints.div_ceil(SLICE);
    for turn in 0..usize::try_from(replaced)? {
        put(&running.api, slice_of_many(endpoints, turn % slices, turn / slices + 1))?;
        std::thread::sleep(PACE);
    }
    let first = probe::first(&running.world, FLIP);
    let behind = flip::seen(&mut running, &first)?;
    let cpu = running.agent.settle()?.saturating_sub(before) / (replaced + 1);
    let (tried, failed) = load.end()?;
    Ok(Roll { cold, replaced, behind, cpu, tried, failed })
}
