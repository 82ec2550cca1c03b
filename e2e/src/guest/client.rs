//! The lab's side of a node: run programs in it, write its files, end it.

use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::protocol::{self, Done, Kind, PORT, Request, Run};

/// How long a node may take to accept a connection or to answer what needs no program.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node as the lab sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// `node1` and so on; also its Kubernetes name.
    pub name: String,
    /// From 1.
    pub index: u8,
    /// Its address on the lab's segment.
    pub address: IpAddr,
}

/// A program to run on a node, built up by its methods.
#[derive(Debug, Clone)]
pub struct Cmd(Run);

/// What a program that has ended left.
#[derive(Debug)]
pub struct Ended {
    /// Exit status, or 128 and the signal's number.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// From request to answer, as seen from the lab.
    pub took: Duration,
}

/// A program that runs until this value is dropped; its lines come as they are printed.
#[derive(Debug)]
pub struct Running {
    connection: TcpStream,
    /// Lines of standard output with the moment each arrived.
    pub lines: Receiver<(Instant, String)>,
}

impl Cmd {
    /// A program by name or path.
    pub fn new(program: impl Into<String>) -> Self {
        Self(Run { program: program.into(), ..Run::default() })
    }

    /// The lab's own program, as `lab tool …`: servers and clients for pods.
    pub fn tool(args: &str) -> Result<Self> {
        let lab = std::env::current_exe().context("the lab does not know its own path")?;
        Ok(Self::new(lab.to_string_lossy()).arg("tool").words(args))
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.0.args.push(arg.into());
        self
    }

    /// Adds arguments from words separated by blanks.
    #[must_use]
    pub fn words(mut self, words: &str) -> Self {
        self.0.args.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.env.push((name.into(), value.into()));
        self
    }

    /// Gives the program this text to read.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.0.stdin = Some(text.into());
        self
    }

    /// Runs in this named network namespace of the node.
    #[must_use]
    pub fn in_pod(mut self, netns: &str) -> Self {
        self.0.netns = Some(netns.into());
        self
    }
}

impl Node {
    /// Runs a program to its end, whatever its exit status.
    pub fn output(&self, cmd: Cmd) -> Result<Ended> {
        let begin = Instant::now();
        let what = describe(&cmd);
        let mut connection = self.request(&Request::Run(cmd.0))?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let done = loop {
            match protocol::receive(&mut connection).with_context(|| format!("{what} on {}", self.name))? {
                Some((Kind::Stdout, bytes)) => stdout.extend(bytes),
                Some((Kind::Stderr, bytes)) => stderr.extend(bytes),
                Some((_, bytes)) => break serde_json::from_slice::<Done>(&bytes)?,
                None => bail!("{} closed the connection during {what}", self.name),
            }
        };
        if let Some(error) = done.error {
            bail!("{what} on {}: {error}", self.name);
        }
        Ok(Ended {
            code: done.code.unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            took: begin.elapsed(),
        })
    }

    /// Runs a program that must succeed and returns its standard output.
    pub fn run(&self, cmd: Cmd) -> Result<String> {
        let what = describe(&cmd);
        let ended = self.output(cmd)?;
        if ended.code != 0 {
            let said: String =
                format!("{}{}", ended.stderr.trim(), ended.stdout.trim()).chars().take(2000).collect();
            bail!("{what} on {} ended with status {}: {said}", self.name, ended.code);
        }
        Ok(ended.stdout)
    }

