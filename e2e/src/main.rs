//! `lab`: the program behind `cargo demo`, `cargo verify` and `cargo lab`, and the agent of its nodes.

use std::process::ExitCode;

use clap::Parser;
use e2e::cli::Cli;

fn main() -> ExitCode {
    if let Some(place) = e2e::guest::boot::guest_place() {
        return report(e2e::guest::boot::guest_init(place).map(|()| 0));
    }
    report(e2e::commands::dispatch(&Cli::parse()))
}

fn report(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
