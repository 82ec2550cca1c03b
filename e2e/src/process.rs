//! The one door to other programs. The lab builds kernels and boots machines with foreign tools,
//! which the daemon never does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Where programs are looked for, on the host and inside a guest (whose init starts without a `PATH`).
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin";

/// A command that has not been started yet.
#[expect(clippy::disallowed_methods, reason = "the lab drives compilers, kernels and the container runtime")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs a command to its end and returns what it printed; a failure carries its last lines.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{}", failure(command, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, whatever its exit status.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} could not be started", describe(command)))
}

/// Runs a command with both outputs in a file; a failure names the file and quotes its end.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let status = attach_log(command, log)?
        .status()
        .with_context(|| format!("{} could not be started", describe(command)))?;
    if !status.success() {
        bail!(
            "{} ended with {status}; all of its output is in {}:\n{}",
            describe(command),
            log.display(),
            tail(log, 25)
        );
    }
    Ok(())
}

/// Sends both outputs of a command to a file and closes its input.
pub fn attach_log<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command> {
    let file =
        std::fs::File::create(log).with_context(|| format!("the log {} could not be made", log.display()))?;
    let copy = file.try_clone().context("a log's handle could not be copied")?;
    Ok(command.stdin(Stdio::null()).stdout(file).stderr(copy))
}

/// The last lines of a file, for an error message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The command as one would type it.
pub fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    let line = words.join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("`{}…`", &line[..end]),
        None => format!("`{line}`"),
    }
}

fn failure(command: &Command, output: &Output) -> String {
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let all: Vec<&str> = text.lines().collect();
    let end = all[all.len().saturating_sub(25)..].join("\n");
    format!("{} ended with {}:\n{end}", describe(command), output.status)
}

/// Holds back what asks for an end (and `more`) from this thread, so that it is read where there is time to put things away. Programs
/// started from then on inherit that.
pub fn hold_signals(more: &[Signal]) -> Result<SignalFd> {
    let mut held = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].iter().chain(more) {
        held.add(*signal);
    }
    held.thread_block().context("holding signals back")?;
    Ok(SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// What is in a folder under a name of `prefix`, a process and perhaps `-` and more, and whose process has ended.
pub fn left_behind(within: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(within).with_context(|| format!("listing {}", within.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let maker = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if maker.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            left.push(path);
        }
    }
    Ok(left)
}

/// Asks `question` again until it answers or the time is over; the last error is the reason given.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    loop {
        let last = match question() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if Instant::now() >= end {
            bail!("{what}: not within {} s{last}", limit.as_secs());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
