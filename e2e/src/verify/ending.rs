//! A run that is ended by a signal takes everything with it that it started: the compiler, tests with their daemons and name
//! spaces, whole labs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{command, hold_signals};

/// How long a lab may take to put its nodes away.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a shell says of a program that was interrupted.
const STATUS: u8 = 130;

/// The pause between looks for signals and the end.
const LOOK: Duration = Duration::from_millis(50);

/// Where tests name their name spaces, `rt-PURPOSE-PROCESS-NUMBER`.
const NAMES: &str = "/run/netns";

/// Set in the process that runs the steps.
const VARIABLE: &str = "LAB_VERIFY";

/// True in the process that runs the steps.
pub(super) fn is_inside() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs this program once more, with the same arguments, to run the steps, and waits for its end or for a signal. The steps have a
/// process of their own, because programs inherit which signals are held back. Returns the exit status.
pub(super) fn watch() -> Result<u8> {
    // What loses its parent becomes a child of this process, and is found.
    set_child_subreaper(true).context("becoming the parent of what is left")?;
    let program = std::env::current_exe().context("the lab does not know its own path")?;
    let mut inner = command(program);
    let mut child = inner
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, "1")
        .spawn()
        .context("the lab could not start itself")?;
    let signals = hold_signals(&[])?;
    loop {
        if signals.read_signal()?.is_some() {
            eprintln!("\nended by a signal; what the run started is ended too");
            end_all();
            return Ok(STATUS);
        }
        if let Some(status) = child.try_wait()? {
            end_all();
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(STATUS));
        }
        std::thread::sleep(LOOK);
    }
}

fn end_all() {
    let end = Instant::now() + PATIENCE;
    let mut all = BTreeSet::new();
    loop {
        // Again and again: what ends may have started something meanwhile.
        let found = descendants(std::process::id(), &parents());
        let alive: Vec<i32> = found.iter().copied().filter(|process| is_alive(*process)).collect();
        if alive.is_empty() {
            break;
        }
        let late = Instant::now() >= end;
        for process in alive {
            if late || all.insert(process) {
                // One that has ended already needs no signal.
                let signal = if late { Signal::SIGKILL } else { Signal::SIGTERM };
                let _ended = kill(Pid::from_raw(process), signal);
            }
        }
        std::thread::sleep(LOOK);
    }
    for name in names(&all) {
        let path = Path::new(NAMES).join(name);
        let _unmounted = umount2(&path, MntFlags::MNT_DETACH);
        let _removed = fs::remove_file(&path);
    }
}

/// Each process and its parent.
fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    processes.filter_map(|process| Some((process, state(process)?.1))).collect()
}

/// The letter of the state and the parent. The name in brackets before them may hold anything.
fn state(process: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

fn is_alive(process: i32) -> bool {
    state(process).is_some_and(|(state, _)| state != 'Z')
}

fn descendants(of: u32, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    let mut all: BTreeSet<i32> = i32::try_from(of).into_iter().collect();
    let own = all.clone();
    loop {
        let more = parents.iter().filter(|(child, parent)| all.contains(parent) && !all.contains(child));
        let more: Vec<i32> = more.map(|(child, _)| *child).collect();
        if more.is_empty() {
            return all.difference(&own).copied().collect();
        }
        all.extend(more);
    }
}

/// The name spaces of tests among these processes.
fn names(processes: &BTreeSet<i32>) -> Vec<String> {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| maker(name).is_some_and(|process| processes.contains(&process))).collect()
}

fn maker(name: &str) -> Option<i32> {
    let mut words = name.strip_prefix("rt-")?.rsplit('-');
    let _number: u32 = words.next()?.parse().ok()?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_belong_to_a_run_and_nobody_else() {
        let parents = BTreeMap::from([(2, 1), (10, 2), (11, 10), (12, 11), (20, 1), (21, 20)]);
        assert_eq!(descendants(10, &parents), BTreeSet::from([11, 12]));
        assert_eq!(descendants(12, &parents), BTreeSet::new());
    }

    #[test]
    fn this_process_is_alive_and_has_a_parent() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(is_alive(own));
        assert!(parents().contains_key(&own));
    }

    #[test]
    fn name_spaces_of_tests_tell_their_process() {
        assert_eq!(maker("rt-polpod-712-3"), Some(712));
        assert_eq!(maker("rt-two-words-712-30"), Some(712));
        assert_eq!(maker("cni-712-3"), None);
        assert_eq!(maker("rt-polpod"), None);
    }
}
