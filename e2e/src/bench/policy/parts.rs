//! The three parts of the bench, each with its table.

use anyhow::{Context, Result};

use super::Task;
use super::agent::Program;
use super::compare::{self, Cold, Column, Figures};
use super::objects::Cluster;
use super::packets::{self, Clock};
use super::scale;
use super::table::costs;
use crate::bench::table::{Row, mean, ms, percentile, table};
use crate::bench::world::World;
use crate::process::{capture, command};
use crate::progress::step;

/// A node whose program has ended and whose rules are still there.
type Left = (String, World);

impl Task {
    fn programs(&self) -> Vec<Program> {
        let mut programs = vec![Program::Ours(self.ours.clone())];
        if let Some(peer) = &self.peer {
            programs.extend([Program::Iptables(peer.clone()), Program::Nftables(peer.clone())]);
        }
        programs
    }
}

/// The same cluster for every program. The nodes stay as they are left.
pub(super) fn compared(task: &Task, kernel: &str) -> Vec<Left> {
    let cluster = task.options.compared();
    let (mut columns, mut left) = (Vec::new(), Vec::new());
    let efforts = task.options.compared_effort();
    for (number, (program, effort)) in task.programs().iter().zip(efforts).enumerate() {
        let (column, running) =
            compare::column(program, &format!("same{number}"), cluster, effort, &task.folder);
        columns.push(column);
        left.extend(running.map(|running| (described(program, cluster), running.world)));
    }
    let title = format!(
        "{} pods, {} of them on the node, {} policies. {kernel}",
        cluster.pods, cluster.local, cluster.policies
    );
    print!("{}", compared_table(&title, &columns));
    left
}

fn described(program: &Program, cluster: Cluster) -> String {
    let (local, rules) = (cluster.local, cluster.policies * cluster.rules);
    format!("{}: {local} pods, {rules} rules", program.label())
}

fn compared_table(title: &str, columns: &[Column]) -> String {
    let labels: Vec<&str> = columns.iter().map(|column| column.label).collect();
    let row = |what: &str, unit, of: &dyn Fn(&Figures) -> Option<f64>| Row {
        what: what.into(),
        unit,
        values: columns.iter().map(|column| column.figures.as_ref().ok().and_then(of)).collect(),
    };
    let walls = |(_, changes): &Figures| changes.iter().map(|change| ms(change.wall)).collect::<Vec<_>>();
    let cpus = |(_, changes): &Figures| changes.iter().map(|change| ms(change.cpu)).collect::<Vec<_>>();
    let cold: Vec<Option<&[Cold]>> =
        columns.iter().map(|column| column.figures.as_ref().ok().map(|(cold, _)| cold.as_slice())).collect();
    let mut rows = compare::cold_rows(&cold);
    rows.extend([
        row("label change to the first packet, p50", "ms", &|figures| percentile(&walls(figures), 50)),
        row("label change to the first packet, max", "ms", &|figures| percentile(&walls(figures), 100)),
        row("CPU of one label change, mean", "ms", &|figures| mean(&cpus(figures))),
    ]);
    let mut text = table(title, &labels, &rows);
    for column in columns {
        if let Err(error) = &column.figures {
            text = text + "  " + column.label + " failed: " + &format!("{error:#}\n");
        }
    }
    text
}

/// Ours alone in large clusters.
pub(super) fn scaled(task: &Task, kernel: &str) -> Result<()> {
    let ours = Program::Ours(task.ours.clone());
    for (number, cluster) in task.options.large().into_iter().enumerate() {
        let name = format!("large{number}");
        let scale = scale::measure(&ours, &name, cluster, task.options.many(), &task.folder)
            .with_context(|| format!("{} pods, {} policies", cluster.pods, cluster.policies))?;
        let selecting =
            if cluster.all { "each selecting all of one namespace" } else { "each of its namespace" };
        let title = format!(
            "{} pods, {} of them on the node, {} policies {selecting}. {kernel}",
            cluster.pods, cluster.local, cluster.policies
        );
        print!("{}", table(&title, &[ours.label()], &scale::rows(&scale)));
    }
    Ok(())
}

/// What a packet costs on nodes of several sizes, with rules of ours and of the peer.
pub(super) fn per_packet(task: &Task, kernel: &str, left: Vec<Left>) -> Result<()> {
    let mut nodes = vec![("no rules, no connection tracking".to_owned(), World::new("none")?), tracked()?];
    for (number, cluster) in task.options.crossed().into_iter().enumerate() {
        for (which, program) in task.programs().iter().enumerate() {
            // The peer takes very long for large ones; what it makes of more pods shows in the compared cluster, which is
            // as small as this one in a quick run.
            if which > 0 && (number > 0 || task.options.quick) {
                continue;
            }
            nodes.push(filled(task, program, &format!("cross{number}-{which}"), cluster)?);
        }
    }
    nodes.extend(left);
    let worlds: Vec<&World> = nodes.iter().map(|(_, world)| world).collect();
    let figures = step("packets, the nodes in turn", |step| {
        Ok((packets::measure(&worlds, task.options.effort(), step)?, "done".to_owned()))
    })?;
    let labels: Vec<&str> = nodes.iter().map(|(label, _)| label.as_str()).collect();
    let clock = task.options.clock();
    let by = match clock {
        Clock::Processor => "the processor's clock",
        Clock::Wall => "the clock on the wall",
    };
    let title = format!("What a packet from pod to pod costs one processor, by {by}. {kernel}");
    print!("{}", costs(&title, clock, &labels, &figures));
    Ok(())
}

/// A node whose program has programmed a cluster and has ended.
fn filled(task: &Task, program: &Program, name: &str, cluster: Cluster) -> Result<Left> {
    let what = described(program, cluster);
    step(&what.clone(), |_| {
        let running = compare::start(program, name, cluster, &task.folder)?;
        Ok(((what, running.world), "there".to_owned()))
    })
}

/// The least that a firewall with a memory costs.
fn tracked() -> Result<Left> {
    let world = World::new("tracked")?;
    world.inside(|| {
        for line in [
            "add table ip least",
            "add chain ip least forward { type filter hook forward priority 0; }",
            "add rule ip least forward ct state established accept",
        ] {
            capture(command("nft").arg(line))?;
        }
        Ok(())
    })?;
    Ok(("connection tracking and one rule".to_owned(), world))
}
