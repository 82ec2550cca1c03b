//! The side on the node: all measurements, one after the other.

use std::path::Path;

use anyhow::{Context, Result};

use super::agent::Program;
use super::compare::{self, Column, Figures};
use super::objects::Cluster;
use super::table::{Row, ms, percentile, table};
use super::{FAILED, OVER, Options, Task};

/// Does what the file says, and prints the tables.
pub(in crate::bench) fn run(file: &Path) -> Result<()> {
    let task: Task = serde_json::from_slice(&std::fs::read(file)?)?;
    match all(&task) {
        Ok(()) => println!("{OVER}"),
        Err(error) => println!("{FAILED}{}", format!("{error:#}").replace('\n', " | ")),
    }
    Ok(())
}

fn all(task: &Task) -> Result<()> {
    let kernel = kernel(&task.options)?;
    println!("All figures: {kernel}");
    compared(task, &kernel);
    Ok(())
}

/// What the figures are of.
fn kernel(options: &Options) -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    let what = if options.host {
        "this machine's kernel"
    } else {
        "a guest's kernel (User Mode Linux: one CPU, slow system calls)"
    };
    Ok(format!("{what}, Linux {}", release.trim()))
}

impl Options {
    fn compared(&self) -> Cluster {
        let [pods, local, policies] = if self.quick { [200, 20, 40] } else { [1000, 100, 200] };
        Cluster {
            pods: self.pods.unwrap_or(pods),
            local: self.local.unwrap_or(local),
            policies: self.policies.unwrap_or(policies),
            rules: 1,
            namespaces: 1,
            all: false,
        }
    }
}

fn compared(task: &Task, kernel: &str) {
    let cluster = task.options.compared();
    let mut programs = vec![(Program::Ours(task.ours.clone()), task.options.changes.unwrap_or(10))];
    if let Some(peer) = &task.peer {
        programs.push((Program::Iptables(peer.clone()), 2));
        programs.push((Program::Nftables(peer.clone()), 1));
    }
    let mut columns = Vec::new();
    for (number, (program, changes)) in programs.iter().enumerate() {
        let (column, running) =
            compare::column(program, &format!("cmp{number}"), cluster, *changes, &task.folder);
        drop(running);
        columns.push(column);
    }
    let title = format!(
        "{} pods, {} of them on the node, {} policies; {kernel}",
        cluster.pods, cluster.local, cluster.policies
    );
    print!("{}", rows(&title, &columns));
}

fn rows(title: &str, columns: &[Column]) -> String {
    let labels: Vec<&str> = columns.iter().map(|column| column.label).collect();
    let row = |what: &str, unit, of: &dyn Fn(&Figures) -> Option<f64>| Row {
        what: what.into(),
        unit,
        values: columns.iter().map(|column| column.figures.as_ref().ok().and_then(of)).collect(),
    };
    let walls = |(_, changes): &Figures| changes.iter().map(|change| ms(change.wall)).collect::<Vec<_>>();
    let cpus = |(_, changes): &Figures| changes.iter().map(|change| ms(change.cpu)).collect::<Vec<_>>();
    let rows = [
        row("from start to policies in force", "ms", &|(cold, _)| Some(ms(cold.in_force))),
        row("from start to ready, by its own word", "ms", &|(cold, _)| Some(ms(cold.ready))),
        row("CPU of the start", "ms", &|(cold, _)| Some(ms(cold.cpu))),
        row("resident set after it", "MiB", &|(cold, _)| Some(cold.memory.0)),
        row("resident set at most", "MiB", &|(cold, _)| Some(cold.memory.1)),
        row("one label change to the first packet, p50", "ms", &|figures| percentile(&walls(figures), 50)),
        row("one label change to the first packet, max", "ms", &|figures| percentile(&walls(figures), 100)),
        row("CPU of one label change, p50", "ms", &|figures| percentile(&cpus(figures), 50)),
    ];
    let mut text = table(title, &labels, &rows);
    for column in columns {
        if let Err(error) = &column.figures {
            text = text + "  " + column.label + " failed: " + &format!("{error:#}\n");
        }
    }
    text
}
