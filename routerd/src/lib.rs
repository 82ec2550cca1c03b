//! The daemon of a node: what the cluster wants of this node's network, brought into the kernel and kept there.

pub mod admin;
pub mod advertise;
pub mod cluster;
pub mod config;
pub mod conflist;
pub mod pods;
pub mod routing;
pub mod ruleset;
pub mod runner;
pub mod services;

use std::process::ExitCode;

use config::{Config, Environment, Invocation};

/// The exit status for a command line that is wrong.
const USAGE: u8 = 2;

/// Runs the program as the command line says.
pub fn run() -> ExitCode {
    match config::parse(std::env::args_os()) {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Status { .. }) => ExitCode::SUCCESS,
        Ok(Invocation::Run(values)) => match Config::new(&values, &Environment::of_process()) {
            Ok(_config) => ExitCode::SUCCESS,
            Err(errors) => refuse(&errors),
        },
        Err(errors) => refuse(&errors),
    }
}

fn refuse(errors: &config::ConfigErrors) -> ExitCode {
    eprintln!("{errors}\nSee `routerd --help` for all flags.");
    ExitCode::from(USAGE)
}
