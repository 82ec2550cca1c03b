//! Says what is being done, in plain words, with a bar where the end is known.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// One step of a longer work, on a line of its own.
#[derive(Debug)]
pub struct Step {
    text: String,
    begin: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Step {
    /// Begins a step.
    pub fn new(text: impl Into<String>) -> Self {
        let step = Self {
            text: text.into(),
            begin: Instant::now(),
            shown: None,
            terminal: std::io::stdout().is_terminal(),
        };
        if step.terminal {
            print!("\r  {} …\x1b[K", step.text);
            // The bar is for looking at; a closed output ends the run elsewhere.
            let _shown = std::io::stdout().flush();
        }
        step
    }

    /// Shows how far it is.
    pub fn update(&mut self, done: u64, all: u64, unit: &str) {
        let pause = if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(20) };
        if self.shown.unwrap_or(self.begin).elapsed() < pause {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.begin.elapsed().as_secs();
        if self.terminal {
            print!("\r  {} {} {done}/{all} {unit}, {seconds} s\x1b[K", self.text, bar(done, all));
            let _shown = std::io::stdout().flush();
        } else {
            println!("  {} … {done}/{all} {unit}, {seconds} s", self.text);
        }
    }

    /// Shows that it goes on, and its last word.
    pub fn tick(&mut self, last: &str) {
        if !self.terminal || self.shown.unwrap_or(self.begin).elapsed() < Duration::from_millis(300) {
            return;
        }
        self.shown = Some(Instant::now());
        print!("\r  {} {} s  {last}\x1b[K", self.text, self.begin.elapsed().as_secs());
        let _shown = std::io::stdout().flush();
    }

    /// Ends the step with what came of it.
    pub fn finish(self, result: &str) {
        let start = if self.terminal { "\r" } else { "" };
        let end = if self.terminal { "\x1b[K" } else { "" };
        println!("{start}  {}: {result} ({:.1} s){end}", self.text, self.begin.elapsed().as_secs_f64());
    }
}

/// Does a step; what it returns is said at its end.
pub fn step<T>(text: &str, work: impl FnOnce(&mut Step) -> Result<(T, String)>) -> Result<T> {
    let mut step = Step::new(text);
    match work(&mut step) {
        Ok((value, result)) => {
            step.finish(&result);
            Ok(value)
        }
        Err(error) => {
            step.finish("failed");
            Err(error)
        }
    }
}

fn bar(done: u64, all: u64) -> String {
    const WIDTH: u64 = 30;
    let filled = usize::try_from((done.min(all) * WIDTH).checked_div(all).unwrap_or(0)).unwrap_or(0);
    format!("[{:<30}]", "#".repeat(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_from_empty_to_full_and_never_beyond() {
        assert_eq!(bar(0, 10), format!("[{}]", " ".repeat(30)));
        assert_eq!(bar(20, 10), format!("[{}]", "#".repeat(30)));
        assert_eq!(bar(1, 0), format!("[{}]", " ".repeat(30)));
    }
}
