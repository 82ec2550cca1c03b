//! The tables.

use std::time::Duration;

/// Width of a column with its ratio.
const WIDTH: usize = 28;

/// One line: what, its values and their unit. The first value is ours; behind the others stands how many times ours they are.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

/// A title, the columns' names, the rows.
pub(super) fn table(title: &str, labels: &[&str], rows: &[Row]) -> String {
    let mut lines = vec![format!("\n{title}\n"), line("", labels.iter().map(|label| (*label).to_owned()))];
    for row in rows {
        let first = row.values.first().copied().flatten();
        let cell = |(column, value): (usize, &Option<f64>)| match (value, first) {
            (None, _) => "-".to_owned(),
            // A count says all by itself.
            (Some(value), _) if row.unit.is_empty() => format!("{value:.0}"),
            (Some(value), Some(first)) if column > 0 && first > 0.0 => {
                format!("{} {} ({:.1}x)", number(*value), row.unit, value / first)
            }
            (Some(value), _) => format!("{} {}", number(*value), row.unit),
        };
        lines.push(line(&format!("  {}", row.what), row.values.iter().enumerate().map(cell)));
    }
    lines.concat()
}

fn number(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// What, and its cells in columns.
pub(super) fn line(what: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| format!("{cell:>WIDTH$}")).collect();
    format!("{what:44}{}", cells.concat()).trim_end().to_owned() + "\n"
}

/// Milliseconds.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The mean; nothing of nothing.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    let count = u32::try_from(values.len()).ok().filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / f64::from(count))
}

/// The value that this share of them did not exceed (nearest rank).
pub(super) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_many_times_ours_the_others_are() {
        let row = Row { what: "cold".into(), unit: "ms", values: vec![Some(200.0), Some(6_000.0), None] };
        let text = table("title", &["a", "b", "c"], &[row]);
        let words: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(words, ["cold", "200", "ms", "6000", "ms", "(30.0x)", "-"]);
        let row = Row { what: "starts".into(), unit: "", values: vec![Some(3.0), Some(1.0)] };
        assert!(table("title", &["a", "b"], &[row]).ends_with(" 1\n"));
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 99), Some(99.0));
        assert_eq!(percentile(&values, 50), Some(50.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
