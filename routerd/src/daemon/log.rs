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

/// What `-v` shows: of ourselves much, of the libraries under us only what is wrong, until the highest levels. The Kubernetes
/// client repeats each failed request as an error of its own, of every kind and every try; we say it once, with the remedy.
fn directives(verbosity: u8) -> &'static str {
    match verbosity {
        0 => "warn,kube_client=off,kube_runtime=off,routerd=info,bgp=info,kernel=info,cni_plugin=info",
        1 | 2 => {
            "warn,kube_client=off,kube_runtime=off,routerd=debug,bgp=debug,kernel=debug,cni_plugin=debug"
        }
        3..=5 => "info,routerd=trace,bgp=trace,kernel=trace,cni_plugin=trace",
        _ => "trace",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    #[test]
    fn every_level_is_a_valid_filter() {
        for verbosity in 0..=9 {
            EnvFilter::try_new(directives(verbosity)).unwrap();
        }
    }
    /// What stands in the log at this level after libraries and we have told of an error.
    fn logged(verbosity: u8) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(directives(verbosity)))
            .with_writer(file.try_clone().unwrap())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "kube_client::client::builder", "of the client");
            tracing::warn!(target: "kube_runtime::watcher", "of the watcher");
            tracing::warn!(target: "hyper_util::client", "of another library");
            tracing::warn!("of ours");
        });
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn failed_requests_to_the_api_server_are_told_by_us_alone_until_the_highest_levels() {
        for verbosity in 0..=9 {
            let text = logged(verbosity);
            assert!(text.contains("of ours") && text.contains("of another library"), "{text}");
            for library in ["of the client", "of the watcher"] {
                assert_eq!(text.contains(library), verbosity > 2, "-v={verbosity}: {text}");
            }
        }
    }
}
