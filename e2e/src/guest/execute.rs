//! Programs run for the lab: with streamed outputs, on a terminal, or left running.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, ttyname};

use super::agent::enter_netns;
use super::protocol::{self, Done, Kind, Run};
use crate::process::{PATH, command};

/// Runs a program as asked; its outputs go to the connection (or its log).
pub(crate) fn run(connection: &TcpStream, run: &Run) -> Result<Done> {
    if let Some(log) = &run.log {
        return background(run, log);
    }
    match run.tty {
        Some(size) => on_terminal(connection, run, size),
        None => streamed(connection, run),
    }
}

fn prepare(run: &Run) -> Command {
    let mut prepared = command(&run.program);
    prepared.args(&run.args).env_clear().env("PATH", PATH).env("HOME", "/root");
    prepared.envs(run.env.iter().map(|(name, value)| (name, value)));
    if run.tty.is_none() {
        // A group of its own, so that the whole of it can be ended when the lab loses interest. On a
        // terminal it will lead a session, which the leader of a group may not.
        prepared.process_group(0);
    }
    prepared
}

/// Starts a command inside the namespace the run names: the thread that forks decides it.
fn start(mut prepared: Command, netns: Option<&str>) -> Result<Child> {
    let Some(name) = netns.map(str::to_owned) else {
        return spawn(&mut prepared);
    };
    let thread = std::thread::spawn(move || {
        enter_netns(&name)?;
        spawn(&mut prepared)
    });
    match thread.join() {
        Ok(child) => child,
        Err(_) => bail!("the thread that starts a program ended badly"),
    }
}

fn spawn(prepared: &mut Command) -> Result<Child> {
    prepared.spawn().with_context(|| format!("{} could not be started", crate::process::describe(prepared)))
}

fn background(run: &Run, log: &str) -> Result<Done> {
    let file =
        OpenOptions::new().create(true).append(true).open(log).with_context(|| format!("opening {log}"))?;
    let mut prepared = prepare(run);
    prepared.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = start(prepared, run.netns.as_deref())?;
    let pid = i32::try_from(child.id())?;
    std::thread::spawn(move || child.wait());
    Ok(Done { pid: Some(pid), ..Done::default() })
}

fn streamed(connection: &TcpStream, run: &Run) -> Result<Done> {
    let mut prepared = prepare(run);
    prepared.stdin(if run.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    prepared.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(prepared, run.netns.as_deref())?;
    let (frames, outgoing) = mpsc::channel();
    pump(child.stdout.take(), Kind::Stdout, frames.clone());
    pump(child.stderr.take(), Kind::Stderr, frames);
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), run.stdin.clone()) {
        // A program may end without reading its input; that is its right.
        std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    }
    end_with_connection(connection.try_clone()?, &child)?;
    let mut writer = connection;
    for (kind, bytes) in outgoing {
        protocol::send(&mut writer, kind, &bytes)?;
    }
    Ok(finished(child.wait().context("waiting for a program")?))
}

fn pump(from: Option<impl Read + Send + 'static>, kind: Kind, to: mpsc::Sender<(Kind, Vec<u8>)>) {
    let Some(mut from) = from else { return };
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.send((kind, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
}

/// A program nobody listens to any more is ended.
fn end_with_connection(mut connection: TcpStream, child: &Child) -> Result<()> {
    let group = Pid::from_raw(i32::try_from(child.id())?);
    std::thread::spawn(move || {
        while let Ok(Some(_)) = protocol::receive(&mut connection) {}
        // It may have ended long ago: then there is no such group.
        let _ended = killpg(group, Signal::SIGKILL);
    });
    Ok(())
}

fn on_terminal(connection: &TcpStream, run: &Run, (rows, columns): (u16, u16)) -> Result<Done> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).context("a terminal could not be made")?;
    let path = ttyname(&pty.slave).context("the terminal has no name")?;
    // The lab's own helper opens the terminal as the leader of a new session, which makes it the controlling one.
    let mut through = run.clone();
    through.program = std::env::current_exe()?.to_string_lossy().into_owned();
    through.args = vec!["on-terminal".into(), path.to_string_lossy().into_owned(), run.program.clone()];
    through.args.extend(run.args.iter().cloned());
    through.env.push(("TERM".into(), "xterm".into()));
    let mut prepared = prepare(&through);
    prepared.stdin(Stdio::null());
    let mut child = start(prepared, run.netns.as_deref())?;
    drop(pty.slave);
    let master = std::fs::File::from(pty.master);
    let (mut output, mut input) = (master.try_clone()?, master);
    let mut incoming = connection.try_clone()?;
    std::thread::spawn(move || {
        while let Ok(Some((Kind::Stdin, bytes))) = protocol::receive(&mut incoming) {
            if input.write_all(&bytes).is_err() {
                break;
            }
        }
    });
    let mut writer = connection;
    let mut buffer = vec![0; 16 << 10];
    // Reading ends with an error when the last user of the terminal has closed it.
    while let Ok(length @ 1..) = output.read(&mut buffer) {
        protocol::send(&mut writer, Kind::Stdout, &buffer[..length])?;
    }
    Ok(finished(child.wait().context("waiting for a program")?))
}

fn finished(status: ExitStatus) -> Done {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Done { code, ..Done::default() }
}
