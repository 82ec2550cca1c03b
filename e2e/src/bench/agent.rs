//! A program under test: its processor time, its memory, and its end.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::world::on;
use crate::process::{attach_log, tail};

/// The kernel's unit of time in `/proc/PID/stat` (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// A process that takes less than this in a [`WINDOW`] has nothing to do.
const IDLE: Duration = Duration::from_millis(15);
const WINDOW: Duration = Duration::from_millis(400);

/// A program that runs until this value is dropped. What it wrote to the kernel stays.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    pid: Pid,
    log: PathBuf,
    label: &'static str,
    windows: u32,
    /// When it was started.
    pub(super) begin: Instant,
}

impl Agent {
    /// Starts a program in a named network namespace. It has nothing to do after so many windows without work: one that waits for
    /// programs that it runs needs several, because their time counts at their end.
    pub(super) fn start(
        mut prepared: Command,
        label: &'static str,
        windows: u32,
        netns: &str,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{netns}.agent.log"));
        attach_log(&mut prepared, &log)?;
        let begin = Instant::now();
        let child = on(netns, move || prepared.spawn().with_context(|| format!("starting {label}")))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Self { child, pid, log, label, windows, begin })
    }

    /// Processor time of the process and of the programs that it ran, so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.pid).context("the clock of the program under test")?;
        let own = Duration::from(clock_gettime(clock)?);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        Ok(own + children(&stat).context("the times of a process's children")?)
    }

    /// Its resident set in MiB: now, and at most.
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let mib = |key: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(f64::from(line.split_whitespace().next()?.parse::<u32>().ok()?) / 1024.0)
        };
        mib("VmRSS:").zip(mib("VmHWM:")).context("the memory of a process")
    }

    /// Waits until it has nothing to do; its processor time then.
    pub(super) fn settle(&mut self) -> Result<Duration> {
        let mut before = self.cpu()?;
        let mut idle = 0;
        while idle < self.windows {
            std::thread::sleep(WINDOW);
            self.still_running()?;
            let now = self.cpu()?;
            idle = if now.saturating_sub(before) < IDLE { idle + 1 } else { 0 };
            before = now;
        }
        Ok(before)
    }

    /// An error with the end of its log when it has ended.
    pub(super) fn still_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {} (signal {:?}):\n{}",
                self.label,
                status,
                status.signal(),
                tail(&self.log, 15)
            ),
        }
    }

    /// Ends it without a warning.
    pub(super) fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// The end of its log.
    pub(super) fn log(&self) -> String {
        tail(&self.log, 15)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

/// User and system time of children that have ended: the 16th and 17th field of `/proc/PID/stat` (proc(5)).
fn children(stat: &str) -> Option<Duration> {
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<u32> =
        after.split_whitespace().skip(13).take(2).filter_map(|word| word.parse().ok()).collect();
    let [user, system] = fields.as_slice() else { return None };
    Some(TICK * (user + system))
}

/// Processor time of this process: the API server and the packets that ask.
pub(super) fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read_past_a_name_with_blanks() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 100 200 0 0 7 8 30 12 20 0 1 0 100 1 1";
        assert_eq!(children(stat), Some(Duration::from_millis(420)));
        assert_eq!(children("12 (a) S 1"), None);
    }
}
