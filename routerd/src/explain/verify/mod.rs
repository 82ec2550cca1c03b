//! Does the kernel hold what the policy plane has written? Only reads.

mod compare;
#[cfg(test)]
mod tests;
mod words;

use std::fmt::Write as _;

use kernel::nft::Nft;
use serde::{Deserialize, Serialize};

use super::desk::{Desk, NO_PLANE, NO_VIEW, blocking};
use crate::policy;
use crate::ruleset::Ruleset;
use compare::differences;

/// How often the kernel is read again when it changes meanwhile.
const TRIES: usize = 8;
/// How many differences are told.
const MOST: usize = 500;

/// What is wrong with a thing in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It should be there and is not.
    Missing,
    /// It is there and should not.
    Extra,
    /// It is there and not as it should be.
    Different,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// What is wrong.
    pub fault: Fault,
    /// `chain`, `rule`, `set` or `element`.
    pub kind: String,
    /// The chain or set, by its name in the kernel.
    pub of: String,
    /// The rule or element, or in what a chain or set differs.
    pub what: String,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// True if the kernel holds exactly the model.
    pub equal: bool,
    /// Chains of the model.
    pub chains: usize,
    /// Rules in them.
    pub rules: usize,
    /// Sets and maps of the model.
    pub sets: usize,
    /// Elements in them.
    pub elements: usize,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Differences that are left out.
    pub more: usize,
    /// True if the kernel changed all the time while it was read, so that only what was found twice is told.
    pub restless: bool,
}

impl Comparison {
    fn new(wanted: &Ruleset, mut differences: Vec<Difference>, restless: bool) -> Self {
        let more = differences.len().saturating_sub(MOST);
        let equal = differences.is_empty();
        differences.truncate(MOST);
        Self {
            equal,
            chains: wanted.chains.len(),
            rules: wanted.chains.values().map(|filled| filled.rules.len()).sum(),
            sets: wanted.sets.len(),
            elements: wanted.sets.values().map(|filled| filled.elements.len()).sum(),
            differences,
            more,
            restless,
        }
    }
}

impl Desk {
    /// Compares the policy plane's model with the kernel. The plane's thread only gives its model away; the kernel is
    /// read on another one.
    pub async fn verify(&self) -> Result<Comparison, String> {
        let policy = self.policy.as_ref().ok_or(NO_PLANE)?;
        let mut before = None;
        for _ in 0..TRIES {
            let first = blocking(generation).await??;
            let wanted = policy.look(|held| (held.wanted)()).await.ok_or(NO_VIEW)?;
            let wanted = wanted.ok_or("the policy plane has not started to write; see `routerd status`")?;
            let (observed, last) = blocking(read).await??;
            let found = differences(&observed, &wanted);
            if found.is_empty() || first == last {
                return Ok(Comparison::new(&wanted, found, false));
            }
            before = Some((wanted, found, before.map(|(_, found, _)| found)));
        }
        let (wanted, mut found, earlier) = before.ok_or("the kernel was not read")?;
        found.retain(|one| earlier.as_ref().is_some_and(|earlier| earlier.contains(one)));
        Ok(Comparison::new(&wanted, found, true))
    }
}

fn explain(error: &kernel::KernelError) -> String {
    format!("the kernel's rules cannot be read: {error}")
}

fn generation() -> Result<u32, String> {
    Nft::open().and_then(|mut nft| nft.generation()).map_err(|error| explain(&error))
}

/// The plane's part of the table, and the generation after it was read.
fn read() -> Result<(Ruleset, u32), String> {
    let read = || {
        let mut nft = Nft::open()?;
        let observed = Ruleset::observe(&mut nft, &format!("{}-", policy::NAME))?;
        Ok((observed, nft.generation()?))
    };
    read().map_err(|error: kernel::KernelError| explain(&error))
}

/// The outcome for people.
pub fn render(comparison: &Comparison) -> String {
    let Comparison { chains, rules, sets, elements, .. } = comparison;
    let size = format!("{chains} chains with {rules} rules, {sets} sets with {elements} elements");
    // Writing to a text cannot fail.
    let mut out = String::new();
    if comparison.equal {
        let _ = writeln!(out, "equal: the kernel holds the policies of this node: {size}");
    } else {
        let count = comparison.differences.len() + comparison.more;
        let _ = writeln!(
            out,
            "different: {count} differences between the kernel and the policies of this node ({size})"
        );
    }
    for Difference { fault, kind, of, what } in &comparison.differences {
        let fault = match fault {
            Fault::Missing => "missing",
            Fault::Extra => "extra",
            Fault::Different => "different",
        };
        let _ = match kind.as_str() {
            "chain" | "set" => writeln!(out, "  {fault:<9} {kind} {of} {what}"),
            _ => writeln!(out, "  {fault:<9} {kind} of {of}: {what}"),
        };
    }
    if comparison.more > 0 {
        let _ = writeln!(out, "  and {} more", comparison.more);
    }
    if comparison.restless {
        out.push_str(
            "note: the rules changed all the time while they were read; only what was found twice is told\n",
        );
    }
    out
}
