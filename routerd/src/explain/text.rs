//! The answer for people.

use std::fmt::Write as _;

use super::answer::{Answer, Judgement, Outcome, Verdict};

/// Renders an answer.
pub fn render(answer: &Answer) -> String {
    let question = &answer.question;
    let word = if answer.admitted { "admitted" } else { "refused" };
    // Writing to a text cannot fail.
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{word}: {} to {}, {} port {}",
        question.from, question.to, question.protocol, question.port
    );
    for verdict in &answer.ways {
        way(&mut out, answer, verdict);
    }
    for note in &answer.notes {
        let _ = writeln!(out, "\nnote: {note}");
    }
    out
}

fn way(out: &mut String, answer: &Answer, verdict: &Verdict) {
    let mark = if verdict.admitted { "admitted" } else { "refused" };
    let _ = write!(out, "\n{mark}: {} -> {} port {}", verdict.source, verdict.destination, verdict.port);
    if let Some(via) = &verdict.via {
        let _ = write!(out, " (behind {via})");
    }
    let seen = verdict.seen.map(|address| format!(", seen as {address}")).unwrap_or_default();
    let _ = writeln!(out, "\n  from {}{seen}\n  to   {}", verdict.from, verdict.to);
    direction(out, answer, "egress ", &verdict.egress);
    direction(out, answer, "ingress", &verdict.ingress);
}

fn direction(out: &mut String, answer: &Answer, name: &str, judgement: &Judgement) {
    let word = match judgement.outcome {
        Outcome::Admitted => "admitted",
        Outcome::Refused => "refused",
        Outcome::NotJudged => "not judged",
    };
    let place = match (&judgement.node, judgement.here) {
        (Some(node), true) => format!(" on this node, {node}"),
        (Some(node), false) => format!(" on {node}, not here"),
        (None, _) => String::new(),
    };
    let _ = writeln!(out, "  {name} {word}{place}: {}", judgement.why);
    if !judgement.isolated_by.is_empty() {
        let _ = writeln!(out, "    isolated by {}", shortened(&judgement.isolated_by));
    }
    for rule in &judgement.admitted_by {
        let _ = writeln!(out, "    + {} rule {}: admits {}", rule.policy, rule.rule, rule.admits);
    }
    // What does not admit matters only where nothing does.
    if judgement.outcome == Outcome::Refused {
        for miss in &judgement.closest {
            let rule = match miss.rule.rule {
                0 => miss.rule.policy.clone(),
                number => format!("{} rule {number}", miss.rule.policy),
            };
            let _ = writeln!(out, "    - {rule}: admits {}; {}", miss.rule.admits, miss.lacks);
        }
        if judgement.more > 0 {
            let _ = writeln!(out, "      and {} more that do not admit it", judgement.more);
        }
    }
    if let (Some(node), false) = (&judgement.node, judgement.here) {
        let _ = writeln!(
            out,
            "    as {node} would decide by what {} knows; `routerd explain` on {node} tells what its kernel holds",
            answer.node
        );
    }
}

fn shortened(names: &[String]) -> String {
    const MOST: usize = 8;
    match names.len() {
        count if count > MOST => format!("{} and {} more", names[..MOST].join(", "), count - MOST),
        _ => names.join(", "),
    }
}
