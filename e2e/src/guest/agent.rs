//! The agent: what a node runs so that the lab can act on it. It listens on the node's address in
//! the lab's segment, which nothing outside the run's own name space can reach.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::execute;
use super::protocol::{self, Done, Kind, PORT, Request};

/// Serves requests for as long as the node lives.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).context("the agent's port could not be taken")?;
    for connection in listener.incoming() {
        match connection {
            Ok(connection) => {
                std::thread::spawn(move || serve_one(connection));
            }
            Err(error) => eprintln!("agent: {error}"),
        }
    }
    Ok(())
}

fn serve_one(mut connection: TcpStream) {
    if let Err(error) = answer(&mut connection) {
        let done = Done { error: Some(format!("{error:#}")), ..Done::default() };
        // The lab may have gone away by now; then nobody is left to tell.
        let _gone = protocol::send_json(&mut connection, Kind::Done, &done);
    }
}

fn answer(connection: &mut TcpStream) -> Result<()> {
    connection.set_nodelay(true)?;
    let Some((Kind::Request, payload)) = protocol::receive(connection)? else {
        bail!("a connection without a request");
    };
    let request: Request = serde_json::from_slice(&payload).context("a request could not be read")?;
    let done = match request {
        Request::Run(run) => execute::run(connection, &run)?,
        other => {
            let text = simple(other)?;
            if !text.is_empty() {
                protocol::send(connection, Kind::Stdout, &text)?;
            }
            Done { code: Some(0), ..Done::default() }
        }
    };
    protocol::send_json(connection, Kind::Done, &done)
}

fn simple(request: Request) -> Result<Vec<u8>> {
    match request {
        Request::Ping | Request::Run(_) => {}
        Request::Signal { pid, signal } => {
            let signal = Signal::try_from(signal).context("an unknown signal")?;
            kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to process {pid}"))?;
        }
        Request::Write { path, content } => replace(Path::new(&path), content.as_bytes())?,
        Request::Remove { path } => fs::remove_file(&path).with_context(|| format!("removing {path}"))?,
        Request::Read { path } => return fs::read(&path).with_context(|| format!("reading {path}")),
        Request::List { path } => return Ok(list(Path::new(&path))?.join("\n").into_bytes()),
        Request::Netns { name, present: true } => make_netns(&name)?,
        Request::Netns { name, present: false } => remove_netns(&name)?,
    }
    Ok(Vec::new())
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().context("a path without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let name = path.file_name().context("a path without a file name")?.to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    let mut file = File::create(&temporary).with_context(|| format!("making {}", temporary.display()))?;
    file.write_all(content).with_context(|| format!("writing {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("naming {}", path.display()))
}

fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("listing {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The file that stands for a named network namespace.
pub(crate) fn netns_path(name: &str) -> String {
    format!("/run/netns/{name}")
}

pub(crate) fn make_netns(name: &str) -> Result<()> {
    let path = netns_path(name);
    fs::create_dir_all("/run/netns")?;
    File::create_new(&path).with_context(|| format!("making {path}"))?;
    // The thread's own name space becomes the new one, so a thread of its own does it and ends.
    let bound = std::thread::spawn({
        let path = path.clone();
        move || -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNET).context("a new network namespace")?;
            mount(
                Some("/proc/thread-self/ns/net"),
                path.as_str(),
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .with_context(|| format!("binding a network namespace to {path}"))
        }
    });
    match bound.join() {
        Ok(result) => result,
        Err(_) => bail!("the thread that makes {path} ended badly"),
    }
}

pub(crate) fn remove_netns(name: &str) -> Result<()> {
    let path = netns_path(name);
    umount2(path.as_str(), MntFlags::MNT_DETACH).with_context(|| format!("unmounting {path}"))?;
    fs::remove_file(&path).with_context(|| format!("removing {path}"))
}

/// Moves the calling thread into a named network namespace.
pub(crate) fn enter_netns(name: &str) -> Result<()> {
    let path = netns_path(name);
    let file = File::open(&path).with_context(|| format!("opening {path}"))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {path}"))
}
