//! Taking the figures.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use super::plugin::{Chain, Pod, on};
use super::scenario::Scenario;
use super::statistics::Times;
use super::trace::{self, Seen};
use crate::guest::agent::enter_netns;
use crate::progress::Step;

/// The first ones find cold caches and make the bridge.
const WARM_UP: usize = 3;

/// The first host port of the pods that are measured; those of the others are below.
const FIRST_PORT: u16 = 30_000;

/// Figures of one column.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) add: Times,
    pub(super) del: Times,
    pub(super) add_cpu: Times,
    pub(super) del_cpu: Times,
    pub(super) wave_add: Times,
    pub(super) wave_del: Times,
    pub(super) wave_add_all: Times,
    pub(super) wave_del_all: Times,
    pub(super) traced_add: Seen,
    pub(super) traced_del: Seen,
    pub(super) bytes: u64,
    /// Why there are no figures, or no more than these.
    pub(super) failed: Option<String>,
}

/// How often is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// One by one.
    pub(super) rounds: usize,
    /// Many at once.
    pub(super) waves: usize,
}

impl Effort {
    /// Of one column; `others` pods are there already, which makes the reference plugins slower.
    fn of(self, chain: &Chain, scenario: &Scenario, others: usize) -> Self {
        let theirs = !chain.label.starts_with("ours");
        let fewer = match others {
            _ if !theirs => 1,
            _ if !scenario.slow => 2,
            0..100 => 3,
            100..500 => 4,
            _ => 6,
        };
        let waves = if theirs && scenario.slow { 1 } else { self.waves };
        Self { rounds: (self.rounds / fewer).max(5), waves }
    }
}

/// The name of the namespaces for the pods that are measured.
pub(super) fn pod(number: usize) -> String {
    format!("pod{number}")
}

fn measured(number: usize) -> Result<Pod> {
    Ok(Pod::new(pod(number), FIRST_PORT + u16::try_from(number)?))
}

/// All figures of a scenario, the columns taking turns. One that fails is out; the others go on.
pub(super) fn measure(
    scenario: &Scenario,
    others: usize,
    effort: Effort,
    failed: &[Option<String>],
    step: &mut Step,
) -> Result<Vec<Figures>> {
    let start = |reason: &Option<String>| Figures { failed: reason.clone(), ..Figures::default() };
    let mut figures: Vec<Figures> = failed.iter().map(start).collect();
    for round in 0..effort.rounds + WARM_UP {
        for (chain, figures) in scenario.chains.iter().zip(&mut figures) {
            let every = effort.rounds / effort.of(chain, scenario, others).rounds.max(1);
            let warm = round < WARM_UP;
            if warm || (round - WARM_UP).is_multiple_of(every.max(1)) {
                attempt(chain, figures, &[measured(0)?], |figures| one(chain, figures, !warm));
            }
        }
        step.update(u64::try_from(round)?, u64::try_from(effort.rounds)?, "pods one by one");
    }
    let pods: Vec<Pod> = (0..scenario.at_once).map(measured).collect::<Result<_>>()?;
    for round in 0..effort.waves {
        for (chain, figures) in scenario.chains.iter().zip(&mut figures) {
            if round < effort.of(chain, scenario, others).waves {
                attempt(chain, figures, &pods, |figures| wave(chain, figures, &pods));
            }
        }
        step.update(u64::try_from(round)?, u64::try_from(effort.waves)?, "times many at once");
    }
    for (chain, figures) in scenario.chains.iter().zip(&mut figures).filter(|_| others == 0) {
        attempt(chain, figures, &[measured(0)?], |figures| traced(chain, figures));
        figures.bytes = chain.bytes().unwrap_or(0);
    }
    Ok(figures)
}

/// Does a piece of work unless the column is out already; what a failure left of the pods is taken away.
fn attempt(
    chain: &Chain,
    figures: &mut Figures,
    pods: &[Pod],
    work: impl FnOnce(&mut Figures) -> Result<()>,
) {
    if figures.failed.is_some() {
        return;
    }
    if let Err(error) = work(figures) {
        figures.failed = Some(format!("{error:#}"));
        let cleaned = on(chain.node, || {
            for pod in pods {
                // It is the second try for some of it, and the reason is known.
                drop(chain.run("DEL", pod, &chain.node.network(), None));
            }
            Ok(())
        });
        drop(cleaned);
    }
}

fn one(chain: &Chain, figures: &mut Figures, counts: bool) -> Result<()> {
    let pod = measured(0)?;
    let network = chain.node.network();
    let (add, add_cpu, del, del_cpu) = on(chain.node, || {
        let start = cpu()?;
        let (add, result) = chain.run("ADD", &pod, &network, None)?;
        let between = cpu()?;
        let (del, _) = chain.run("DEL", &pod, &network, Some(&result))?;
        let end = cpu()?;
        Ok((add, between.saturating_sub(start), del, end.saturating_sub(between)))
    })?;
    if counts {
        figures.add.push(add);
        figures.add_cpu.push(add_cpu);
        figures.del.push(del);
        figures.del_cpu.push(del_cpu);
    }
    Ok(())
}

/// User and system time of all children that have ended.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec());
    Ok(Duration::from_micros(micros(usage.user_time())? + micros(usage.system_time())?))
}

fn wave(chain: &Chain, figures: &mut Figures, pods: &[Pod]) -> Result<()> {
    let (all, results) = at_once(chain, "ADD", pods, &vec![None; pods.len()])?;
    figures.wave_add_all.push(all);
    let previous = results.iter().map(|(_, result)| Some(result.clone())).collect::<Vec<_>>();
    for (took, _) in &results {
        figures.wave_add.push(*took);
    }
    let (all, results) = at_once(chain, "DEL", pods, &previous)?;
    figures.wave_del_all.push(all);
    for (took, _) in &results {
        figures.wave_del.push(*took);
    }
    Ok(())
}

type Timed = (Duration, Value);

fn at_once(
    chain: &Chain,
    verb: &str,
    pods: &[Pod],
    previous: &[Option<Value>],
) -> Result<(Duration, Vec<Timed>)> {
    let start = Barrier::new(pods.len() + 1);
    let network = chain.node.network();
    std::thread::scope(|scope| {
        let threads: Vec<_> = pods
            .iter()
            .zip(previous)
            .map(|(pod, result)| {
                let (start, network) = (&start, &network);
                scope.spawn(move || {
                    let entered = enter_netns(chain.node.name);
                    start.wait();
                    entered?;
                    chain.run(verb, pod, network, result.as_ref())
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        let ended: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        let all = begin.elapsed();
        let results =
            ended.into_iter().map(|end| end.map_err(|_| anyhow!("a thread of the bench ended badly"))?);
        Ok((all, results.collect::<Result<_>>()?))
    })
}

fn traced(chain: &Chain, figures: &mut Figures) -> Result<()> {
    let pod = measured(0)?;
    let (add, del) = on(chain.node, || {
        let (add, result) = trace::run(chain, "ADD", &pod, None)?;
        let (del, _) = trace::run(chain, "DEL", &pod, Some(&result))?;
        Ok((add, del))
    })?;
    (figures.traced_add, figures.traced_del) = (add, del);
    Ok(())
}
