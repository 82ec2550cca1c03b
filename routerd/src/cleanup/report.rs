//! What a clean-up did.

use std::fmt::Display;

use kernel::KernelError;

/// Lines for the operator.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// What is gone.
    pub(super) removed: Vec<String>,
    /// What might have been ours and stays, and why.
    pub(super) kept: Vec<String>,
    /// What could not be done.
    pub(super) problems: Vec<String>,
}

impl Report {
    /// The value, or a problem: what was `tried` without it.
    pub(super) fn opened<T>(&mut self, tried: &str, result: Result<T, KernelError>) -> Option<T> {
        result.map_err(|error| self.problems.push(format!("cannot {tried}: {error}; run it as root"))).ok()
    }

    /// The value, or a problem.
    pub(super) fn value<T>(&mut self, result: Result<T, KernelError>) -> Option<T> {
        result.map_err(|error| self.problems.push(error.to_string())).ok()
    }

    /// `what` was to be removed. That it has gone meanwhile is as good.
    pub(super) fn gone(&mut self, what: impl Display, result: Result<(), KernelError>) -> bool {
        match result {
            Ok(()) => self.removed.push(what.to_string()),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                self.problems.push(format!("cannot remove {what}: {error}"));
                return false;
            }
        }
        true
    }
}
