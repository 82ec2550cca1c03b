//! What came of the steps, for people.

use std::time::Duration;

/// What came of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Checks or tests that passed.
    pub(super) passed: u64,
    /// Those that failed.
    pub(super) failed: u64,
    /// What is worth saying.
    pub(super) note: String,
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// The step.
    pub(super) name: &'static str,
    /// What came of it.
    pub(super) outcome: Outcome,
    /// How long it took.
    pub(super) took: Duration,
}

impl Outcome {
    /// One thing that failed.
    pub(super) fn failure(note: impl Into<String>) -> Self {
        Self { passed: 0, failed: 1, note: note.into() }
    }
}

/// The table.
pub(super) fn table(rows: &[Row]) -> String {
    let head = format!("  {:8}  {:>6}  {:>6}  {:>8}\n", "step", "passed", "failed", "seconds");
    rows.iter().map(line).fold(head, |text, line| text + &line)
}

fn line(row: &Row) -> String {
    let Outcome { passed, failed, note } = &row.outcome;
    let note: String = note.lines().next().unwrap_or_default().chars().take(90).collect();
    format!("  {:8}  {passed:>6}  {failed:>6}  {:>8.1}  {note}\n", row.name, row.took.as_secs_f64())
}

/// All that passed and all that failed.
pub(super) fn total(rows: &[Row]) -> (u64, u64) {
    rows.iter()
        .fold((0, 0), |(passed, failed), row| (passed + row.outcome.passed, failed + row.outcome.failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_counts_what_passed_and_failed() {
        let row = |outcome| Row { name: "x", outcome, took: Duration::from_secs(1) };
        let rows =
            [row(Outcome { passed: 1, failed: 0, note: String::new() }), row(Outcome::failure("a\nb"))];
        assert_eq!(total(&rows), (1, 1));
        assert_eq!(table(&rows).lines().count(), 3, "one line a step");
    }
}
