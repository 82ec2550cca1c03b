//! What one operation executes, and how much memory each process had at most.

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use super::plugin::{Call, Chain, Pod, output};

/// What was seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Programs executed, the plugin itself included.
    pub(super) programs: u32,
    /// The largest resident set of each process, in KiB.
    pub(super) peaks: BTreeMap<i32, u64>,
}

impl Seen {
    /// The largest of the peaks, in MiB.
    pub(super) fn largest(&self) -> f64 {
        let kib = self.peaks.values().max().copied().unwrap_or(0);
        f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
    }
}

/// Runs an operation under `ptrace`, following what the plugins start, and returns the result too.
pub(super) fn run(chain: &Chain, verb: &str, pod: &Pod, previous: Option<&Value>) -> Result<(Seen, Value)> {
    let mut seen = Seen::default();
    let mut result = previous.cloned();
    for call in chain.calls(verb, pod, &chain.node.network())? {
        let mut child = call.start()?;
        let status = follow(&call, &mut child, result.as_ref(), &mut seen)?;
        let text = output(&mut child)?;
        if status != 0 {
            bail!("{} under the tracer: {verb} ended with {status}: {text}", chain.label);
        }
        if verb == "ADD" {
            result = Some(serde_json::from_str(&text)?);
        }
    }
    Ok((seen, result.unwrap_or(Value::Null)))
}

/// One exec to its end; the answer is its exit status.
fn follow(call: &Call<'_>, child: &mut Child, previous: Option<&Value>, seen: &mut Seen) -> Result<i32> {
    let main = Pid::from_raw(i32::try_from(child.id())?);
    // Its own exec ends a moment after the start returns and must not be counted twice; after that it waits for
    // its configuration, and nothing has happened yet.
    std::thread::sleep(Duration::from_millis(50));
    seize(main)?;
    call.feed(child, previous)?;
    seen.programs += 1;
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(pid, status) if pid == main => return Ok(status),
            WaitStatus::Signaled(pid, signal, _) if pid == main => return Ok(128 + signal as i32),
            WaitStatus::PtraceEvent(pid, _, event) => {
                note(seen, pid, event)?;
                go_on(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => go_on(pid, Some(signal)),
            _ => {}
        }
    }
}

/// Attaches to every thread there is; those to come are followed. A Go program has several before it does anything, and
/// any of them may start a program.
fn seize(main: Pid) -> Result<()> {
    let follow = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    let events = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_EXITKILL;
    for entry in fs::read_dir(format!("/proc/{main}/task"))? {
        let thread: i32 = entry?.file_name().to_string_lossy().parse()?;
        ptrace::seize(Pid::from_raw(thread), follow | events).context("the plugin cannot be traced")?;
    }
    Ok(())
}

fn note(seen: &mut Seen, pid: Pid, event: i32) -> Result<()> {
    if event == Event::PTRACE_EVENT_EXEC as i32 {
        seen.programs += 1;
    } else if event == Event::PTRACE_EVENT_EXIT as i32 {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        if let (Some(group), Some(peak)) = (number(&status, "Tgid:"), number(&status, "VmHWM:")) {
            let process = i32::try_from(group)?;
            let highest = seen.peaks.entry(process).or_default();
            *highest = peak.max(*highest);
        }
    }
    Ok(())
}

fn go_on(pid: Pid, signal: Option<nix::sys::signal::Signal>) {
    // It may have been killed meanwhile by the end of its process.
    let _gone = ptrace::cont(pid, signal);
}

fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_status_of_a_process() {
        let status = "Name:\tbridge\nTgid:\t12\nVmHWM:\t    5120 kB\n";
        assert_eq!((number(status, "Tgid:"), number(status, "VmHWM:")), (Some(12), Some(5120)));
        assert_eq!(number("", "Tgid:"), None);
        let seen = Seen { programs: 1, peaks: BTreeMap::from([(1, 1024), (2, 5120)]) };
        assert!((seen.largest() - 5.0).abs() < 1e-9);
    }
}
