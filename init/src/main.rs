//! The init container of the DaemonSet: see `routerd-init --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    init::run()
}
