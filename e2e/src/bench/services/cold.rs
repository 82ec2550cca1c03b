//! From a program's start on an empty kernel to the last Service answering.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::objects::{self, KUBERNETES, vip};
use super::probe;
use super::program::Program;
use crate::bench::agent::{Agent, own_cpu};
use crate::bench::api::{Api, Kind};
use crate::bench::world::World;

/// How long a program may take for one thing.
pub(super) const LIMIT: Duration = Duration::from_mins(15);
/// How often it is looked whether it still runs.
const LOOK: Duration = Duration::from_millis(500);
/// How many Services are asked while the program works; all of them are after it.
const SAMPLE: usize = 50;

/// A program on its node, with the cluster that it was shown.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) world: World,
    pub(super) api: Api,
    pub(super) agent: Agent,
}

/// Figures of a start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cold {
    /// From its start to the API server's Service answering.
    pub(super) first: Duration,
    /// From its start to every Service answering.
    pub(super) last: Duration,
    /// Processor time until it has nothing to do any more.
    pub(super) cpu: Duration,
    /// Processor time of the bench itself until the last Service answered.
    pub(super) bench: Duration,
    /// Resident set in MiB, then and at most.
    pub(super) memory: (f64, f64),
}

/// Makes a node with a cluster, starts a program there and waits until all its Services answer.
pub(super) fn start(
    program: &Program,
    name: &str,
    objects: Vec<(Kind, serde_json::Value)>,
    services: usize,
    folder: &Path,
) -> Result<(Running, Cold)> {
    let world = objects::world(name)?;
    let api = world.inside(|| Api::start(objects))?;
    probe::serve(&world)?;
    let every: Vec<_> = (0..services).map(vip).collect();
    let step = (services / SAMPLE).max(1);
    let sample =
        every.iter().copied().step_by(step).chain(every.last().copied()).chain([KUBERNETES]).collect();
    let (first, last) = (probe::first(&world, KUBERNETES), probe::last(&world, sample));
    let bench = own_cpu()?;
    let mut agent = program.start(&world, folder)?;
    let first = wait(&mut agent, &first)?;
    let last = wait(&mut agent, &last)?;
    let bench = own_cpu()?.saturating_sub(bench);
    let last = probe::sweep(&world, &every)?.unwrap_or(last);
    let cpu = agent.settle()?;
    let since = |moment: Instant| moment.saturating_duration_since(agent.begin);
    let cold = Cold { first: since(first), last: since(last), cpu, bench, memory: agent.memory()? };
    Ok((Running { world, api, agent }, cold))
}

/// The moment that a probe tells of, as long as the program runs.
pub(super) fn wait(agent: &mut Agent, moment: &Receiver<Instant>) -> Result<Instant> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        match moment.recv_timeout(LOOK) {
            Ok(moment) => return Ok(moment),
            Err(RecvTimeoutError::Timeout) => agent.still_running()?,
            Err(RecvTimeoutError::Disconnected) => bail!("a probe ended badly"),
        }
    }
    bail!("its Services do not answer within {} min:\n{}", LIMIT.as_secs() / 60, agent.log())
}
