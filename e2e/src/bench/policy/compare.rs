//! The same cluster for ours and the peer: from start to policies in force, and one label change.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::agent::Program;
use super::objects::{Cluster, REFUSED_PORT, client};
use super::probe::{self, Asker, answered};
use crate::bench::agent::{Agent, own_cpu};
use crate::bench::api::Api;
use crate::bench::table::{Row, ms, percentile};
use crate::bench::world::{FIRST_PORT, World};
use crate::progress::{Step, step};

/// How long the peer may take for one thing.
const LIMIT: Duration = Duration::from_mins(20);

/// A program on its node, with the cluster that it was shown.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) world: World,
    pub(super) api: Api,
    pub(super) agent: Agent,
    /// Of each start.
    pub(super) cold: Vec<Cold>,
}

/// Figures of a start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cold {
    /// From its start to the last answer that a policy forbids.
    pub(super) in_force: Duration,
    /// From its start to its own word that all is programmed.
    pub(super) ready: Duration,
    /// Processor time until it has nothing to do any more.
    pub(super) cpu: Duration,
    /// Processor time that the bench itself took on the same machine until then.
    pub(super) bench: Duration,
    /// Resident set in MiB, then and at most.
    pub(super) memory: (f64, f64),
}

/// Figures of one change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// From the API's event to the first packet that it admits.
    pub(super) wall: Duration,
    /// Processor time that it took.
    pub(super) cpu: Duration,
}

/// Starts a program on a node of its own with a kernel that has no rules, and waits until its policies hold.
pub(super) fn start(program: &Program, name: &str, cluster: Cluster, folder: &Path) -> Result<Running> {
    let world = World::new(name)?;
    let api = world.inside(|| Api::start(cluster.objects()))?;
    probe::serve(&world)?;
    let (agent, cold) = begin(program, &world, folder)?;
    Ok(Running { world, api, agent, cold: vec![cold] })
}

/// Ends the program, empties the kernel and starts it once more.
pub(super) fn start_again(running: &mut Running, program: &Program, folder: &Path) -> Result<()> {
    running.agent.end();
    running.world.forget_rules()?;
    let (agent, cold) = begin(program, &running.world, folder)?;
    running.agent = agent;
    running.cold.push(cold);
    Ok(())
}

fn begin(program: &Program, world: &World, folder: &Path) -> Result<(Agent, Cold)> {
    let asker = Asker::start(world, REFUSED_PORT);
    asker.first(Duration::from_secs(10)).context("without policies the pods reach each other")?;
    let bench = own_cpu()?;
    let mut agent = program.start(world, folder)?;
    let ready = wait_until_ready(&mut agent, program, world)?;
    let bench = own_cpu()?.saturating_sub(bench);
    let cpu = agent.settle()?;
    let last = asker.end()?;
    let in_force = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(agent.begin));
    let (open, closed) = (opens(world, 100)?, !answered(world, REFUSED_PORT)?);
    ensure!(
        open && closed,
        "{} is ready, but its policies do not hold: admitted {open}, refused {closed}\n{}",
        program.label(),
        agent.log()
    );
    let memory = agent.memory()?;
    Ok((agent, Cold { in_force, ready, cpu, bench, memory }))
}

/// Is one of so many tries of what policies admit answered? On a busy machine an answer may be late.
fn opens(world: &World, tries: usize) -> Result<bool> {
    for _ in 0..tries {
        if answered(world, FIRST_PORT)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn wait_until_ready(agent: &mut Agent, program: &Program, world: &World) -> Result<Duration> {
    while !program.ready(world) {
        agent.still_running()?;
        if agent.begin.elapsed() > LIMIT {
            bail!("it is not ready within {} min:\n{}", LIMIT.as_secs() / 60, agent.log());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(agent.begin.elapsed())
}

/// A label of the client changes, so that the server's policy admits it.
pub(super) fn label_change(running: &mut Running) -> Result<Change> {
    let (Running { world, api, agent, .. }, end) = (running, Instant::now() + LIMIT);
    let tell = |admitted| {
        let (kind, object) = client(admitted);
        api.put(kind, object)
    };
    tell(false)?;
    while opens(world, 10)? {
        ensure!(Instant::now() < end, "a label that was taken away still opens the way:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = agent.settle()?;
    let asker = Asker::start(world, FIRST_PORT);
    std::thread::sleep(Duration::from_millis(50));
    let begin = Instant::now();
    tell(true)?;
    let wall = asker.first(LIMIT).with_context(|| agent.log())?.saturating_duration_since(begin);
    asker.end()?;
    Ok(Change { wall, cpu: agent.settle()?.saturating_sub(before) })
}

/// Starts and changes after the last.
pub(super) type Figures = (Vec<Cold>, Vec<Change>);

/// One program's column of the table.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) label: &'static str,
    pub(super) figures: Result<Figures>,
}

/// Measures one program: so many starts and label changes.
pub(super) fn column(
    program: &Program,
    name: &str,
    cluster: Cluster,
    (starts, changes): (usize, usize),
    folder: &Path,
) -> (Column, Option<Running>) {
    let label = program.label();
    let figures = step(label, |step| {
        let mut running = start(program, name, cluster, folder)?;
        for _ in 1..starts {
            start_again(&mut running, program, folder)?;
        }
        let cold = running.cold.clone();
        let changes =
            (0..changes).map(|done| one(&mut running, done, changes, step)).collect::<Result<Vec<_>>>()?;
        Ok(((cold, changes, running), "done".to_owned()))
    });
    match figures {
        Ok((cold, changes, running)) => (Column { label, figures: Ok((cold, changes)) }, Some(running)),
        Err(error) => (Column { label, figures: Err(error) }, None),
    }
}

fn one(running: &mut Running, done: usize, all: usize, step: &mut Step) -> Result<Change> {
    step.update(u64::try_from(done)?, u64::try_from(all)?, "label changes");
    label_change(running)
}

/// The rows of starts: all of them but what others on the machine took shows in the best.
pub(super) fn cold_rows(columns: &[Option<&[Cold]>]) -> Vec<Row> {
    let row = |what: &str, unit, of: &dyn Fn(&[Cold]) -> Option<f64>| Row {
        what: what.into(),
        unit,
        values: columns.iter().map(|column| column.and_then(of)).collect(),
    };
    let times =
        |cold: &[Cold], of: fn(&Cold) -> Duration| cold.iter().map(|cold| ms(of(cold))).collect::<Vec<_>>();
    vec![
        row("starts", "", &|cold| u32::try_from(cold.len()).ok().map(f64::from)),
        row("start to policies in force, best", "ms", &|cold| {
            percentile(&times(cold, |cold| cold.in_force), 0)
        }),
        row("start to policies in force, worst", "ms", &|cold| {
            percentile(&times(cold, |cold| cold.in_force), 100)
        }),
        row("start to ready by its word, best", "ms", &|cold| percentile(&times(cold, |cold| cold.ready), 0)),
        row("CPU of a start, best", "ms", &|cold| percentile(&times(cold, |cold| cold.cpu), 0)),
        row("CPU of the bench's API meanwhile", "ms", &|cold| percentile(&times(cold, |cold| cold.bench), 0)),
        row("resident set after it", "MiB", &|cold| Some(cold.last()?.memory.0)),
        row("resident set at most", "MiB", &|cold| Some(cold.last()?.memory.1)),
    ]
}
