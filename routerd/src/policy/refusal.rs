//! What becomes of a packet that is refused: counted for its pod, logged, dropped.
//!
//! ```text
//!   judgement of pods by policies ──jump──► policy-refused-…   counts and logs, comes back, and is dropped there
//!   an address in the verdict map ──goto──► policy-unknown-…, policy-failed-…   count, log, drop
//!   an address without a verdict  ──goto──► policy-orphan-…    logs, counts, drops
//!   no begin of a connection      ──goto──► policy-middle ──jump──► policy-middle-…   count, log; dropped there
//! ```
//!
//! The counters are in sets with one element for every address of this node's pods (`policy-drops-…`): found by a lookup,
//! so they cost the same whatever the number of pods, and they go with the pod. Each element also has a limit of its own,
//! so that one flooded pod does not hide what befalls the others; a second limit, per reason, bounds the work for a reader.
//! What the limits leave out is not logged but counted.

use std::fmt;

use kernel::nft::{Chain, ChainName, DataType, Expression, Field, Nft, Rule, Set, TimeUnit, Verdict};
use prefix::Family;

use super::names;
use super::value::Direction;
use crate::ruleset::{Ruleset, table};
use crate::runner::Problem;

/// The NFLOG group, as kube-router's.
pub const LOG_GROUP: u16 = 100;
/// Bytes of a packet that are logged: an IPv6 header with some extension headers, and the ports after them.
pub const LOGGED_BYTES: u32 = 128;
/// Entries in a second for an address of a pod and a direction, and how many at once.
const EACH: (u64, u32) = (10, 50);
/// Entries in a second for a reason, a direction and a family, and how many at once.
const ALL: (u64, u32) = (100, 500);

/// Why a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Policies judge the pod and none admits the packet.
    NotAdmitted,
    /// The plugin gave the address to a pod that the cluster does not know: not yet, or no longer.
    Unknown,
    /// The kernel refused what the pod's policies come to, so the pod is isolated.
    Failed,
    /// The address is in the pod networks of this node, and no pod is known to have it.
    Orphan,
    /// A TCP packet that begins no connection and belongs to none: such are refused with `--netpol-cut-established`.
    Middle,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 5] =
        [Reason::NotAdmitted, Reason::Unknown, Reason::Failed, Reason::Orphan, Reason::Middle];

    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Reason::NotAdmitted => "not-admitted",
            Reason::Unknown => "unknown-pod",
            Reason::Failed => "policy-failed",
            Reason::Orphan => "no-verdict",
            Reason::Middle => "cut-connection",
        }
    }

    /// What a log entry in the kernel begins with: how a reader tells entries of ours, and what they say.
    pub fn log_prefix(self, direction: Direction) -> String {
        format!("routerd policy {}: {self}", direction.word())
    }

    /// The direction and the reason of an entry that begins so; `None` if it is not ours.
    pub fn of_log_prefix(prefix: &str) -> Option<(Direction, Reason)> {
        let all = Direction::BOTH.into_iter().flat_map(|direction| Reason::ALL.map(|one| (direction, one)));
        all.into_iter().find(|(direction, reason)| reason.log_prefix(*direction) == prefix)
    }
}

/// For people.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::NotAdmitted => "no policy admits it",
            Reason::Unknown => "the pod is closed, because the cluster does not show it",
            Reason::Failed => "the pod is closed, because the kernel refused its policies",
            Reason::Orphan => "a pod address without a verdict",
            Reason::Middle => {
                "from the middle of a connection that was cut, or that this node has not seen begin"
            }
        })
    }
}

/// The set with a counter for each address of this node's pods.
pub(super) fn counters(direction: Direction, family: Family) -> Set {
    let (rate, burst) = EACH;
    let limit = Expression::Limit { rate, unit: TimeUnit::Second, burst, over: false };
    Set::new(table().set(names::drops(direction, family)), [DataType::address(family)])
        .each([Expression::Counter, limit])
}

/// The four sets with the counters of pods.
pub fn all_counters() -> impl Iterator<Item = (Direction, Set)> {
    let both = |direction| Family::BOTH.map(|family| (direction, counters(direction, family)));
    Direction::BOTH.into_iter().flat_map(both)
}

/// The chain that counts packets of addresses without a verdict.
pub fn orphans(direction: Direction) -> ChainName {
    table().chain(names::refusal(Reason::Orphan, direction))
}

/// What happens to an address whose packets are refused for `reason` without a judgement.
pub(super) fn verdict(reason: Reason, direction: Direction) -> Verdict {
    Verdict::Goto(names::refusal(reason, direction))
}

