//! Ours alone in large clusters: start, memory, and each kind of change from the API's event to the kernel.

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::agent::Program;
use super::commits::{self, Commit};
use super::compare::{self, Cold, Running};
use super::objects::{Cluster, team};
use crate::bench::api::Kind;
use crate::bench::table::{Row, ms, percentile};
use crate::progress::{Step, step};

/// A change that has not come to the kernel by then changes nothing there.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two changes, so that each is alone.
const PAUSE: Duration = Duration::from_millis(20);

/// How often is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Starts from an empty kernel.
    pub(super) starts: usize,
    /// Changes of each kind at most.
    pub(super) changes: usize,
    /// No change of a kind begins later than this after its first.
    pub(super) time: Duration,
}

/// What changes.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// A label of a pod, by which policies of local pods find their peers.
    PodLabel,
    /// The port of a policy that selects local pods.
    Policy,
    /// The label of a namespace by which policies find all of its pods.
    NamespaceLabel,
}

/// Figures of one kind of change.
#[derive(Debug)]
pub(super) struct Changes {
    what: What,
    /// From the event to the end of the transaction, in ms.
    walls: Vec<f64>,
    /// What the kernel told of each transaction: elements, rules, chains, sets.
    objects: Vec<f64>,
    /// Processor time of each on the mean, in ms.
    cpu: f64,
    /// Changes after which the kernel told of nothing.
    silent: usize,
}

/// Figures of one cluster.
#[derive(Debug)]
pub(super) struct Scale {
    pub(super) cold: Vec<Cold>,
    pub(super) changes: Vec<Changes>,
}

/// Starts ours in a cluster and changes it.
pub(super) fn measure(
    program: &Program,
    name: &str,
    cluster: Cluster,
    effort: Effort,
    folder: &Path,
) -> Result<Scale> {
    step(&format!("{} pods, {} policies", cluster.pods, cluster.policies), |step| {
        let mut running = compare::start(program, name, cluster, folder)?;
        for _ in 1..effort.starts {
            compare::start_again(&mut running, program, folder)?;
        }
        let commits = commits::listen(&running.world)?;
        let mut kinds = vec![What::PodLabel, What::Policy];
        if cluster.namespaces > 1 {
            kinds.push(What::NamespaceLabel);
        }
        let mut changes = Vec::new();
        for what in kinds {
            changes.push(several(&mut running, &commits, cluster, what, effort, step)?);
        }
        Ok((Scale { cold: running.cold, changes }, "done".to_owned()))
    })
}

fn several(
    running: &mut Running,
    commits: &Receiver<Commit>,
    cluster: Cluster,
    what: What,
    effort: Effort,
    step: &mut Step,
) -> Result<Changes> {
    let mut changes = Changes { what, walls: Vec::new(), objects: Vec::new(), cpu: 0.0, silent: 0 };
    let before = running.agent.settle()?;
    commits::drain(commits);
    let (begin, mut done) = (Instant::now(), 0);
    while done < effort.changes && begin.elapsed() < effort.time {
        let (kind, object) = what.object(cluster, done);
        let told = Instant::now();
        running.api.put(kind, object)?;
        match commits::next(commits, LIMIT) {
            Some(commit) => {
                changes.walls.push(ms(commit.moment.saturating_duration_since(told)));
                changes.objects.push(f64::from(commit.objects));
            }
            None => changes.silent += 1,
        }
        std::thread::sleep(PAUSE);
        commits::drain(commits);
        running.agent.still_running()?;
        done += 1;
        step.update(u64::try_from(done)?, u64::try_from(effort.changes)?, what.words());
    }
    let took = running.agent.settle()?.saturating_sub(before);
    changes.cpu = ms(took) / f64::from(u32::try_from(done.max(1))?);
    Ok(changes)
}

impl What {
    const fn words(self) -> &'static str {
        match self {
            Self::PodLabel => "changes of pods' labels",
            Self::Policy => "changes of policies",
            Self::NamespaceLabel => "changes of namespaces' labels",
        }
    }

    /// The object after the change of this number. What it is about goes round; each makes a difference to a local pod.
    fn object(self, cluster: Cluster, round: usize) -> (Kind, Value) {
        let (turn, place) = (round / cluster.namespaces, round % cluster.namespaces);
        match self {
            Self::PodLabel => cluster.flipped_pod(place, turn),
            Self::Policy => cluster.policy(cluster.judging(place), turn + round + 1),
            Self::NamespaceLabel => team(place, (place + 1 + turn) % 10),
        }
    }
}

/// The rows of a table.
pub(super) fn rows(scale: &Scale) -> Vec<Row> {
    let row = |what: String, unit, value| Row { what, unit, values: vec![value] };
    let mut rows = compare::cold_rows(&[Some(&scale.cold)]);
    for changes in &scale.changes {
        let Changes { walls, objects, cpu, .. } = changes;
        let words = changes.what.words();
        rows.push(row(format!("{} {words}", walls.len()), "", None));
        rows.push(row("  event to kernel, p50".into(), "ms", percentile(walls, 50)));
        rows.push(row("  event to kernel, p99".into(), "ms", percentile(walls, 99)));
        rows.push(row("  CPU of one, mean".into(), "ms", Some(*cpu)));
        rows.push(row("  the kernel's messages about one, p50".into(), "", percentile(objects, 50)));
        if changes.silent > 0 {
            let silent = u32::try_from(changes.silent).ok().map(f64::from);
            rows.push(row("  changes that the kernel told nothing of".into(), "", silent));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_differs_from_what_was_there() {
        let cluster =
            Cluster { pods: 400, local: 20, policies: 40, rules: 1, namespaces: 4, labels: 10, all: false };
        for what in [What::PodLabel, What::Policy, What::NamespaceLabel] {
            let mut seen: Vec<(Kind, Value)> = cluster.objects();
            for round in 0..40 {
                let (kind, object) = what.object(cluster, round);
                let name = |object: &Value| object["metadata"]["name"].clone();
                let last =
                    seen.iter().rev().find(|(of, old)| *of == kind && name(old) == name(&object)).unwrap();
                assert_ne!(last.1, object, "{what:?}, round {round}");
                seen.push((kind, object));
            }
        }
    }
}
