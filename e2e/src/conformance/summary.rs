//! What came of a run, for people.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::Order;
use super::group::Case;
use super::report::{Ran, Report, Verdict};

/// The folder of what failed, one folder a test.
pub(super) const FAILED: &str = "failed";

/// How many lines of what a failed test said are shown.
const LINES: usize = 15;

/// The longest name of a test's folder, in bytes.
const LONGEST: usize = 80;

/// What came of a run.
pub(super) struct Summary {
    passed: usize,
    failed: Vec<Ran>,
    skipped: Vec<(String, String)>,
    not_run: Vec<String>,
    left_out: Vec<(String, String)>,
    troubles: Vec<String>,
    seed: i64,
    results: PathBuf,
}

impl Summary {
    /// Of the group's tests, the program's report and what routerd said of itself afterwards.
    pub(super) fn new(cases: &[Case], report: Report, after: Result<String>, results: &Path) -> Self {
        let mut summary = Self {
            passed: 0,
            failed: vec![],
            skipped: vec![],
            not_run: vec![],
            left_out: vec![],
            troubles: report.troubles,
            seed: report.seed,
            results: results.to_owned(),
        };
        match after {
            Ok(state) => println!("  routerd after: {state}"),
            Err(error) => summary.troubles.push(format!("routerd after the tests: {error:#}")),
        }
        let mut ran: HashMap<String, Ran> =
            report.tests.into_iter().map(|ran| (ran.name.clone(), ran)).collect();
        for case in cases {
            match &case.left_out {
                Some(why) => summary.left_out.push((case.name.clone(), why.clone())),
                None => summary.count(&case.name, ran.remove(&case.name)),
            }
        }
        summary
    }

    fn count(&mut self, name: &str, ran: Option<Ran>) {
        match ran {
            Some(Ran { verdict: Verdict::Passed, .. }) => self.passed += 1,
            Some(ran @ Ran { verdict: Verdict::Failed(_), .. }) => self.failed.push(ran),
            Some(Ran { verdict: Verdict::Skipped(why), .. }) => self.skipped.push((name.to_owned(), why)),
            Some(Ran { verdict: Verdict::NotRun, .. }) | None => self.not_run.push(name.to_owned()),
        }
    }

    /// Did every test pass that was to be run and can run here?
    pub(super) fn is_good(&self) -> bool {
        self.failed.is_empty() && self.not_run.is_empty() && self.troubles.is_empty()
    }

    /// All of it, the counts last.
    pub(super) fn text(&self, order: &Order, took: Duration) -> String {
        let mut text: String = self.failed.iter().map(|ran| self.failure(ran)).collect();
        for (word, list) in [("skipped", &self.skipped), ("left out", &self.left_out)] {
            text.extend(list.iter().map(|(name, why)| {
                format!("  {word}: {name}\n    {}\n", why.trim().replace('\n', "\n    "))
            }));
        }
        text.extend(self.not_run.iter().map(|name| format!("  not run: {name}\n")));
        text.extend(self.troubles.iter().map(|what| format!("  also failed: {what}\n")));
        let (results, seed) = (self.results.display(), self.seed);
        // Writing to a text cannot fail.
        let _written =
            writeln!(text, "  JUnit, JSON and logs: {results}; no second attempts, order from seed {seed}");
        text + &format!(
            "conformance {}: {} passed, {} failed, {} skipped, {} not run, {} left out, {:.0} s",
            order.group,
            self.passed,
            self.failed.len() + self.troubles.len(),
            self.skipped.len(),
            self.not_run.len(),
            self.left_out.len(),
            took.as_secs_f64()
        )
    }

    /// A failed test with the end of what it said; all of it goes beside the state of the nodes at its end.
    fn failure(&self, ran: &Ran) -> String {
        let Verdict::Failed(why) = &ran.verdict else { return String::new() };
        let folder = self.results.join(FAILED).join(folder_name(&ran.name));
        let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("test.log"), &ran.log));
        let place = match kept {
            Ok(()) => folder.display().to_string(),
            Err(error) => format!("{} could not be written: {error}", folder.display()),
        };
        let said: Vec<&str> = ran.log.lines().collect();
        let said = said[said.len().saturating_sub(LINES)..].join("\n    | ");
        let why = why.trim().replace('\n', "\n    ");
        format!(
            "  FAILED after {:.1} s: {}\n    {why}\n    | {said}\n    its log and the nodes at its end: {place}\n",
            ran.took.as_secs_f64(),
            ran.name
        )
    }
}

/// The folder of a test: the end of its name, which differs most, in letters and digits.
pub(super) fn folder_name(test: &str) -> String {
    let words: Vec<&str> =
        test.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let name = words.join("-").to_ascii_lowercase();
    name[name.len().saturating_sub(LONGEST)..].trim_start_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(name: &str, verdict: Verdict) -> Ran {
        Ran { name: name.into(), verdict, took: Duration::from_secs(2), log: "first\nlast".into() }
    }

    fn case(name: &str, left_out: Option<&str>) -> Case {
        Case { name: name.into(), left_out: left_out.map(str::to_owned) }
    }

    fn summary(folder: &Path, tests: Vec<Ran>) -> Summary {
        let report = Report { suite: "S".into(), seed: 7, troubles: vec![], tests };
        let cases = [case("a", None), case("b", None), case("c", Some("no cloud"))];
        Summary::new(&cases, report, Ok("fine".into()), folder)
    }

    #[test]
    fn a_test_that_was_to_be_run_and_was_not_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let good =
            summary(folder.path(), vec![ran("a", Verdict::Passed), ran("b", Verdict::Skipped("old".into()))]);
        assert!(good.is_good());
        assert_eq!((good.passed, good.skipped.len(), good.left_out.len()), (1, 1, 1));
        assert!(!summary(folder.path(), vec![ran("a", Verdict::Passed)]).is_good());
        let absent = summary(folder.path(), vec![ran("a", Verdict::Passed), ran("b", Verdict::NotRun)]);
        assert_eq!((absent.is_good(), absent.not_run), (false, vec!["b".to_owned()]));
    }

    #[test]
    fn a_failure_is_shown_with_its_end_and_its_whole_log_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let failed = ran("[sig-a] b is (well)", Verdict::Failed("no answer".into()));
        let summary = summary(folder.path(), vec![]);
        let text = summary.failure(&failed);
        assert!(text.contains("FAILED after 2.0 s: [sig-a] b is (well)\n    no answer"), "{text}");
        assert!(text.contains("    | first\n    | last"), "{text}");
        let log = folder.path().join(FAILED).join("sig-a-b-is-well/test.log");
        assert_eq!(fs::read_to_string(log).unwrap(), "first\nlast");
    }

    #[test]
    fn the_folder_of_a_long_name_is_its_end() {
        let name = folder_name(&format!("[sig] {} the-end [Feature:X]", "word ".repeat(60)));
        assert!(name.len() <= LONGEST && name.ends_with("the-end-feature-x"), "{name}");
    }
}
