//! Cargo, as the steps use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::paths::{target, workspace};
use crate::process::{attach_log, command, describe};
use crate::progress::Step;

/// A cargo command on the workspace, with the cached output folder.
pub(super) fn cargo(words: &str) -> Result<Command> {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(words.split_whitespace()).current_dir(workspace());
    cargo.env("CARGO_TARGET_DIR", target()?).env("CARGO_TERM_COLOR", "never");
    // What cargo tells the program it runs is not meant for the cargo that this one runs.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            cargo.env_remove(name);
        }
    }
    Ok(cargo)
}

/// Runs a command to its end with its output in a log, and shows that time passes.
pub(super) fn watched(text: &str, command: &mut Command, log: &Path) -> Result<ExitStatus> {
    let mut step = Step::new(text);
    let mut child = attach_log(command, log)?
        .spawn()
        .with_context(|| format!("{} could not be started", describe(command)))?;
    loop {
        if let Some(status) = child.try_wait()? {
            step.finish(if status.success() { "done" } else { "failed" });
            return Ok(status);
        }
        step.tick(&last_line(log));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let end = &text[text.len().saturating_sub(400)..];
    let end = String::from_utf8_lossy(end);
    end.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .chars()
        .take(70)
        .collect()
}

/// The test programs of the workspace, built; from cargo's messages in JSON.
pub(super) fn test_programs(log: &Path) -> Result<Vec<PathBuf>> {
    let mut build = cargo("test --workspace --exclude e2e --locked --no-run --message-format=json")?;
    let messages = log.with_extension("json");
    let status = watched("build of the test programs", &mut build, &messages)?;
    let text = fs::read_to_string(&messages)?;
    anyhow::ensure!(status.success(), "the test programs do not build; see {}", messages.display());
    Ok(executables(&text))
}

fn executables(messages: &str) -> Vec<PathBuf> {
    let program = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_test = message["profile"]["test"].as_bool()?;
        let path = message["executable"].as_str()?;
        is_test.then(|| PathBuf::from(path))
    };
    messages.lines().filter_map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken_from_cargos_messages() {
        let text = r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/ipvs-1"}
{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/routerd"}
{"reason":"compiler-artifact","profile":{"test":true},"executable":null}
warning: not JSON"#;
        assert_eq!(executables(text), [PathBuf::from("/t/ipvs-1")]);
    }
}
