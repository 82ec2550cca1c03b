//! What routerd says of itself, asked as an operator does: `kubectl exec … routerd status`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::control_plane::ControlPlane;
use super::manifest;
use crate::guest::client::{Cmd, Node};

/// The daemon's path in its image.
const ROUTERD: &str = "/usr/bin/routerd";

/// Every plane of every node holds what the cluster wants. Returns the planes and how many BGP sessions stand.
pub(super) fn all_is_well(plane: &ControlPlane) -> Result<String> {
    let mut planes = String::new();
    let mut sessions = 0;
    for pod in plane.api.items(&manifest::pods())? {
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        let words = ["exec", "--namespace", manifest::NAMESPACE, name, "--", ROUTERD, "status", "--json"];
        let status: Value = serde_json::from_str(&plane.ask(&words)?).context("the status is not JSON")?;
        planes = judge(&status).with_context(|| format!("{name} on {}", pod["spec"]["nodeName"]))?;
        let peers = status["bgp"]["peers"].as_array().into_iter().flatten();
        sessions += peers.filter(|peer| peer["state"].as_str().is_some_and(established)).count();
    }
    Ok(format!("{planes}; {sessions} ends of BGP sessions established"))
}

fn established(state: &str) -> bool {
    state.eq_ignore_ascii_case("established")
}

fn judge(status: &Value) -> Result<String> {
    let planes = status["planes"].as_array().context("no planes in the status")?;
    ensure!(!planes.is_empty(), "no planes in the status");
    let text = |plane: &Value, key: &str| plane[key].as_str().unwrap_or("?").to_owned();
    let bad: Vec<String> = planes
        .iter()
        .filter(|plane| plane["state"] != "ok")
        .map(|plane| format!("{} is {}: {}", text(plane, "name"), text(plane, "state"), plane["problems"]))
        .collect();
    ensure!(bad.is_empty(), "{}", bad.join("; "));
    ensure!(status["ready"] == true, "not ready: {}", status["reasons"]);
    let names: Vec<String> = planes.iter().map(|plane| text(plane, "name")).collect();
    Ok(format!("{} ok", names.join(", ")))
}

/// The resident memory of routerd on a node, in KiB.
pub(super) fn resident_kib(node: &Node) -> Result<u64> {
    let told = node.run(Cmd::new("ps").words("-C routerd -o rss="))?;
    told.trim().parse().with_context(|| format!("the memory of routerd on {}: {told:?}", node.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plane_with_problems_is_named_with_them() {
        let good = json!({ "ready": true, "planes": [{ "name": "policy", "state": "ok" }] });
        assert_eq!(judge(&good).unwrap(), "policy ok");
        let bad = json!({ "ready": true, "planes": [{ "name": "policy", "state": "problems", "problems": ["x"] }] });
        assert_eq!(judge(&bad).unwrap_err().to_string(), "policy is problems: [\"x\"]");
        assert!(judge(&json!({ "ready": true })).is_err());
        assert!(judge(&json!({ "ready": false, "planes": [{ "name": "policy", "state": "ok" }] })).is_err());
    }
}
