//! The status as a table for people, made from the JSON that the socket gives.

use std::fmt::Write as _;

use serde_json::Value;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn counts(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    let parts: Vec<String> = pairs.map(|(kind, count)| format!("{count} {kind}")).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn problems(out: &mut String, part: &str, list: &Value) {
    for problem in list.as_array().into_iter().flatten() {
        let _ = writeln!(out, "  ! {part}: {}: {}", text(problem, "item"), text(problem, "message"));
    }
}

fn sessions(out: &mut String, bgp: &Value) {
    let Some(peers) = bgp["peers"].as_array().filter(|peers| !peers.is_empty()) else { return };
    let _ = writeln!(
        out,
        "\n{:<24} {:>10} {:<13} {:>9} {:>9}  LAST ERROR",
        "BGP PEER", "AS", "STATE", "RECEIVED", "SENT"
    );
    for peer in peers {
        let _ = writeln!(
            out,
            "{:<24} {:>10} {:<13} {:>9} {:>9}  {}",
            text(peer, "address"),
            peer["asn"].to_string(),
            text(peer, "state"),
            peer["received"].to_string(),
            peer["sent"].to_string(),
            text(peer, "last_error"),
        );
    }
}

fn pods(out: &mut String, pods: &Value, janitor: &Value) {
    let latency = &pods["latency"];
    let count = latency["count"].as_u64().unwrap_or_default();
    let sum = latency["sum_seconds"].as_f64().unwrap_or_default();
    let _ = write!(out, "\nPODS  {} attached, {} waiting", pods["attachments"], pods["waiting"]);
    if count > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
        let mean = sum * 1000.0 / count as f64;
        let _ = write!(out, ", policy in force after {mean:.1} ms on average");
    }
    let _ = writeln!(out, "; refused: {}; freed: {}", counts(&pods["refused"]), counts(&janitor["freed"]));
    for pool in janitor["pools"].as_array().into_iter().flatten() {
        let (network, family) = (text(pool, "network"), text(pool, "family"));
        let _ = writeln!(out, "  {network} {family}: {} addresses used, {} free", pool["used"], pool["free"]);
    }
    if pods["ready"].as_bool() == Some(false) {
        let _ = writeln!(out, "  ! no pod can be added: {}", text(pods, "reason"));
    }
    for problem in janitor["problems"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "  ! janitor: {}", problem.as_str().unwrap_or("-"));
    }
}

/// Renders a status.
pub(super) fn render(status: &Value) -> String {
    let mut out = String::new();
    let uptime = status["uptime_seconds"].as_f64().unwrap_or_default();
    let _ =
        writeln!(out, "node {}, routerd {}, up {uptime:.0} s", text(status, "node"), text(status, "version"));
    let cluster = &status["cluster"];
    let view = if cluster["complete"].as_bool() == Some(true) { "complete" } else { "not complete yet" };
    let _ = writeln!(out, "{}: {view}, {}", text(cluster, "source"), counts(&cluster["objects"]));
    let _ = writeln!(
        out,
        "\n{:<12} {:<10} {:>7} {:>8} {:>10}  HOLDS",
        "PLANE", "STATE", "RUNS", "WRITES", "LAST ms"
    );
    for plane in status["planes"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{:<12} {:<10} {:>7} {:>8} {:>10.2}  {}",
            text(plane, "name"),
            text(plane, "state"),
            plane["runs"].to_string(),
            plane["writes"].to_string(),
            plane["last_duration_ms"].as_f64().unwrap_or_default(),
            counts(&plane["counts"]),
        );
    }
    sessions(&mut out, &status["bgp"]);
    pods(&mut out, &status["pods"], &status["janitor"]);
    out.push('\n');
    problems(&mut out, "cluster", &cluster["problems"]);
    for plane in status["planes"].as_array().into_iter().flatten() {
        problems(&mut out, text(plane, "name"), &plane["problems"]);
    }
    for reason in status["reasons"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "not ready: {}", reason.as_str().unwrap_or("-"));
    }
    if status["ready"].as_bool() == Some(true) {
        out.push_str("ready\n");
    }
    out
}
