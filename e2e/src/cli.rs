//! The command line of `lab`, behind `cargo demo`, `cargo verify` and `cargo lab`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::cluster::runtime::Runtime;
use crate::guest::NodeKind;
use crate::tool::Tool;

/// The lab: nodes with kernels of their own that carry this project's network.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the lab can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Three nodes show the main job, each line with a measured value.
    Demo(Demo),
    /// Every proof there is, with a summary and `N passed, N failed` at the end.
    Verify(Verify),
    /// Boot the nodes with routerd on them and leave them running.
    Up(Nodes),
    /// End what `up` or `demo --keep` left running.
    Down,
    /// A shell on a node: `shell node1`.
    Shell {
        /// The node.
        node: String,
        /// The pod (its network namespace) to be in.
        #[arg(long)]
        pod: Option<String>,
    },
    /// Run a command on a node: `run node1 -- ip route`.
    Run {
        /// The node.
        node: String,
        /// The pod (its network namespace) to be in.
        #[arg(long)]
        pod: Option<String>,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// A cluster with the real control plane, kubelets and container runtimes, and routerd as its users deploy it.
    Cluster(Nodes),
    /// The plugin under containerd and kubelets of a dual-stack cluster: many pods at once, lost sandboxes, restarts, a power cut.
    Runtime(Runtime),
    /// Three nodes on two segments behind a FRR router: tunnels, lost segments and nodes, reflectors, ECMP, restarts under traffic.
    Routing(crate::routing::Options),
    /// Kubernetes' own end-to-end tests against three nodes whose only network is routerd.
    Conformance(crate::conformance::Options),
    /// cnitool and libcni of the current CNI release drive the plugin, in every version of the protocol.
    Cni {
        /// A folder with routerd, routerd-cni and routerd-init built before, instead of building them.
        #[arg(long, value_name = "DIR")]
        binaries: Option<PathBuf>,
    },
    /// Write the daemon's image as an OCI archive.
    Image {
        /// The archive to write.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// A folder with routerd, routerd-cni and routerd-init built before, instead of building them.
        #[arg(long, value_name = "DIR")]
        binaries: Option<PathBuf>,
    },
    /// Measure, beside a peer in the same run.
    #[command(subcommand)]
    Bench(Bench),
    /// Look for input that ends the plugin badly: each target of `fuzz/` for a while.
    Fuzz(crate::fuzz::Options),
    /// Run test programs' ignored tests in a guest.
    #[command(hide = true)]
    InGuest {
        /// The test programs.
        programs: Vec<PathBuf>,
    },
    /// Programs for the inside of pods.
    #[command(subcommand, hide = true)]
    Tool(Tool),
    /// The agent of a node.
    #[command(hide = true)]
    Agent,
    /// Name spaces of a node on the host's kernel.
    #[command(hide = true)]
    HostNode,
    /// The first process of a node on the host's kernel.
    #[command(hide = true)]
    HostInit,
    /// Run a program on a terminal.
    #[command(hide = true)]
    OnTerminal {
        /// The terminal's path.
        path: String,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
}

/// How the nodes of a run are made.
#[derive(Debug, Args, Clone)]
pub struct Nodes {
    /// The kernel of the nodes: one of their own each, or name spaces of the running one.
    #[arg(long, value_enum, default_value = "uml")]
    pub kernel: NodeKind,
    /// A folder with routerd, routerd-cni and routerd-init built before, instead of building them.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The nodes.
    #[command(flatten)]
    pub nodes: Nodes,
    /// Leave everything running at the end.
    #[arg(long)]
    pub keep: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Run these steps only.
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave these steps out.
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Name the steps and what they prove.
    #[arg(long)]
    pub list: bool,
    /// A folder with routerd, routerd-cni and routerd-init built before, instead of building them.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_demo_takes_the_kernel_and_keep() {
        let cli = Cli::try_parse_from(["lab", "demo", "--keep", "--kernel", "host"]).unwrap();
        let Command::Demo(demo) = cli.command else { panic!("not the demo") };
        assert!(demo.keep);
        assert_eq!(demo.nodes.kernel, NodeKind::Host);
        assert!(Cli::try_parse_from(["lab", "demo", "--kernel", "mine"]).is_err());
    }

    #[test]
    fn what_follows_two_dashes_is_the_command_for_the_node() {
        let cli = Cli::try_parse_from(["lab", "run", "node1", "--", "ip", "-6", "route"]).unwrap();
        let Command::Run { node, command, .. } = cli.command else { panic!("not run") };
        assert_eq!((node.as_str(), command.len()), ("node1", 3));
    }
}
