//! The report that ginkgo writes of a run, in JSON (`types.Report` of ginkgo 2).

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What ginkgo calls a node of its tree that is a test.
const TEST: &str = "It";

/// A run of a suite.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    #[serde(rename = "SuiteDescription")]
    description: String,
    #[serde(rename = "SuiteConfig")]
    config: Config,
    special_suite_failure_reasons: Option<Vec<String>>,
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    random_seed: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_text: String,
    leaf_node_type: String,
    state: String,
    /// In nanoseconds.
    run_time: u64,
    num_attempts: u32,
    failure: Option<Failure>,
    #[serde(default)]
    captured_ginkgo_writer_output: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
    location: Option<Location>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Location {
    file_name: String,
    line_number: u32,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passed at its first attempt.
    Passed,
    /// It did not, with what it said.
    Failed(String),
    /// It found that it cannot run here, and why.
    Skipped(String),
    /// It was not begun.
    NotRun,
}

/// A test of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    /// Its full name.
    pub(super) name: String,
    /// What came of it.
    pub(super) verdict: Verdict,
    /// How long it took.
    pub(super) took: Duration,
    /// All that it said.
    pub(super) log: String,
}

/// What is read of a run.
#[derive(Debug)]
pub(super) struct Report {
    /// What the suite calls itself.
    pub(super) suite: String,
    /// What the order of the tests was made from.
    pub(super) seed: i64,
    /// What failed that is no test: the suite's own beginning or end, its time limit.
    pub(super) troubles: Vec<String>,
    /// Every test that the program has, also those that were not asked for.
    pub(super) tests: Vec<Ran>,
}

/// Reads the report at this path.
pub(super) fn read(path: &Path) -> Result<Report> {
    let text = fs::read(path).with_context(|| format!("reading ginkgo's report {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no report of ginkgo", path.display()))
}

fn parse(text: &[u8]) -> Result<Report> {
    let suites: Vec<Suite> = serde_json::from_slice(text)?;
    let suite = suites.into_iter().next().context("it has no suite")?;
    let (tests, others): (Vec<Spec>, Vec<Spec>) =
        suite.spec_reports.unwrap_or_default().into_iter().partition(|spec| spec.leaf_node_type == TEST);
    let mut troubles = suite.special_suite_failure_reasons.unwrap_or_default();
    troubles.extend(others.iter().filter_map(trouble));
    Ok(Report {
        suite: suite.description,
        seed: suite.config.random_seed,
        troubles,
        tests: tests.into_iter().map(ran).collect(),
    })
}

fn trouble(spec: &Spec) -> Option<String> {
    match verdict(spec) {
        Verdict::Failed(why) => Some(format!("{}: {why}", spec.leaf_node_type)),
        _ => None,
    }
}

fn ran(spec: Spec) -> Ran {
    let verdict = verdict(&spec);
    let mut name = spec.container_hierarchy_texts.unwrap_or_default();
    name.push(spec.leaf_node_text);
    Ran {
        name: name.join(" "),
        verdict,
        took: Duration::from_nanos(spec.run_time),
        log: spec.captured_ginkgo_writer_output,
    }
}

fn verdict(spec: &Spec) -> Verdict {
    let said = spec.failure.as_ref().map(|failure| {
        let at = failure.location.as_ref();
        let at = at.map_or(String::new(), |at| format!("\n(at {}:{})", at.file_name, at.line_number));
        (failure.message.clone(), at)
    });
    match (spec.state.as_str(), said) {
        ("passed", _) if spec.num_attempts > 1 => {
            Verdict::Failed(format!("it took {} attempts", spec.num_attempts))
        }
        ("passed", _) => Verdict::Passed,
        // One that decided so itself says why; one that was not asked for says nothing.
        ("skipped", Some((message, _))) if !message.is_empty() => Verdict::Skipped(message),
        ("skipped" | "pending", _) => Verdict::NotRun,
        (_, Some((message, at))) => Verdict::Failed(message + &at),
        (state, None) => Verdict::Failed(state.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(name: &str, state: &str, more: &Value) -> Value {
        let mut spec = json!({
            "ContainerHierarchyTexts": ["[sig-a]"], "LeafNodeText": name, "LeafNodeType": "It", "State": state,
            "RunTime": 1_500_000_000_u64, "NumAttempts": 1,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        spec
    }

    fn report(specs: &[Value]) -> Report {
        let suite = json!([{
            "SuiteDescription": "A suite", "SuiteConfig": { "RandomSeed": 7 },
            "SpecialSuiteFailureReasons": null, "SpecReports": specs,
        }]);
        parse(suite.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn passed_failed_and_skipped_with_reason_are_told_apart_from_not_asked_for() {
        let why = |message: &str| json!({ "Failure": { "Message": message, "Location": { "FileName": "a.go", "LineNumber": 3 } } });
        let report = report(&[
            spec("good", "passed", &json!({})),
            spec("bad", "failed", &why("no answer")),
            spec("slow", "timedout", &json!({})),
            spec("cloud", "skipped", &why("needs a cloud")),
            spec("other", "skipped", &json!({})),
        ]);
        let verdicts: Vec<Verdict> = report.tests.iter().map(|ran| ran.verdict.clone()).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Passed,
                Verdict::Failed("no answer\n(at a.go:3)".into()),
                Verdict::Failed("timedout".into()),
                Verdict::Skipped("needs a cloud".into()),
                Verdict::NotRun,
            ]
        );
        assert_eq!(report.tests[0].name, "[sig-a] good");
        assert_eq!((report.tests[0].took.as_millis(), report.seed), (1500, 7));
    }

    #[test]
    fn a_second_attempt_is_a_failure() {
        let report = report(&[spec("flaky", "passed", &json!({ "NumAttempts": 2 }))]);
        assert_eq!(report.tests[0].verdict, Verdict::Failed("it took 2 attempts".into()));
    }

    #[test]
    fn a_suite_that_fails_before_its_tests_says_so() {
        let begin = json!({ "LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "ContainerHierarchyTexts": null,
            "Failure": { "Message": "no nodes" } });
        let report = report(&[spec("", "failed", &begin)]);
        assert_eq!(report.troubles, ["SynchronizedBeforeSuite: no nodes"]);
        assert!(report.tests.is_empty());
    }
}
