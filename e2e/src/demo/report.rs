//! What the demo has shown: a line as it happens, a table at the end.

use anyhow::Result;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// As it should be, with what was measured.
    Good(String),
    /// This kernel cannot, and why.
    Absent(String),
}

#[derive(Debug)]
struct Row {
    claim: String,
    mark: &'static str,
    value: String,
}

/// All that was shown.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Does a check and says what came of it; a failure is a line too, and the demo goes on.
    pub fn check(&mut self, claim: &str, check: impl FnOnce() -> Result<Shown>) {
        let (mark, value) = match check() {
            Ok(Shown::Good(value)) => ("ok", value),
            Ok(Shown::Absent(why)) => ("--", why),
            Err(error) => ("FAILED", format!("{error:#}")),
        };
        println!("{mark:>6}  {claim}: {value}");
        self.rows.push(Row { claim: claim.to_owned(), mark, value });
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|row| row.mark == "FAILED").count()
    }

    /// How many checks were as they should be.
    pub fn good(&self) -> usize {
        self.rows.iter().filter(|row| row.mark == "ok").count()
    }

    /// The table.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.claim.chars().count()).max().unwrap_or(0);
        let line = |row: &Row| {
            let value = row.value.lines().next().unwrap_or_default();
            let value: String = value.chars().take(120).collect();
            format!("  {:<width$}  {:<6}  {value}\n", row.claim, row.mark)
        };
        self.rows.iter().map(line).collect()
    }
}

/// The middle one of some numbers, in order of size; 0 without any.
pub fn percentile(numbers: &mut [u64], percent: usize) -> u64 {
    numbers.sort_unstable();
    let last = numbers.len().saturating_sub(1);
    numbers.get((numbers.len() * percent / 100).min(last)).copied().unwrap_or(0)
}

/// Microseconds as milliseconds for people.
pub fn millis(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_and_the_others_are_still_shown() {
        let mut report = Report::default();
        report.check("first", || anyhow::bail!("no"));
        report.check("the second", || Ok(Shown::Good("1 ms".into())));
        report.check("third", || Ok(Shown::Absent("no IPVS".into())));
        assert_eq!((report.failed(), report.good()), (1, 1));
        let table = report.table();
        assert!(table.contains("first       FAILED  no"), "{table}");
        assert!(table.contains("third       --      no IPVS"), "{table}");
    }

    #[test]
    fn percentiles_and_milliseconds() {
        assert_eq!(percentile(&mut [5, 1, 3], 50), 3);
        assert_eq!(percentile(&mut [5, 1, 3], 99), 5);
        assert_eq!(percentile(&mut [], 50), 0);
        assert_eq!(millis(1234), "1.23 ms");
    }
}
