//! The command `routerd bgp`: asks the daemon and prints what it says.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::admin::Question;
use crate::admin::client;

/// Asks the daemon at the socket; 0 if it has answered.
pub fn run(socket: &Path, question: &Question, json: bool) -> ExitCode {
    let asked = client::question(socket, &format!("bgp {}", question.words()));
    let answer = asked.map_err(|error| error.to_string()).and_then(|answer| {
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    });
    match answer {
        Ok(answer) => {
            let text = if json { format!("{answer:#}\n") } else { render(question, &answer) };
            // A reader that has seen enough, as `head`, does not change the answer.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn render(question: &Question, answer: &Value) -> String {
    let mut out = String::new();
    match question {
        Question::Neighbors => neighbors(&mut out, answer),
        Question::Rib => {
            for route in list(answer, "routes") {
                let _ = writeln!(out, "{}", text(&route["prefix"]));
                paths(&mut out, route);
            }
        }
        Question::Advertised(_) => {
            for route in list(answer, "routes") {
                let _ = writeln!(out, "{:<43} {}", text(&route["prefix"]), details(route));
            }
        }
        Question::Explain(_) => explain(&mut out, answer),
    }
    if out.is_empty() {
        out.push_str("nothing\n");
    }
    out
}

fn neighbors(out: &mut String, answer: &Value) {
    let _ = writeln!(out, "AS {}, router ID {}", text(&answer["asn"]), text(&answer["router_id"]));
    let columns = ["PEER", "AS", "STATE", "FOR", "RECEIVED", "SENT", "LOST", "BFD"];
    let mut line = |cells: [String; 8], error: &str| {
        let [peer, asn, state, since, received, sent, lost, bfd] = cells;
        let row = format!(
            "{peer:<40} {asn:>10} {state:<13} {since:>8} {received:>9} {sent:>9} {lost:>5} {bfd:<10} {error}"
        );
        let _ = writeln!(out, "{}", row.trim_end());
    };
    line(columns.map(str::to_owned), "LAST ERROR");
    for peer in list(answer, "peers") {
        let cell = |name: &str| text(&peer[name]);
        let bfd = &peer["bfd"]["state"];
        let cells = [
            cell("address"),
            cell("asn"),
            cell("state"),
            format!("{} s", cell("since_seconds")),
            cell("received"),
            cell("sent"),
            cell("lost"),
            if bfd.is_null() { "-".to_owned() } else { text(bfd) },
        ];
        let error = &peer["last_error"];
        line(cells, &if error.is_null() { String::new() } else { text(error) });
    }
}

fn explain(out: &mut String, answer: &Value) {
    let prefix = text(&answer["prefix"]);
    if list(answer, "paths").is_empty() {
        let _ = writeln!(out, "{prefix}: nobody has told it, and this node does not announce it");
    } else {
        let _ = writeln!(out, "{prefix}");
        paths(out, answer);
    }
    for peer in list(answer, "told") {
        let (address, route) = (text(&peer["peer"]), &peer["route"]);
        let _ = if route.is_null() {
            writeln!(out, "  not told to {address} ({})", text(&peer["state"]))
        } else {
            writeln!(out, "  told to {address}: {}", details(route))
        };
    }
}

fn paths(out: &mut String, route: &Value) {
    for path in list(route, "paths") {
        let from = &path["from"];
        let from = if from.is_null() { "this node".to_owned() } else { text(from) };
        let fate = match path["refused"].as_str() {
            Some(reason) => format!("refused: {reason}"),
            None if path["used"] == true => "used".to_owned(),
            None => "not the best".to_owned(),
        };
        let stale = if path["stale"] == true { ", stale" } else { "" };
        let _ = writeln!(out, "  from {from}, {fate}{stale}: {}", details(path));
    }
}

/// The next hop and the attributes that are there.
fn details(route: &Value) -> String {
    let mut line = format!("via {}", text(&route["next_hop"]));
    for (name, label) in [
        ("as_path", "AS path"),
        ("local_pref", "local preference"),
        ("med", "MED"),
        ("communities", "communities"),
        ("large_communities", "large communities"),
    ] {
        let value = match &route[name] {
            Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
            Value::Null => String::new(),
            value => text(value),
        };
        if !value.is_empty() {
            let _ = write!(line, ", {label} {value}");
        }
    }
    line
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
