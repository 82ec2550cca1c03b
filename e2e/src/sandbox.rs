//! A run of the lab is one process in name spaces of its own (processes, network, mounts). When it
//! ends, however it ends, the kernel ends every guest, takes away every device and every mount. The
//! process outside only waits, hands signals on and removes the run's folder.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, geteuid};

use serde::Serialize;

use crate::process::{command, hold_signals, left_behind};

/// Names the run's folder to the process inside; its presence says that one is inside.
const VARIABLE: &str = "LAB_RUN";

/// The folder of a run that is inside its name spaces.
#[derive(Debug, Clone)]
pub struct Inside {
    /// Logs, the lab's copy of the programs, per-run files. Visible at the same path in every guest.
    pub folder: PathBuf,
}

/// How a run ended, as seen from outside.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is over, with this exit status.
    Over(u8),
    /// It goes on until `lab down`: its process number and the exit status of what it has shown so far.
    Kept(u32, u8),
}

impl Inside {
    /// The run this process is the inner side of, if it is one. Makes its own mounts and network on the way.
    pub fn enter() -> Result<Option<Self>> {
        let Some(folder) = std::env::var_os(VARIABLE) else { return Ok(None) };
        set_pdeathsig(Signal::SIGKILL)?;
        // The process outside holds these back for itself; programs in here must be able to get them.
        SigSet::all().thread_unblock()?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .context("the run's own network and mounts")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
            .context("mounting /proc")?;
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)
            .context("mounting /sys")?;
        crate::net::make_segment()?;
        Ok(Some(Self { folder: folder.into() }))
    }

    /// Ends the part the user waits for and stays with everything running, until killed.
    pub fn keep(&self, status: u8) -> Result<()> {
        set_pdeathsig(None::<Signal>)?;
        // The caller's terminal or pipe must not stay open because of what is kept.
        let nothing = fs::File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(nothing.as_fd())?;
        dup2_stdout(nothing.as_fd())?;
        dup2_stderr(nothing.as_fd())?;
        let temporary = self.folder.join("kept.new");
        fs::write(&temporary, status.to_string())?;
        fs::rename(temporary, self.folder.join("kept"))?;
        loop {
            std::thread::sleep(Duration::from_hours(1));
        }
    }
}

/// Makes the folder of a new run. Those of runs of this kind that were killed outright are removed on the way.
pub fn new_folder(kind: &str) -> Result<PathBuf> {
    let prefix = format!("routerd-{kind}-");
    for path in left_behind(Path::new("/tmp"), &prefix)? {
        if !is_in_use(&path)? {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    let folder = Path::new("/tmp").join(format!("{prefix}{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Does some process run a program of this folder, as a lab that was kept does?
fn is_in_use(folder: &Path) -> Result<bool> {
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        if fs::read_link(entry?.path().join("exe")).is_ok_and(|exe| exe.starts_with(folder)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs this program once more, with the same arguments, inside new name spaces, where what was prepared is in a file of this name. Nothing
/// of it stays.
pub fn run_with(kind: &str, (file, prepared): (&str, &impl Serialize), arguments: &[String]) -> Result<u8> {
    let folder = new_folder(kind)?;
    fs::write(folder.join(file), serde_json::to_vec(prepared)?)?;
    let outcome = run(&folder, arguments);
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    match outcome? {
        Outcome::Over(status) => Ok(status),
        Outcome::Kept(..) => bail!("the run was kept, which it never asks for"),
    }
}

/// Runs this program once more, with the same arguments, inside new name spaces.
pub fn run(folder: &Path, arguments: &[String]) -> Result<Outcome> {
    if !geteuid().is_root() {
        bail!("the lab makes network name spaces and mounts: run it as root");
    }
    let lab = copy_of_lab(folder)?;
    let signals = hold_signals(&[Signal::SIGCHLD])?;
    unshare(CloneFlags::CLONE_NEWPID).context("a process name space could not be made")?;
    let mut inner = command(lab);
    // A group of its own: the terminal's signals come here, and not to the guests.
    inner.args(arguments).env(VARIABLE, folder).process_group(0);
    let mut child = inner.spawn().context("the lab could not start itself")?;
    let outcome = wait(&mut child, &signals, &folder.join("kept"));
    if !matches!(outcome, Ok(Outcome::Kept(..))) {
        end(&mut child);
    }
    outcome
}

/// Guests run the lab's program too, and cargo may replace it meanwhile: a run uses a copy.
fn copy_of_lab(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let copy = folder.join("lab");
    // Cargo may have replaced it already: this is the one that runs, whatever its path names now.
    fs::copy("/proc/self/exe", &copy).context("copying the lab's program")?;
    Ok(copy)
}

fn wait(child: &mut Child, signals: &SignalFd, kept: &Path) -> Result<Outcome> {
    loop {
        let mut watched = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::from(100_u8))?;
        while let Some(signal) = signals.read_signal()? {
            if i32::try_from(signal.ssi_signo)? != Signal::SIGCHLD as i32 {
                eprintln!("\nended by a signal; everything the run made is taken away");
                return Ok(Outcome::Over(130));
            }
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Outcome::Over(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
        }
        if let Ok(text) = fs::read_to_string(kept) {
            return Ok(Outcome::Kept(child.id(), text.trim().parse()?));
        }
    }
}

fn end(child: &mut Child) {
    // Both fail only when it has ended already, which is what is wanted.
    let _ended = child.kill();
    let _reaped = child.wait();
}
