//! What each subcommand does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::{Cli, Command, Demo, Nodes};
use crate::demo;
use crate::guest::client::Cmd;
use crate::guest::{NodeKind, Place, agent, boot, terminal};
use crate::paths;
use crate::sandbox::{self, Inside, Outcome};
use crate::setup;
use crate::state::{self, Kept};

/// Does what the command line says; returns the exit status.
pub fn dispatch(cli: &Cli) -> Result<u8> {
    match &cli.command {
        Command::Tool(tool) => crate::tool::run(tool).map(|()| 0),
        Command::Agent => agent::serve().map(|()| 0),
        Command::HostNode => boot::host_node(place()?).map(|()| 0),
        Command::HostInit => boot::host_init(place()?).map(|()| 0),
        Command::OnTerminal { path, words } => terminal::become_on(path, words).map(|()| 0),
        Command::Down => Kept::require()?.end().map(|()| 0),
        Command::Shell { node, pod } => shell(node, pod.as_deref()),
        Command::Run { node, pod, command } => run(node, pod.as_deref(), command),
        Command::Cluster(nodes) => crate::cluster::command(nodes, &arguments()),
        Command::Runtime(options) => crate::cluster::runtime::command(options, &arguments()),
        Command::Routing(options) => crate::routing::command(options, &arguments()),
        Command::Conformance(options) => crate::conformance::command(options, &arguments()),
        Command::Cni { binaries } => crate::peers::command(binaries.as_deref(), &arguments()),
        Command::Image { output, binaries } => crate::image::command(output, binaries.as_deref()).map(|()| 0),
        Command::Verify(options) => crate::verify::run(options),
        Command::Bench(bench) => crate::bench::command(bench, &arguments()),
        Command::Fuzz(options) => crate::fuzz::run(options),
        Command::InGuest { programs } => crate::in_guest::command(programs, &arguments()),
        Command::Demo(_) | Command::Up(_) => lab_run(cli),
    }
}

fn place() -> Result<Place> {
    Place::from_environment(NodeKind::Host).context("this is a helper that the lab starts itself")
}

/// What this program was called with, to call it again inside.
fn arguments() -> Vec<String> {
    std::env::args().skip(1).collect()
}

/// Hands what was prepared to the process inside.
const READY: &str = "ready.json";

/// A run with nodes: prepared outside, done inside name spaces of its own.
fn lab_run(cli: &Cli) -> Result<u8> {
    if let Some(inside) = Inside::enter()? {
        return inner(cli, &inside);
    }
    state::refuse_second()?;
    println!("What the run needs:");
    let ready = setup::nodes(nodes(cli)?)?;
    println!("\nThe run:");
    let folder = sandbox::new_folder("lab")?;
    fs::write(folder.join(READY), serde_json::to_vec(&ready)?)?;
    match sandbox::run(&folder, &arguments()) {
        Ok(Outcome::Kept(pid, status)) => {
            let nodes = serde_json::from_slice(&fs::read(folder.join("nodes.json"))?)?;
            Kept { pid, folder, nodes }.save()?;
            println!("\n{KEPT}");
            Ok(status)
        }
        Ok(Outcome::Over(status)) => {
            if status != 0 && status != 130 {
                println!("  logs: {}", keep_logs(&folder)?.display());
            }
            fs::remove_dir_all(&folder)?;
            Ok(status)
        }
        Err(error) => {
            fs::remove_dir_all(&folder)?;
            Err(error)
        }
    }
}

const KEPT: &str = "It goes on. Look inside with
  cargo lab shell node1                    a shell on a node (ip, nft, ipvsadm …)
  cargo lab shell node1 --pod cni-client   a shell in a pod's network
  cargo lab run node2 -- ip route          one command
  /run/lab/manifests on a node             the YAML that routerd reads; edit and see
and end it with
  cargo lab down";

/// The logs of a run that failed outlive it.
fn keep_logs(folder: &Path) -> Result<PathBuf> {
    let to = paths::cache()?.join("last-failure");
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(folder)? {
        let from = entry?.path();
        let wanted = from.extension().is_some_and(|end| end == "log" || end == "console");
        if let (true, Some(name)) = (wanted, from.file_name()) {
            fs::copy(&from, to.join(name))?;
        }
    }
    Ok(to)
}

fn nodes(cli: &Cli) -> Result<&Nodes> {
    match &cli.command {
        Command::Demo(demo) => Ok(&demo.nodes),
        Command::Up(nodes) => Ok(nodes),
        _ => bail!("this command has no nodes"),
    }
}

fn inner(cli: &Cli, inside: &Inside) -> Result<u8> {
    let ready = serde_json::from_slice(&fs::read(inside.folder.join(READY))?)?;
    let (lab, status, keep) = match &cli.command {
        Command::Up(nodes) => {
            let (lab, status) = demo::up(inside, nodes, &ready)?;
            (lab, status, true)
        }
        Command::Demo(Demo { nodes, keep }) => {
            let (lab, status) = demo::run(inside, nodes, &ready, *keep)?;
            (lab, status, *keep)
        }
        _ => bail!("this command has no nodes"),
    };
    if keep {
        fs::write(inside.folder.join("nodes.json"), serde_json::to_vec(&lab.nodes)?)?;
        inside.keep(status)?;
    }
    Ok(status)
}

fn with_pod(cmd: Cmd, pod: Option<&str>) -> Cmd {
    match pod {
        Some(pod) => cmd.in_pod(pod),
        None => cmd,
    }
}

fn shell(node: &str, pod: Option<&str>) -> Result<u8> {
    let kept = Kept::require()?;
    let node = kept.node(node)?;
    kept.enter_network()?;
    let cmd = Cmd::new("bash").words("--norc -i").env("PS1", format!("{}:\\w# ", pod.unwrap_or(&node.name)));
    let size = terminal::size();
    let raw = terminal::Raw::new()?;
    let code = node.terminal(with_pod(cmd, pod), size);
    drop(raw);
    Ok(u8::try_from(code?).unwrap_or(1))
}

fn run(node: &str, pod: Option<&str>, words: &[String]) -> Result<u8> {
    let kept = Kept::require()?;
    let node = kept.node(node)?;
    kept.enter_network()?;
    let (program, arguments) = words.split_first().context("no command")?;
    let mut cmd = Cmd::new(program.as_str());
    for argument in arguments {
        cmd = cmd.arg(argument.as_str());
    }
    let ended = node.output(with_pod(cmd, pod))?;
    print!("{}", ended.stdout);
    eprint!("{}", ended.stderr);
    Ok(u8::try_from(ended.code).unwrap_or(1))
}
