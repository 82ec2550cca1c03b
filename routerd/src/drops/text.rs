//! Lines as people read them, made from the JSON that the socket gives.

use serde_json::Value;

/// The heading of the columns.
pub(super) fn heading() -> String {
    columns("TIME", "DIRECTION", "POD", "PEER", "PORT", "REASON")
}

fn columns(time: &str, direction: &str, pod: &str, peer: &str, port: &str, reason: &str) -> String {
    format!("{time:<24} {direction:<9} {pod:<38} {peer:<38} {port:<13} {reason}\n")
}

/// A line that is about no packet: what it says, for the standard error.
pub(super) fn remark(line: &Value) -> Option<String> {
    let text = |key: &str| line[key].as_str();
    if let Some(lost) = line["lost"].as_u64() {
        let by = text("by").unwrap_or("the reader");
        return Some(format!("{lost} lines are missing here, because {by} was too slow for them"));
    }
    text("notice").or_else(|| text("error")).map(str::to_owned)
}

/// The line of a refused packet.
pub(super) fn refused(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or("-");
    columns(
        text("time"),
        text("direction"),
        &end(&line["pod"]),
        &end(&line["peer"]),
        &port(line),
        text("message"),
    )
}

fn end(end: &Value) -> String {
    let text = |key: &str| end[key].as_str();
    let address = text("address").unwrap_or("-");
    match (text("namespace"), text("name"), text("node")) {
        (Some(namespace), Some(name), _) => format!("{namespace}/{name} ({address})"),
        (_, _, Some(node)) => format!("node {node} ({address})"),
        _ => address.to_owned(),
    }
}

fn port(line: &Value) -> String {
    let protocol = line["protocol"].as_str().unwrap_or("-");
    if let Some(port) = line["port"].as_u64() {
        return format!("{protocol} {port}");
    }
    match line["icmp"]["type"].as_u64() {
        Some(kind) => format!("{protocol} type {kind}"),
        None => protocol.to_owned(),
    }
}
