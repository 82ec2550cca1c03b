//! The manifest users apply, with the values it marks at its top set for this cluster.

use anyhow::{Context, Result, ensure};

use super::control_plane::{API_PORT, Ranges};
use crate::net::GATEWAY;

/// Where the manifest puts routerd.
pub(super) const NAMESPACE: &str = "kube-system";

/// Its DaemonSet.
pub(super) const DAEMON_SET: &str = "routerd";

/// The path of a list of routerd's pods.
pub(super) fn pods() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=k8s-app%3D{DAEMON_SET}")
}

/// Servers, clients and a Service.
pub(super) const WORKLOAD: &str = include_str!("workload.yaml");

/// The manifest of `daemonset/` for a cluster of the lab with these addresses.
pub(super) fn routerd(ranges: Ranges) -> Result<String> {
    routerd_with(ranges, &[])
}

/// The same, with further flags of routerd.
pub(super) fn routerd_with(ranges: Ranges, flags: &[String]) -> Result<String> {
    let path = crate::paths::workspace().join("daemonset/routerd-all-features.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let values = [
        ("api-server-host", GATEWAY.to_string()),
        ("api-server-port", API_PORT.to_string()),
        ("service-cluster-ip-range", ranges.services.to_owned()),
    ];
    let text = values.iter().try_fold(text, |text, (key, value)| set(&text, key, value))?;
    let both = ranges.has_both().then_some("--enable-ipv6=true");
    flags.iter().map(String::as_str).chain(both).try_fold(text, |text, word| flag(&text, word))
}

/// Adds a flag of routerd, in front of the first that the manifest has.
fn flag(text: &str, flag: &str) -> Result<String> {
    const FIRST: &str = "- --run-router=true";
    let (before, after) =
        text.split_once(FIRST).context("the manifest does not start routerd as expected")?;
    let indent = before.rsplit('\n').next().unwrap_or_default();
    Ok(format!("{before}- {flag}\n{indent}{FIRST}{after}"))
}

/// Sets a value that the manifest marks as the user's: the one line `KEY: "…"`.
fn set(text: &str, key: &str, value: &str) -> Result<String> {
    let start = format!("{key}: \"");
    let ours = |line: &&str| line.trim_start().starts_with(&start);
    ensure!(
        text.lines().filter(ours).count() == 1,
        "the manifest has not exactly one line {start}…\" to set"
    );
    let lines = text.lines().map(|line| match line.split_once(&start) {
        Some((indent, _)) if ours(&line) => format!("{indent}{start}{value}\""),
        _ => line.to_owned(),
    });
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::control_plane::{DUAL_STACK, IPV4};
    use super::*;

    #[test]
    fn a_cluster_of_both_families_says_so_to_routerd() {
        let text = routerd(DUAL_STACK).unwrap();
        assert!(text.contains("\n        - --enable-ipv6=true\n        - --run-router=true\n"), "{text}");
        assert!(!routerd(IPV4).unwrap().contains("--enable-ipv6"));
    }

    #[test]
    fn the_manifest_of_the_users_takes_the_labs_values() {
        let text = routerd(IPV4).unwrap();
        assert!(text.contains("  api-server-host: \"192.0.2.1\"\n"), "{text}");
        assert!(text.contains("  service-cluster-ip-range: \"10.96.0.0/16\"\n"), "{text}");
    }

    #[test]
    fn a_value_that_is_not_there_or_there_twice_is_an_error() {
        assert_eq!(set("a\n  key: \"1\"\nb\n", "key", "2").unwrap(), "a\n  key: \"2\"\nb\n");
        assert!(set("other: \"1\"\n", "key", "2").is_err());
        assert!(set("key: \"1\"\nkey: \"1\"\n", "key", "2").is_err());
    }
}
