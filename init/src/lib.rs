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
    let results = if options.restore { restore(&options) } else { install(&options) };
    let mut failed = false;
    for result in results {
        match result {
            Ok(line) => println!("{line}"),
            Err(error) => {
                failed = true;
                eprintln!("routerd-init: {error}");
            }
        }
    }
    if !options.no_cni_conf && !options.restore {
        for remark in conflist::remarks(&options.conflist, &options.host_bin_path) {
            eprintln!("routerd-init: {remark}");
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

type Line = Result<String, file::InstallError>;

fn line(outcome: Result<impl ToString, file::InstallError>) -> Line {
    outcome.map(|done| done.to_string())
}

/// The plugins come first: a configuration must not name what is not there.
fn install(options: &cli::Options) -> Vec<Line> {
    let mut lines: Vec<Line> = plugins::install(&options.plugins()).into_iter().map(line).collect();
    if !options.no_cni_conf {
        let plugins_are_there = lines.iter().all(Result::is_ok);
        lines.push(line(conflist::install(&options.template(), &options.conflist, plugins_are_there)));
    }
    lines
}

/// And go last, for the same reason.
fn restore(options: &cli::Options) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    if !options.no_cni_conf {
        lines.extend(conflist::restore(&options.conflist).into_iter().map(line));
    }
    if lines.iter().all(Result::is_ok) {
        lines.extend(plugins::restore(&options.host_bin_path, &options.names).into_iter().map(line));
    }
    lines
}
