//! What each subcommand does.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cli::{Cli, Command};
use crate::guest::client::Cmd;
use crate::guest::{NodeKind, Place, agent, boot, terminal};
use crate::lab::{Lab, Plan};
use crate::sandbox::{self, Inside, Outcome};
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
        Command::Image { output, binaries } => crate::image::command(output, binaries.as_deref()).map(|()| 0),
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

/// A run with nodes: prepared outside, done inside name spaces of its own.
fn lab_run(cli: &Cli) -> Result<u8> {
    if let Some(inside) = Inside::enter()? {
        return inner(cli, &inside);
    }
    state::refuse_second()?;
    let folder = PathBuf::from(format!("/tmp/routerd-lab-{}", std::process::id()));
    let outcome = sandbox::run(&folder, &arguments())?;
    match outcome {
        Outcome::Over(status) => {
            std::fs::remove_dir_all(&folder)?;
            Ok(status)
        }
        Outcome::Kept(pid, status) => {
            let nodes = serde_json::from_slice(&std::fs::read(folder.join("nodes.json"))?)?;
            Kept { pid, folder, nodes }.save()?;
            Ok(status)
        }
    }
}

fn inner(cli: &Cli, inside: &Inside) -> Result<u8> {
    let Command::Up(nodes) = &cli.command else { bail!("not yet") };
    let kernel = Some(PathBuf::from("/root/.cache/routerd/tmp/linux-uml"));
    let begin = std::time::Instant::now();
    let lab = Lab::boot(inside, &Plan { kind: nodes.kernel, kernel, memory: 300, count: 3 })?;
    println!("3 nodes up after {:.2} s", begin.elapsed().as_secs_f64());
    std::fs::write(inside.folder.join("nodes.json"), serde_json::to_vec(&lab.nodes)?)?;
    inside.keep(0)?;
    Ok(0)
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
