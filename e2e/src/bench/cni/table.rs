//! The tables.

use super::measure::Figures;
use super::scenario::Scenario;

/// Width of a column with its ratio.
const WIDTH: usize = 26;

/// The figures of a scenario with so many other pods.
pub(super) type Level = (usize, Vec<Figures>);

/// A line for each figure, a block for each number of other pods. In brackets: how many times the first column's.
pub(super) fn table(scenario: &Scenario, levels: &[Level]) -> String {
    let labels: Vec<String> = scenario.chains.iter().map(|chain| chain.label.clone()).collect();
    let mut lines = vec![format!("\n{}\n", scenario.title), line("", &labels)];
    for (others, figures) in levels {
        lines.push(format!(" {others} other pods\n"));
        let samples: Vec<String> = figures.iter().map(samples).collect();
        lines.push(line("  samples, one by one + at once", &samples));
        for row in rows(scenario.at_once).iter().filter(|row| *others == 0 || !row.once) {
            let values: Vec<f64> = figures.iter().map(row.of).collect();
            lines.push(line(&format!("  {}", row.what), &cells(&values, row.unit)));
        }
        for (label, reason) in labels.iter().zip(figures).filter_map(|(l, f)| Some((l, f.failed.as_ref()?))) {
            lines.push(format!("  {label} failed: {}\n", one_line(reason)));
        }
    }
    lines.concat()
}

fn samples(figures: &Figures) -> String {
    format!("{} + {}", figures.add.len(), figures.wave_add.len())
}

/// One kind of figure.
struct Row {
    what: String,
    unit: &'static str,
    /// It does not depend on other pods.
    once: bool,
    of: fn(&Figures) -> f64,
}

fn rows(at_once: usize) -> Vec<Row> {
    let ms = |what: &str, of| Row { what: what.into(), unit: "ms", once: false, of };
    let once = |what: &str, unit, of| Row { what: what.into(), unit, once: true, of };
    vec![
        ms("ADD p50", |of| of.add.percentile(50)),
        ms("ADD p99", |of| of.add.percentile(99)),
        ms("DEL p50", |of| of.del.percentile(50)),
        ms("DEL p99", |of| of.del.percentile(99)),
        ms("CPU of an ADD, mean", |of| of.add_cpu.mean()),
        ms("CPU of a DEL, mean", |of| of.del_cpu.mean()),
        ms(&format!("{at_once} at once: ADD p50"), |of| of.wave_add.percentile(50)),
        ms(&format!("{at_once} at once: ADD p99"), |of| of.wave_add.percentile(99)),
        ms(&format!("{at_once} at once: ADD, to the last"), |of| of.wave_add_all.percentile(50)),
        ms(&format!("{at_once} at once: DEL p50"), |of| of.wave_del.percentile(50)),
        ms(&format!("{at_once} at once: DEL p99"), |of| of.wave_del.percentile(99)),
        ms(&format!("{at_once} at once: DEL, to the last"), |of| of.wave_del_all.percentile(50)),
        once("programs executed by an ADD", "", |of| f64::from(of.traced_add.programs)),
        once("programs executed by a DEL", "", |of| f64::from(of.traced_del.programs)),
        once("largest resident set of an ADD", "MiB", |of| of.traced_add.largest()),
        once("largest resident set of a DEL", "MiB", |of| of.traced_del.largest()),
        once("size of the plugins' programs", "MiB", |of| {
            f64::from(u32::try_from(of.bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
        }),
    ]
}

fn cells(values: &[f64], unit: &str) -> Vec<String> {
    let digits = if unit.is_empty() { 0 } else { 2 };
    let first = values.first().copied().unwrap_or(f64::NAN);
    let cell = |(column, value): (usize, &f64)| match column {
        _ if !value.is_finite() || *value <= 0.0 => "-".to_owned(),
        0 => format!("{value:.digits$} {unit}"),
        _ if !first.is_finite() || first <= 0.0 => format!("{value:.digits$} {unit}"),
        _ => format!("{value:.digits$} {unit} ({:.1}x)", value / first),
    };
    values.iter().enumerate().map(cell).collect()
}

fn line(what: &str, cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>WIDTH$}")).collect();
    format!("{what:36}{}", cells.concat()).trim_end().to_owned() + "\n"
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::scenario::{Folders, plain};
    use super::*;

    #[test]
    fn the_table_says_how_many_times_more_the_others_take_and_who_failed_why() {
        let folder = Path::new("/none");
        let scenario =
            plain(&Folders { ours: folder, debian: Some(folder), release: Some((folder, "1.9.1")) });
        let mut figures = vec![Figures::default(), Figures::default(), Figures::default()];
        for (figures, ms) in figures.iter_mut().zip([2, 8]) {
            figures.add.push(std::time::Duration::from_millis(ms));
        }
        figures[2].failed = Some("it\n  said no".into());
        let text = table(&scenario, &[(200, figures)]);
        let words = |what: &str| -> Vec<&str> {
            text.lines().find(|line| line.contains(what)).unwrap().split_whitespace().collect()
        };
        assert_eq!(words("ADD p50"), ["ADD", "p50", "2.00", "ms", "8.00", "ms", "(4.0x)", "-"]);
        assert!(
            text.contains("200 other pods") && text.contains("release 1.9.1 failed: it said no"),
            "{text}"
        );
        assert!(!text.contains("programs executed"), "that was said with no other pods: {text}");
    }
}