/// The chains, and the sets without elements.
pub(super) fn add_to(mut ruleset: Ruleset) -> Ruleset {
    for (_, set) in all_counters() {
        ruleset = ruleset.set(set, std::collections::BTreeSet::new());
    }
    for direction in Direction::BOTH {
        for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::Middle) {
            let name = names::refusal(reason, direction);
            ruleset = ruleset.chain(Chain::new(table().chain(name)), rules(reason, direction));
        }
    }
    ruleset
}

/// Adds the chain that ends packets from the middle of connections, each as egress and as ingress.
pub(super) fn add_middle(ruleset: &mut Ruleset) {
    let mut all = std::mem::take(ruleset);
    let mut ends = Vec::new();
    for direction in [Direction::Egress, Direction::Ingress] {
        let name = names::refusal(Reason::Middle, direction);
        ends.push(Rule::new().jump(name.clone()));
        all = all.chain(Chain::new(table().chain(name)), rules(Reason::Middle, direction));
    }
    ends.push(Rule::new().counter().drop().comment("no begin of a connection: --netpol-cut-established"));
    *ruleset = all.chain(Chain::new(table().chain(names::MIDDLE)), ends);
}

fn log(rule: Rule, reason: Reason, direction: Direction) -> Rule {
    // Nothing limits an address without a verdict for itself, and whoever scans the pod networks meets many.
    let (rate, burst) = if reason == Reason::Orphan { EACH } else { ALL };
    let prefix = reason.log_prefix(direction);
    rule.limit(rate, TimeUnit::Second, burst).log_begin_of(LOG_GROUP, LOGGED_BYTES, prefix)
}

/// False on a kernel that cannot log packets to a group; policies hold there all the same.
pub(super) fn can_log(nft: &mut Nft) -> bool {
    // What cannot be tried is told by the commit.
    nft.supports(&log(Rule::new(), Reason::Orphan, Direction::Ingress)).unwrap_or(true)
}

/// Said where it cannot.
pub(super) fn cannot_log() -> Problem {
    let message = "this kernel cannot log packets to a group (NFLOG), so `routerd drops` shows nothing; policies hold, and what \
                   they refuse is counted. Load nfnetlink_log and nft_log, and start routerd again"
        .to_owned();
    Problem { item: "policy log".to_owned(), message, retry: false }
}

/// Takes the logging out of the rules. They still count.
pub(super) fn mute(ruleset: &mut Ruleset) {
    for rule in ruleset.chains.values_mut().flat_map(|filled| &mut filled.rules) {
        if rule.expressions.iter().any(|one| matches!(one, Expression::Log { .. })) {
            rule.expressions.retain(|one| !matches!(one, Expression::Log { .. } | Expression::Limit { .. }));
        }
    }
}

fn rules(reason: Reason, direction: Direction) -> Vec<Rule> {
    let log = |rule| log(rule, reason, direction);
    let own = |family| match direction {
        Direction::Ingress => Field::destination(family),
        Direction::Egress => Field::source(family),
    };
    let of_pods =
        Family::BOTH.map(|family| log(Rule::new().in_set(&[own(family)], names::drops(direction, family))));
    let drop = Rule::new().counter().drop().comment(&reason.to_string());
    match reason {
        // Who jumps there drops what comes back.
        Reason::NotAdmitted | Reason::Middle => of_pods.into(),
        Reason::Unknown | Reason::Failed => of_pods.into_iter().chain([drop]).collect(),
        Reason::Orphan => vec![log(Rule::new()), drop],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_prefix_tells_its_direction_and_reason_and_fits_the_kernel() {
        for direction in Direction::BOTH {
            for reason in Reason::ALL {
                let prefix = reason.log_prefix(direction);
                assert!(prefix.len() < 127, "{prefix}");
                assert_eq!(Reason::of_log_prefix(&prefix), Some((direction, reason)));
            }
        }
        assert_eq!(Reason::of_log_prefix("somebody else's"), None);
    }

    #[test]
    fn without_logs_the_rules_still_count_and_drop() {
        let mut ruleset = add_to(Ruleset::default());
        let loud = ruleset.clone();
        mute(&mut ruleset);
        assert_eq!(ruleset.sets, loud.sets);
        assert!(!format!("{ruleset:?}").contains("Log"), "{ruleset:?}");
        for (name, filled) in &loud.chains {
            assert_eq!(ruleset.chains[name].rules.len(), filled.rules.len(), "{name}");
            assert_eq!(ruleset.chains[name].rules.last() == filled.rules.last(), !name.contains("refused"));
        }
    }
}
