//! The parts of the bench, each with its table.

use std::time::Duration;

use anyhow::Result;

use super::cold::{self, Cold};
use super::flip::{self, Change};
use super::program::Program;
use super::rolling::{self, REPLACED, Roll};
use super::{Task, objects, repair};
use crate::bench::table::{Row, mean, ms, percentile, table};
use crate::progress::step;

/// One program's column.
struct Column<T> {
    label: &'static str,
    figures: Result<T>,
}

/// Figures of one program with so many Services.
struct Figures {
    cold: Cold,
    changes: Vec<Change>,
    /// Processor time of each second in which nothing changes.
    idle: Duration,
    /// How long a backend is gone that somebody else deletes; ours alone, the peers look every few minutes or have no IPVS.
    gone: Vec<Duration>,
}

/// Changes of one endpoint: ours is over soon, the others take seconds or minutes for each.
const CHANGES: [usize; 2] = [20, 2];

/// So many backends are deleted by somebody else.
const DELETED: usize = 10;

/// The most endpoints of one Service that kube-router is asked for: it looks at each by itself, again and again.
const KUBE_ROUTER_ENDPOINTS: usize = 300;

/// So many Services of two endpoints, for every program.
pub(super) fn sized(task: &Task, services: usize, kernel: &str) {
    let mut columns = Vec::new();
    for (number, program) in Program::all(task).iter().enumerate() {
        if number > 0 && services > task.options.peers_up_to {
            continue;
        }
        let what = format!("{services} Services, {}", program.label());
        columns.push(column(program, &what, || {
            let objects = objects::cluster(services)?;
            let name = format!("size{services}-{number}");
            let (mut running, cold) = cold::start(program, &name, objects, services, &task.folder)?;
            let idle = flip::idle(&mut running)?;
            let changes = 0..CHANGES[number.min(1)];
            let changes = changes.map(|_| flip::change(&mut running, idle)).collect::<Result<_>>()?;
            let gone = if matches!(program, Program::Ours(_)) { 0..DELETED } else { 0..0 };
            let gone = gone.map(|turn| repair::backend(&running, (services - 1) * turn / DELETED));
            let gone = gone.collect::<Result<_>>()?;
            Ok(Figures { cold, changes, idle, gone })
        }));
    }
    let walls = |figures: &Figures| figures.changes.iter().map(|change| ms(change.wall)).collect::<Vec<_>>();
    let cpus = |figures: &Figures| figures.changes.iter().map(|change| ms(change.cpu)).collect::<Vec<_>>();
    let gone = |figures: &Figures| figures.gone.iter().copied().map(ms).collect::<Vec<_>>();
    let mut rows = cold_rows(&columns, |figures| figures.cold);
    rows.extend([
        row(&columns, "one endpoint's change seen, p50", "ms", |figures| percentile(&walls(figures), 50)),
        row(&columns, "one endpoint's change seen, max", "ms", |figures| percentile(&walls(figures), 100)),
        row(&columns, "CPU of one endpoint's change, mean", "ms", |figures| mean(&cpus(figures))),
        row(&columns, "a deleted backend is gone for, p50", "ms", |figures| percentile(&gone(figures), 50)),
        row(&columns, "a deleted backend is gone for, max", "ms", |figures| percentile(&gone(figures), 100)),
        row(&columns, "CPU of a second without changes", "ms", |figures| Some(ms(figures.idle))),
    ]);
    show(&format!("{services} Services of 2 endpoints. {kernel}"), &columns, &rows);
}

/// One Service with many endpoints, for every program.
pub(super) fn rolled(task: &Task, kernel: &str) {
    let endpoints = task.options.endpoints;
    let mut columns = Vec::new();
    for (number, program) in Program::all(task).iter().enumerate() {
        if matches!(program, Program::KubeRouter(_)) && endpoints > KUBE_ROUTER_ENDPOINTS {
            println!(
                "  {} is left out: a Service of more than {KUBE_ROUTER_ENDPOINTS} endpoints keeps it busy for hours",
                program.label()
            );
            continue;
        }
        let replaced = REPLACED[number.min(1)];
        let what = format!("a Service of {endpoints} endpoints, {}", program.label());
        let name = format!("roll{number}");
        columns.push(column(program, &what, || {
            rolling::measure(program, &name, endpoints, replaced, &task.folder)
        }));
    }
    let count = |number: usize| u32::try_from(number).ok().map(f64::from);
    let mut rows = cold_rows(&columns, |roll: &Roll| roll.cold);
    rows.extend([
        row(&columns, "endpoints replaced", "", |roll| Some(f64::from(roll.replaced))),
        row(&columns, "CPU of one endpoint replaced, mean", "ms", |roll| Some(ms(roll.cpu))),
        row(&columns, "the event after the last in force", "ms", |roll| Some(ms(roll.behind))),
        row(&columns, "connections meanwhile", "", |roll| count(roll.tried)),
        row(&columns, "of them failed", "", |roll| count(roll.failed)),
    ]);
    let title = format!("1 Service of {endpoints} endpoints, some replaced one by one. {kernel}");
    show(&title, &columns, &rows);
}

fn column<T>(program: &Program, what: &str, work: impl FnOnce() -> Result<T>) -> Column<T> {
    let figures = step(what, |_| Ok((work()?, "done".to_owned())));
    Column { label: program.label(), figures }
}

fn row<T>(columns: &[Column<T>], what: &str, unit: &'static str, of: impl Fn(&T) -> Option<f64>) -> Row {
    let values = columns.iter().map(|column| column.figures.as_ref().ok().and_then(&of)).collect();
    Row { what: what.to_owned(), unit, values }
}

fn cold_rows<T>(columns: &[Column<T>], cold: impl Fn(&T) -> Cold) -> Vec<Row> {
    let row = |what, unit, of: fn(&Cold) -> f64| row(columns, what, unit, |figures| Some(of(&cold(figures))));
    vec![
        row("start to the API server's VIP answering", "ms", |cold| ms(cold.first)),
        row("start to the last VIP answering", "ms", |cold| ms(cold.last)),
        row("CPU of the start", "ms", |cold| ms(cold.cpu)),
        row("CPU of the bench itself meanwhile", "ms", |cold| ms(cold.bench)),
        row("resident set after it", "MiB", |cold| cold.memory.0),
        row("resident set at most", "MiB", |cold| cold.memory.1),
    ]
}

fn show<T>(title: &str, columns: &[Column<T>], rows: &[Row]) {
    let labels: Vec<&str> = columns.iter().map(|column| column.label).collect();
    print!("{}", table(title, &labels, rows));
    for column in columns {
        if let Err(error) = &column.figures {
            println!("  {} failed: {error:#}", column.label);
        }
    }
}
