//! The daemon of a node: what the cluster wants of this node's network, brought into the kernel and kept there.

pub mod admin;
pub mod advertise;
pub mod aws;
mod cleanup;
pub mod cluster;
pub mod config;
pub mod conflist;
mod daemon;
pub mod drops;
pub mod explain;
mod http;
pub mod janitor;
pub mod latency;
pub mod loadbalancer;
pub mod pods;
pub mod policy;
pub mod routing;
pub mod ruleset;
pub mod runner;
pub mod services;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use config::{Config, Environment, Invocation};

/// The exit status for a command line that is wrong.
const USAGE: u8 = 2;

/// Runs the program as the command line says.
pub fn run() -> ExitCode {
    match config::parse(std::env::args_os()) {
        Ok(Invocation::Print(text)) => print(&text),
        Ok(Invocation::Status { json, run_dir }) => {
            match admin::client::status(&Path::new(&run_dir).join(daemon::ADMIN_SOCKET), json) {
                Ok(text) => print(&text),
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
        Ok(Invocation::Drops { last, follow, json, run_dir }) => {
            let path = Path::new(&run_dir).join(daemon::ADMIN_SOCKET);
            let wish = drops::Wish { last, follow };
            match drops::client::print(&path, wish, json, &mut std::io::stdout(), &mut std::io::stderr()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
        Ok(Invocation::Explain { question, json, run_dir }) => {
            explain::command::explain(&Path::new(&run_dir).join(daemon::ADMIN_SOCKET), &question, json)
        }
        Ok(Invocation::Bgp { question, json, run_dir }) => {
            advertise::command::run(&Path::new(&run_dir).join(daemon::ADMIN_SOCKET), &question, json)
        }
        Ok(Invocation::Verify { json, run_dir }) => {
            explain::command::verify(&Path::new(&run_dir).join(daemon::ADMIN_SOCKET), json)
        }
        Ok(Invocation::CleanUp { run_dir, node_ports }) => cleanup::run(Path::new(&run_dir), node_ports),
        Ok(Invocation::Run(values)) => match Config::new(&values, &Environment::of_process()) {
            Ok(config) => daemon::run(&config, &values.without_effect()),
            Err(errors) => refuse(&errors),
        },
        Err(errors) => refuse(&errors),
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough, as `head`.
        Err(_) => ExitCode::FAILURE,
    }
}

fn refuse(errors: &config::ConfigErrors) -> ExitCode {
    eprintln!("{errors}\nSee `routerd --help` for all flags.");
    ExitCode::from(USAGE)
}
