//! Installs the CNI plugin under its names and the template of the network configuration.
//!
//! Each file is written beside its place, synced and renamed, so that a runtime never executes or reads half of one
//! and a power cut leaves the old or the new. What somebody else put there stays, and it is said.

pub mod cli;
pub mod conflist;
pub mod file;
pub mod plugins;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs the program as the command line says.
pub fn run() -> ExitCode {
    let options = cli::Options::parse();
    let mut failed = false;
    let mut say = |result: Result<String, file::InstallError>| match result {
        Ok(line) => println!("{line}"),
        Err(error) => {
            failed = true;
            eprintln!("routerd-init: {error}");
        }
    };
    for outcome in plugins::install(&options.plugins()) {
        say(outcome.map(|done| done.to_string()));
    }
    if !options.no_cni_conf {
        say(conflist::install(&options.template(), &options.conflist).map(|done| done.to_string()));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
