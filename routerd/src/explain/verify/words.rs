//! Chains, rules and sets in words: enough to know which one is meant.

use std::fmt::Write as _;

use kernel::nft::{Chain, Expression, LogTarget, Rule, Set};

/// Where a chain is entered.
pub(super) fn base(chain: &Chain) -> String {
    match &chain.base {
        None => "an ordinary chain".to_owned(),
        Some(base) => format!(
            "a {:?} chain at {:?}, priority {}, policy {:?}",
            base.kind, base.hook, base.priority, base.policy
        )
        .to_lowercase(),
    }
}

/// What kind of set it is.
pub(super) fn set(set: &Set) -> String {
    let keys: Vec<String> = set.key.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
    let mut text = format!("a set of {}", keys.join(" . "));
    if let Some(data) = &set.data {
        // Writing to a text cannot fail.
        let _ = write!(text, " to {data:?}");
    }
    if set.interval {
        text.push_str(" with ranges");
    }
    text
}

/// What a rule does.
pub(super) fn rule(rule: &Rule) -> String {
    let parts: Vec<String> =
        rule.expressions.iter().map(expression).filter(|part| !part.is_empty()).collect();
    let mut text = parts.join(", ");
    if let Some(comment) = &rule.comment {
        let _ = write!(text, " ({comment})");
    }
    text
}

fn expression(expression: &Expression) -> String {
    match expression {
        Expression::Meta { key, .. } => format!("{key:?}").to_lowercase(),
        Expression::Ct { key, .. } => format!("connection {key:?}").to_lowercase(),
        Expression::Payload { base, offset, length, .. } => format!(
            "bytes {offset} to {} of the {base:?} header",
            u64::from(*offset) + u64::from(*length) - 1
        )
        .to_lowercase(),
        Expression::Fib { .. } => "kind of address".to_owned(),
        Expression::Compare { comparison, data, .. } => {
            format!("{comparison:?} {}", hex(data)).to_lowercase()
        }
        Expression::Range { first, last, .. } => format!("from {} to {}", hex(first), hex(last)),
        Expression::Bitwise { mask, .. } => format!("masked {}", hex(mask)),
        Expression::Lookup { set, to: Some(_), .. } => format!("by map {set}"),
        Expression::Lookup { set, inverted: true, .. } => format!("not in set {set}"),
        Expression::Lookup { set, .. } => format!("in set {set}"),
        // The register of a verdict that a map gives.
        Expression::Immediate { data, .. } => format!("value {}", hex(data)),
        Expression::Verdict(verdict) => verdict.to_string(),
        Expression::Counter => "counter".to_owned(),
        Expression::Reject(_) => "reject".to_owned(),
        Expression::Log { target: LogTarget::Group(group, _), .. } => format!("log to group {group}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
