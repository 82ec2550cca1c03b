//! The daemon of a node: what the cluster wants of this node's network, brought into the kernel and kept there.

pub mod cluster;
pub mod runner;

use std::process::ExitCode;

/// Runs the program as the command line says.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