    /// Starts a program whose lines are wanted as they come.
    pub fn spawn(&self, cmd: Cmd) -> Result<Running> {
        let connection = self.request(&Request::Run(cmd.0))?;
        let mut reader = connection.try_clone()?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            while let Ok(Some((kind, bytes))) = protocol::receive(&mut reader) {
                let now = Instant::now();
                if kind != Kind::Stdout {
                    continue;
                }
                rest.extend(bytes);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
                    rest.drain(..=end);
                    if sender.send((now, line)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Running { connection, lines })
    }

    /// Starts a program that stays, with its output in a file, and returns its process number.
    pub fn background(&self, cmd: Cmd, log: &str) -> Result<i32> {
        let what = describe(&cmd);
        let run = Run { log: Some(log.into()), ..cmd.0 };
        let (done, _) = self.simple(&Request::Run(run))?;
        done.pid.with_context(|| format!("{what} on {} has no process number", self.name))
    }

    /// Runs a program on a terminal joined to this one.
    pub fn terminal(&self, cmd: Cmd, size: (u16, u16)) -> Result<i32> {
        let connection = self.request(&Request::Run(Run { tty: Some(size), ..cmd.0 }))?;
        let mut writer = connection.try_clone()?;
        std::thread::spawn(move || -> Result<()> {
            let mut buffer = [0; 4096];
            loop {
                let length = std::io::Read::read(&mut std::io::stdin(), &mut buffer)?;
                protocol::send(&mut writer, Kind::Stdin, &buffer[..length])?;
            }
        });
        let mut reader = connection;
        let mut screen = std::io::stdout();
        while let Some((kind, bytes)) = protocol::receive(&mut reader)? {
            if kind == Kind::Done {
                let done: Done = serde_json::from_slice(&bytes)?;
                return done.code.with_context(|| done.error.unwrap_or_default());
            }
            screen.write_all(&bytes)?;
            screen.flush()?;
        }
        bail!("{} closed the connection", self.name)
    }

    /// Does the agent answer?
    pub fn ping(&self) -> Result<()> {
        self.simple(&Request::Ping).map(|_| ())
    }

    /// Sends a signal to a process of the node.
    pub fn signal(&self, pid: i32, signal: nix::sys::signal::Signal) -> Result<()> {
        self.simple(&Request::Signal { pid, signal: signal as i32 }).map(|_| ())
    }

    /// Replaces a file on the node at once.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        self.simple(&Request::Write { path: path.into(), content: content.into() }).map(|_| ())
    }

    /// Removes a file of the node.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.simple(&Request::Remove { path: path.into() }).map(|_| ())
    }

    /// Reads a file of the node.
    pub fn read(&self, path: &str) -> Result<String> {
        self.simple(&Request::Read { path: path.into() }).map(|(_, text)| text)
    }

    /// The sorted names in a folder of the node; none when it is not there.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let (_, text) = self.simple(&Request::List { path: path.into() })?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Makes or removes a network namespace under `/run/netns` of the node.
    pub fn netns(&self, name: &str, present: bool) -> Result<()> {
        self.simple(&Request::Netns { name: name.into(), present }).map(|_| ())
    }

    fn simple(&self, request: &Request) -> Result<(Done, String)> {
        let mut connection = self.request(request)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut text = Vec::new();
        loop {
            match protocol::receive(&mut connection).with_context(|| format!("asking {}", self.name))? {
                Some((Kind::Done, bytes)) => {
                    let done: Done = serde_json::from_slice(&bytes)?;
                    if let Some(error) = done.error {
                        bail!("{}: {error}", self.name);
                    }
                    return Ok((done, String::from_utf8_lossy(&text).into_owned()));
                }
                Some((_, bytes)) => text.extend(bytes),
                None => bail!("{} closed the connection", self.name),
            }
        }
    }

    fn request(&self, request: &Request) -> Result<TcpStream> {
        let address = SocketAddr::new(self.address, PORT);
        let mut connection = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("{} ({address}) does not answer", self.name))?;
        connection.set_nodelay(true)?;
        protocol::send_json(&mut connection, Kind::Request, request)?;
        Ok(connection)
    }
}

impl Running {
    /// The lines until now and one more, for which it waits so long: a client that stands still says nothing, and what it said
    /// last does not show that.
    ///
    /// # Errors
    /// When nothing more came; with the last line that did.
    pub fn lines_and_one_more(&self, patience: Duration) -> Result<Vec<(Instant, String)>> {
        let mut lines: Vec<(Instant, String)> = self.lines.try_iter().collect();
        match self.lines.recv_timeout(patience) {
            Ok(line) => lines.push(line),
            Err(_) => bail!("it stands still, or has ended, after {:?}", lines.last().map(|(_, line)| line)),
        }
        Ok(lines)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The agent ends the program when the connection closes; a node that is gone has ended it already.
        let _closed = self.connection.shutdown(Shutdown::Both);
    }
}

fn describe(cmd: &Cmd) -> String {
    let program = cmd.0.program.rsplit('/').next().unwrap_or_default();
    let args: Vec<&str> = cmd.0.args.iter().map(String::as_str).take(8).collect();
    format!("`{program} {}`", args.join(" "))
}
