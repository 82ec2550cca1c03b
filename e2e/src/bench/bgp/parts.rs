//! The parts of the bench, each with its table.

use std::path::Path;

use anyhow::Result;

use super::converge::{self, End, Figures, Size};
use super::latency::{self, Latencies};
use super::router::Router;
use crate::bench::table::{Row, ms, percentile, table};
use crate::progress::step;

/// One router's column: its figures for each end.
struct Column {
    label: &'static str,
    figures: Vec<Result<Figures>>,
}

/// Which end, what is measured there, and the value.
type What = (usize, &'static str, &'static str, fn(&Figures, Size) -> f64);

/// From messages to the router's own table, and to one more peer.
pub(super) fn converge(routers: &[Router], size: Size, folder: &Path) {
    let rows: [What; 6] = [
        (0, "all in its table", "ms", |figures, _| ms(figures.time)),
        (0, "  CPU", "ms", |figures, _| ms(figures.cpu)),
        (0, "  resident set at most", "MiB", |figures, _| figures.memory),
        (1, "all passed on to one more peer", "ms", |figures, _| ms(figures.time)),
        (1, "  CPU", "ms", |figures, _| ms(figures.cpu)),
        (1, "  resident set at most", "MiB", |figures, _| figures.memory),
    ];
    compare("", routers, size, &[End::Table, End::Receiver], &rows, folder);
}

/// From messages to the kernel.
pub(super) fn program(routers: &[Router], size: Size, folder: &Path) {
    let rows: [What; 4] = [
        (0, "all in the kernel", "ms", |figures, _| ms(figures.time)),
        (0, "  routes a second", "routes/s", |figures, size| {
            f64::from(size.prefixes()) / figures.time.as_secs_f64()
        }),
        (0, "  CPU", "ms", |figures, _| ms(figures.cpu)),
        (0, "  resident set at most", "MiB", |figures, _| figures.memory),
    ];
    compare(" into the kernel", routers, size, &[End::Kernel], &rows, folder);
}

fn compare(suffix: &str, routers: &[Router], size: Size, ends: &[End], rows: &[What], folder: &Path) {
    let run = |router: &Router, end: End| {
        let what = match end {
            End::Table => "in a table",
            End::Receiver => "passed on",
            End::Kernel => "in the kernel",
        };
        step(&format!("{} {what}, {}", size.scale, router.label()), |_| {
            let figures = converge::measure(router, size, end, folder)?;
            Ok((figures, format!("{:.0} ms", ms(figures.time))))
        })
    };
    let column = |router: &Router| Column {
        label: router.label(),
        figures: ends.iter().map(|end| run(router, *end)).collect(),
    };
    let columns: Vec<Column> = routers.iter().map(column).collect();
    let row = |(at, what, unit, of): &What| {
        let value = |column: &Column| {
            let figures = column.figures.get(*at)?.as_ref().ok()?;
            Some(of(figures, size))
        };
        Row { what: (*what).to_owned(), unit, values: columns.iter().map(value).collect() }
    };
    let rows: Vec<Row> = rows.iter().map(row).collect();
    let labels: Vec<&str> = columns.iter().map(|column| column.label).collect();
    let title =
        format!("Peers x routes of each: {}, {} with the same attributes{suffix}", size.scale, size.alike);
    print!("{}", table(&title, &labels, &rows));
    for column in &columns {
        for error in column.figures.iter().filter_map(|figures| figures.as_ref().err()) {
            println!("  {} failed: {error:#}", column.label);
        }
    }
}

/// From an event of Kubernetes to the UPDATE at a peer.
pub(super) fn latency(routerd: &Path, rounds: usize, folder: &Path) {
    let measured = step(&format!("{rounds} announcements and withdrawals"), |_| {
        Ok((latency::measure(routerd, rounds, folder)?, "done".to_owned()))
    });
    match measured {
        Ok(latencies) => print!("{}", latency_table(rounds, &latencies)),
        Err(error) => println!("  announcements failed: {error:#}"),
    }
}

fn latency_table(rounds: usize, latencies: &Latencies) -> String {
    let row = |what: &str, percent| Row {
        what: what.to_owned(),
        unit: "ms",
        values: [&latencies.announced, &latencies.withdrawn]
            .map(|times| percentile(&times.iter().copied().map(ms).collect::<Vec<_>>(), percent))
            .into(),
    };
    let title = format!("An endpoint's change at the API server to the UPDATE at a peer, {rounds} times");
    table(&title, &["announced", "withdrawn"], &[row("p50", 50), row("p99", 99), row("at most", 100)])
}
