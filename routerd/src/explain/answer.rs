//! What is answered. The daemon sends it as JSON; the command shows that, or the text of [`super::text`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::question::Question;

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// The node that answers.
    pub node: String,
    /// True if there is a way, and every way is admitted.
    pub admitted: bool,
    /// Every pair of addresses, and of a Service every backend.
    pub ways: Vec<Verdict>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// What becomes of the packets from one address to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who sends, with what is known of it.
    pub from: String,
    /// The address it sends from.
    pub source: IpAddr,
    /// The address that the receiver sees, if not `source`: a node that balances has put its own in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<IpAddr>,
    /// Who receives.
    pub to: String,
    /// The real destination, behind a Service too.
    pub destination: IpAddr,
    /// The real port.
    pub port: u16,
    /// How it is reached, if not directly.
    pub via: Option<String>,
    /// True if neither direction refuses.
    pub admitted: bool,
    /// As the sender's egress.
    pub egress: Judgement,
    /// As the receiver's ingress.
    pub ingress: Judgement,
}

/// What one direction says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passes.
    Admitted,
    /// It is dropped.
    Refused,
    /// No policy can speak of it.
    NotJudged,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What it says.
    pub outcome: Outcome,
    /// Why.
    pub why: String,
    /// The node whose kernel decides; `None` if none does.
    pub node: Option<String>,
    /// True if that is the node that answers. Of another node the answer is what it would decide by what is known here.
    pub here: bool,
    /// The policies that isolate the pod in this direction.
    pub isolated_by: Vec<String>,
    /// The rules that admit it; at most ten.
    pub admitted_by: Vec<RuleName>,
    /// The rules that do not, the closest first; at most ten.
    pub closest: Vec<Miss>,
    /// Rules that are left out of `closest`.
    pub more: usize,
}

/// How many rules that admit are told, and how many that do not.
pub(super) const MOST_TOLD: usize = 10;

/// A rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleName {
    /// The policy.
    pub policy: String,
    /// Its place among the rules of the direction, from 1.
    pub rule: usize,
    /// Whom it admits to which ports.
    pub admits: String,
}

/// A rule that does not admit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// The rule; its number is 0 if the whole policy admits nobody.
    #[serde(flatten)]
    pub rule: RuleName,
    /// The peer is among those it admits.
    pub peer: bool,
    /// The port is among those it admits.
    pub port: bool,
    /// What is missing, in words.
    pub lacks: String,
}

impl Judgement {
    /// One without policies.
    pub(super) fn new(outcome: Outcome, node: Option<String>, here: bool, why: impl Into<String>) -> Self {
        Self {
            outcome,
            why: why.into(),
            node,
            here,
            isolated_by: Vec::new(),
            admitted_by: Vec::new(),
            closest: Vec::new(),
            more: 0,
        }
    }
}
