//! What a reader needs when the cluster did not do what it must: kept as files, with the telling lines in the error.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::control_plane::ControlPlane;
use super::manifest;
use crate::guest::client::{Cmd, Node};
use crate::lab::Lab;
use crate::paths::cache;

/// What is asked of every node.
const QUESTIONS: [&str; 8] = [
    "ip addr",
    "ip route show table all",
    "ip rule",
    "nft list ruleset",
    "ipvsadm -Ln",
    "find /etc/cni /opt/cni /var/lib/cni -ls",
    "ps axf",
    "dmesg",
];

/// Keeps logs and states in the cache folder and says where, with the cluster's own words on its pods.
pub(super) fn keep(lab: &Lab, plane: Option<&ControlPlane>, folder: &Path) -> String {
    match fresh("cluster-failure") {
        Ok(to) => keep_in(lab, plane, folder, &to),
        Err(error) => format!("the logs could not be kept: {error:#}"),
    }
}

/// The same of nodes without a control plane.
pub(crate) fn keep_nodes(lab: &Lab, folder: &Path) -> String {
    keep(lab, None, folder)
}

/// The same in a given folder, beside what is in it.
pub(super) fn keep_in(lab: &Lab, plane: Option<&ControlPlane>, folder: &Path, to: &Path) -> String {
    let mut summary = Vec::new();
    match write(lab, plane, folder, to, &mut summary) {
        Ok(()) => summary.push(format!("logs and the state of every node are in {}", to.display())),
        Err(error) => summary.push(format!("the logs could not be kept: {error:#}")),
    }
    summary.join("\n")
}

/// A folder of this name in the cache, without what an earlier run left in it.
fn fresh(name: &str) -> Result<PathBuf> {
    let to = cache()?.join(name);
    if to.exists() {
        fs::remove_dir_all(&to).with_context(|| format!("removing {}", to.display()))?;
    }
    Ok(to)
}

fn write(
    lab: &Lab,
    plane: Option<&ControlPlane>,
    folder: &Path,
    to: &Path,
    summary: &mut Vec<String>,
) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    if let Some(plane) = plane {
        cluster_words(plane, to, summary)?;
    }
    for node in &lab.nodes {
        fs::write(to.join(format!("{}.txt", node.name)), state(node))?;
    }
    for from in [folder, &lab.folder] {
        copy_logs(from, to)?;
    }
    Ok(())
}

/// What the API says: pods, events, logs of routerd's containers.
fn cluster_words(plane: &ControlPlane, to: &Path, summary: &mut Vec<String>) -> Result<()> {
    let pods = said(plane, &["get", "pods", "--all-namespaces", "--output", "wide"]);
    let warnings = said(
        plane,
        &[
            "get",
            "events",
            "--all-namespaces",
            "--field-selector",
            "type=Warning",
            "--sort-by",
            "lastTimestamp",
        ],
    );
    summary.extend([pods.clone(), last_lines(&warnings, 12)]);
    fs::write(to.join("pods.txt"), pods + &said(plane, &["describe", "pods", "--all-namespaces"]))?;
    fs::write(to.join("nodes.txt"), said(plane, &["describe", "nodes"]))?;
    fs::write(to.join("events.txt"), warnings)?;
    for pod in plane.api.items(&format!("/api/v1/namespaces/{}/pods", manifest::NAMESPACE))? {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let mut text =
            said(plane, &["logs", "--namespace", manifest::NAMESPACE, "--all-containers", "--prefix", name]);
        summary.push(last_lines(&text, 12));
        text += &said(
            plane,
            &["logs", "--namespace", manifest::NAMESPACE, "--all-containers", "--prefix", "--previous", name],
        );
        text += &said(
            plane,
            &["exec", "--namespace", manifest::NAMESPACE, name, "--", "/usr/bin/routerd", "status"],
        );
        fs::write(to.join(format!("{name}.txt")), text)?;
    }
    Ok(())
}

/// The output, or why there is none: here that is an answer, too.
fn said(plane: &ControlPlane, words: &[&str]) -> String {
    let mut all = vec!["--request-timeout=20s"];
    all.extend(words);
    plane.ask(&all).unwrap_or_else(|error| format!("{error:#}\n"))
}

fn state(node: &Node) -> String {
    let parts: Vec<String> =
        QUESTIONS.iter().map(|question| format!("# {question}\n{}\n", answer(node, question))).collect();
    parts.join("\n")
}

fn answer(node: &Node, question: &str) -> String {
    let (program, words) = question.split_once(' ').unwrap_or((question, ""));
    match node.output(Cmd::new(program).words(words)) {
        Ok(ended) => ended.stdout + &ended.stderr,
        Err(error) => format!("{error:#}"),
    }
}

fn copy_logs(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let path = entry?.path();
        let wanted = path.extension().is_some_and(|kind| kind == "log" || kind == "console");
        if let Some(name) = path.file_name().filter(|_| wanted) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn last_lines(text: &str, count: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(count)..].join("\n")
}
