//! `docs/flags.md`, made from the table.

use std::fmt::Write as _;

use super::kind::Kind;
use super::table::{Effect, Flag, GROUPS, flags};

/// The document.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Flags of routerd\n\n\
         Made from the table in `routerd/src/config/table/`; a test compares. To write it anew: \
         `ROUTERD_WRITE_DOCS=1 cargo test -p routerd --test flags`.\n\n\
         The syntax is that of kube-router: `--flag=value` or `--flag value`; a bool is `--flag`, `--flag=true` or \
         `--flag=false`; a list is repeated or has commas. Durations are `90s`, `5m0s`. A wrong flag ends the start \
         with status 2. Flags marked ⁺ are not of kube-router.\n",
    );
    for group in GROUPS {
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\n## {}\n\n| flag | type | default | what it does |\n| --- | --- | --- | --- |\n",
            group.title
        );
        for flag in group.flags {
            text.push_str(&row(flag));
        }
    }
    let _ = write!(text, "\n## Accepted, without effect yet\n\n{}", without_effect());
    text
}

/// The list of flags that are accepted and have no effect yet; ARCHITECTURE.md holds it too.
pub fn without_effect() -> String {
    let names: Vec<String> = flags()
        .filter(|flag| flag.effect == Effect::NotYet)
        .map(|flag| format!("`--{}`", flag.name))
        .collect();
    format!("{}\n", names.join(", "))
}

fn row(flag: &Flag) -> String {
    let default = if flag.default.is_empty() { String::new() } else { format!("`{}`", flag.default) };
    let mark = if flag.of_kube_router { "" } else { "⁺" };
    let allowed = match flag.kind {
        Kind::Bool | Kind::Text | Kind::Texts | Kind::Address | Kind::Addresses | Kind::Prefixes => {
            String::new()
        }
        kind => format!(" Allowed: {}.", kind.allowed()),
    };
    let effect = match flag.effect {
        Effect::Works => String::new(),
        Effect::NotYet => " **Without effect yet.**".to_owned(),
        Effect::Never(why) => format!(" Without effect: {why}."),
    };
    format!(
        "| `--{}`{mark} | {} | {default} | {}{allowed}{effect} |\n",
        flag.name,
        flag.kind.name(),
        flag.help
    )
}
