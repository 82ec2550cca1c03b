//! The daemon of a node.

use std::process::ExitCode;

fn main() -> ExitCode {
    routerd::run()
}
