//! Where log lines go: standard error, as text for people or as JSON.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Sets up the log of this process. `RUST_LOG` overrides `-v`.
pub(super) fn init(config: LogConfig) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(config.verbosity)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let installed = match config.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Err(error) = installed {
        // Only a second start in one process, as a test may do, comes here; the first log stays.
        tracing::debug!(%error, "the log is set up already");
    }
}

/// What `-v` shows: of ourselves much, of the libraries under us only what is wrong, until the highest levels.
fn directives(verbosity: u8) -> &'static str {
    match verbosity {
        0 => "warn,routerd=info,bgp=info,kernel=info,cni_plugin=info",
        1 | 2 => "warn,routerd=debug,bgp=debug,kernel=debug,cni_plugin=debug",
        3..=5 => "info,routerd=trace,bgp=trace,kernel=trace,cni_plugin=trace",
        _ => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_valid_filter() {
        for verbosity in 0..=9 {
            EnvFilter::try_new(directives(verbosity)).unwrap();
        }
    }
}
