//! How far a run is, from the log that it writes (ginkgo's `--ginkgo.v`): for the eyes of who waits. What came of each
//! test is read from the report at the end. The program's own `--progress-report-url` tells of no test: its hook is lost
//! when ginkgo clones the suite (`PreviewSpecs`, Kubernetes 1.36).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The line between two tests.
const BETWEEN: &str = "------------------------------";

/// What happened to a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// It found a failure; its pods are not cleaned up yet.
    Failing(String),
    /// It is over: its name, and ginkgo's word and time for it.
    Ended(String, String),
}

/// Reads a growing log and finds events of known tests in it.
#[derive(Debug)]
pub(super) struct Progress {
    path: PathBuf,
    read: u64,
    /// The last line as far as it is written.
    rest: Vec<u8>,
    lines: Lines,
}

impl Progress {
    /// Follows the log at this path, which need not be there yet.
    pub(super) fn new(path: &Path, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let lines = Lines { names, between: false, current: None, failing: false };
        Self { path: path.to_owned(), read: 0, rest: vec![], lines }
    }

    /// What was written since the last time.
    pub(super) fn events(&mut self) -> Result<Vec<Event>> {
        let mut bytes = Vec::new();
        let mut log = File::open(&self.path).with_context(|| format!("reading {}", self.path.display()))?;
        log.seek(SeekFrom::Start(self.read))?;
        self.read += log.read_to_end(&mut bytes)? as u64;
        self.rest.extend(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(vec![]) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let text = String::from_utf8_lossy(&whole);
        Ok(text.lines().filter_map(|line| self.lines.take(line)).collect())
    }
}

/// What is known from the lines so far.
#[derive(Debug)]
struct Lines {
    names: Vec<String>,
    between: bool,
    current: Option<String>,
    failing: bool,
}

impl Lines {
    fn take(&mut self, line: &str) -> Option<Event> {
        let first = std::mem::replace(&mut self.between, line == BETWEEN);
        if first && let Some(name) = self.name(line) {
            (self.current, self.failing) = (Some(name), false);
            return None;
        }
        if let Some(end) = line.strip_prefix("• ").or_else(|| line.starts_with("S [").then_some(line)) {
            return Some(Event::Ended(self.current.take()?, end.trim().to_owned()));
        }
        if !self.failing && line.trim_start().starts_with("[FAILED] ") {
            self.failing = true;
            return self.current.clone().map(Event::Failing);
        }
        None
    }

    /// The test whose name and labels this line is. One name may begin with all of another.
    fn name(&self, line: &str) -> Option<String> {
        let begins = |name: &&String| {
            line.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ["))
        };
        self.names.iter().filter(begins).max_by_key(|name| name.len()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LOG: &str = "Will run 2 of 7579 specs\n------------------------------\n[SynchronizedBeforeSuite] \na.go:69\n\
        [SynchronizedBeforeSuite] PASSED [0.1 seconds]\n------------------------------\n[sig-a] one [F] [sig-a, F]\nb.go:5\n  \
        STEP: talk about [sig-a] two\n• [48.330 seconds]\n------------------------------\n[sig-a] two [sig-a]\nb.go:9\n  \
        [FAILED] Had 1 wrong results\n  In [It] at: c.go:1\n  [FAILED] again\n• [FAILED] [61.200 seconds]\n[sig-a] two\n\
        ------------------------------\n[sig-a] old [sig-a]\nb.go:11\n  [SKIPPED] needs a cloud\nS [SKIPPED] [0.005 seconds]\n";

    fn names() -> Vec<&'static str> {
        vec!["[sig-a] one", "[sig-a] one [F]", "[sig-a] two", "[sig-a] old"]
    }

    #[test]
    fn a_growing_log_tells_failures_before_their_end_and_ends_with_their_times() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut progress = Progress::new(log.path(), &names());
        let mut events = Vec::new();
        for part in LOG.as_bytes().chunks(17) {
            log.write_all(part).unwrap();
            events.extend(progress.events().unwrap());
        }
        let ended = |name: &str, end: &str| Event::Ended(name.into(), end.into());
        assert_eq!(
            events,
            [
                ended("[sig-a] one [F]", "[48.330 seconds]"),
                Event::Failing("[sig-a] two".into()),
                ended("[sig-a] two", "[FAILED] [61.200 seconds]"),
                ended("[sig-a] old", "S [SKIPPED] [0.005 seconds]"),
            ]
        );
    }

    #[test]
    fn a_log_that_is_not_there_is_an_error() {
        assert!(Progress::new(Path::new("/nonexistent/log"), &names()).events().is_err());
    }
}
