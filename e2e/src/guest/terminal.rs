//! Terminals: the helper that makes one a session's own, and raw mode on this side.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execvp, setsid};

use crate::process::{capture, command};

/// Becomes a program whose controlling terminal is the one at `path`.
pub fn become_on(path: &str, words: &[String]) -> Result<()> {
    setsid().context("a new session")?;
    let terminal =
        OpenOptions::new().read(true).write(true).open(path).with_context(|| format!("opening {path}"))?;
    dup2_stdin(terminal.as_fd())?;
    dup2_stdout(terminal.as_fd())?;
    dup2_stderr(terminal.as_fd())?;
    drop(terminal);
    let words = words.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()?;
    let program = words.first().context("no program to run")?;
    execvp(program, &words).with_context(|| format!("running {}", program.to_string_lossy()))?;
    Ok(())
}

/// This terminal without echo, line editing and signals, until dropped.
#[derive(Debug)]
pub struct Raw(Termios);

impl Raw {
    /// Switches the terminal over; an error when standard input is none.
    pub fn new() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("standard input is no terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone with its window; there is nothing to put back then.
        let _gone = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Rows and columns of this terminal.
pub fn size() -> (u16, u16) {
    let told = capture(command("stty").args(["-F", "/dev/tty", "size"])).unwrap_or_default();
    let mut numbers = told.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(rows), Some(columns)) => (rows, columns),
        _ => (24, 80),
    }
}
