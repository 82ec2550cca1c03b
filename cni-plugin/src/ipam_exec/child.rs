//! The process of an IPAM plugin: started, fed, read and ended, all by this one thread.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The longest answer that is read; a result is some hundred bytes.
const MOST_ANSWER: usize = 8 << 20;
/// As much of what a plugin says to people is kept for our own error.
const MOST_WORDS: usize = 4096;
/// A program that is being written cannot be executed. An installer is done with it soon.
const BUSY_WAIT: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// How often a silent process is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A process that ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Starts `program` with this process' environment, in which `command` is the operation. A program that is being written
/// is waited for, for at most `limit`.
pub(super) fn start(program: &Path, command: &str, limit: Option<Duration>) -> io::Result<Child> {
    let begun = Instant::now();
    let wait = limit.map_or(BUSY_WAIT, |limit| limit.min(BUSY_WAIT));
    loop {
        match spawn(program, command) {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && begun.elapsed() < wait => {
                std::thread::sleep(BUSY_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a foreign IPAM plugin is a program, and the only one we run")]
fn spawn(program: &Path, command: &str) -> io::Result<Child> {
    let mut prepared = Command::new(program);
    prepared.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Identical but for the operation, which differs when an ADD is taken back.
    if std::env::var_os("CNI_COMMAND").as_deref() != Some(OsStr::new(command)) {
        prepared.env("CNI_COMMAND", command);
    }
    prepared.spawn()
}

/// Gives the process its stdin and reads it to its end, for at most `limit`. What takes longer or says more than a
/// plugin can mean to say is killed.
pub(super) fn finish(mut child: Child, stdin: &[u8], limit: Option<Duration>) -> io::Result<Ended> {
    let talked = talk(&mut child, stdin, limit.map(|limit| Instant::now() + limit));
    if talked.is_err() {
        // It is waited for below, so that no zombie stays.
        drop(child.kill());
    }
    drop(child.stdin.take());
    let status = child.wait()?;
    let (stdout, stderr) = talked?;
    Ok(Ended { status, stdout, stderr })
}

/// Writes and reads whatever is ready, so that neither side waits for the other with a full pipe.
fn talk(child: &mut Child, mut stdin: &[u8], deadline: Option<Instant>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let Some(pipe) = &child.stdin {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    loop {
        if stdin.is_empty() {
            // Many programs read to the end before they begin.
            drop(child.stdin.take());
        }
        if child.stdout.is_none() && child.stderr.is_none() {
            return Ok((stdout, stderr));
        }
        if !wait(child, deadline)? && child.try_wait()?.is_some() {
            // It is gone, and what still holds its pipes is some process that it left behind.
            return Ok((stdout, stderr));
        }
        if let Some(pipe) = &mut child.stdin {
            match pipe.write(stdin) {
                Ok(written) => stdin = &stdin[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // It does not want to read on, which is its own affair.
                Err(_) => stdin = &[],
            }
        }
        if read_ready(&mut child.stdout, &mut stdout, usize::MAX)? && stdout.len() > MOST_ANSWER {
            return Err(io::Error::other(format!("it answered more than {MOST_ANSWER} bytes")));
        }
        read_ready(&mut child.stderr, &mut stderr, MOST_WORDS)?;
    }
}

/// Waits until a pipe is ready; `false` after a while in which none was.
fn wait(child: &Child, deadline: Option<Instant>) -> io::Result<bool> {
    let readable = [child.stdout.as_ref().map(AsFd::as_fd), child.stderr.as_ref().map(AsFd::as_fd)];
    let mut pipes: Vec<PollFd<'_>> =
        readable.into_iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::POLLIN)).collect();
    pipes.extend(child.stdin.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let pause = left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
    match poll(&mut pipes, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)) {
        Ok(0) if left.is_some_and(|left| left <= LOOK_AGAIN) => {
            Err(io::Error::new(ErrorKind::TimedOut, "it did not answer in time"))
        }
        Ok(0) => Ok(false),
        Ok(_) | Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads what is there into `target`, of which at most `most` bytes are kept; a pipe that ended is closed.
fn read_ready(pipe: &mut Option<impl Read + AsFd>, target: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let Some(open) = pipe else { return Ok(false) };
    let mut ready = [PollFd::new(open.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ready, PollTimeout::ZERO)? == 0 {
        return Ok(false);
    }
    let mut buffer = [0; 16 << 10];
    let length = open.read(&mut buffer)?;
    if length == 0 {
        *pipe = None;
    }
    let kept = length.min(most.saturating_sub(target.len()));
    target.extend_from_slice(&buffer[..kept]);
    Ok(true)
}
