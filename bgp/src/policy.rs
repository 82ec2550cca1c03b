//! What is taken from a peer and what is sent to it, as values: they can be compared, and they change live.

use std::sync::Arc;

use prefix::Prefix;

use crate::config::Communities;

/// What of a peer's routes is taken. The rules hold at all times, also for reflectors and their clients; what they
/// refuse stays known (and is shown as refused), so that other rules take effect without asking the peer again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRules {
    /// Refuse `0.0.0.0/0` and `::/0`: a peer that announces one by mistake must not draw all traffic to itself.
    pub refuse_default: bool,
    /// Refuse exactly the prefixes that we originate, and those that
    /// [`SpeakerHandle::protect`](crate::SpeakerHandle::protect) names.
    pub refuse_own: bool,
    /// Refuse these prefixes and all inside of them.
    pub refuse: Arc<[Prefix]>,
}

impl Default for ImportRules {
    /// As `kube-router` has it: no defaults, nothing of our own.
    fn default() -> Self {
        Self { refuse_default: true, refuse_own: true, refuse: Arc::default() }
    }
}

impl ImportRules {
    /// Rules that take everything.
    pub fn everything() -> Self {
        Self { refuse_default: false, refuse_own: false, refuse: Arc::default() }
    }

    /// The verdict on a prefix; `own` says whether it is ours or protected.
    pub fn judge(&self, prefix: &Prefix, own: bool) -> Verdict {
        if self.refuse_default && prefix.is_default() {
            Verdict::Default
        } else if self.refuse_own && own {
            Verdict::Own
        } else if self.refuse.iter().any(|range| range.covers(prefix)) {
            Verdict::Configured
        } else {
            Verdict::Taken
        }
    }
}

/// What becomes of a route by the import rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Verdict {
    /// It takes part in the choice.
    #[default]
    Taken,
    /// Refused: a default route.
    Default,
    /// Refused: the prefix is ours.
    Own,
    /// Refused: it is in a range of [`ImportRules::refuse`].
    Configured,
}

impl Verdict {
    /// Why it is refused, for people; `None` if it is not.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Verdict::Taken => None,
            Verdict::Default => Some("a default route"),
            Verdict::Own => Some("the prefix is this node's own"),
            Verdict::Configured => Some("the prefix is in a range that import refuses"),
        }
    }
}

/// Repetitions of an AS in front of AS_PATH, to make a way less attractive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepend {
    /// The AS to repeat.
    pub asn: u32,
    /// How often; 0 for not at all.
    pub times: u8,
}

/// What is sent to a peer. The rules of BGP itself (nothing learnt inside the AS goes to others inside it, no route
/// back to where it came from, `NO_EXPORT` and so on) come on top.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportRules {
    /// Pass on what other peers told. A node is no transit and does not; a reflector does.
    pub learnt: bool,
    /// It hears what is meant for peers of other ASes ([`Audience::External`](crate::Audience)), also if it is of ours: a
    /// router in the AS of the nodes.
    pub outside: bool,
    /// Our address of the session becomes the next hop, where the family allows: of what we originate and, for peers
    /// of our own AS, of what comes from other ASes. What is reflected keeps its next hop (RFC 4456 §10). To other
    /// ASes what was learnt always leaves with our own address.
    pub next_hop_self: bool,
    /// Communities added to every route, for example `GRACEFUL_SHUTDOWN` (65535:0, RFC 8326) while a node is drained.
    pub communities: Communities,
    /// ASes in front of the path of every route, for peers of other ASes. They come behind our own AS, which such
    /// a peer must find first (RFC 4271 §6.3).
    pub prepend: Option<Prepend>,
}

impl ExportRules {
    /// Rules that also pass on what was learnt: a router or a reflector.
    pub fn transit() -> Self {
        Self { learnt: true, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_range_holds_all_that_is_inside_and_nothing_around() {
        let rules = ImportRules { refuse: ["10.1.0.0/16".parse().unwrap()].into(), ..ImportRules::default() };
        let judge = |prefix: &str, own| rules.judge(&prefix.parse().unwrap(), own);
        assert_eq!(judge("10.1.0.0/16", false), Verdict::Configured);
        assert_eq!(judge("10.1.2.3/32", false), Verdict::Configured);
        assert_eq!(judge("10.0.0.0/8", false), Verdict::Taken);
        assert_eq!(judge("10.0.0.0/8", true), Verdict::Own);
        assert_eq!((judge("0.0.0.0/0", false), judge("::/0", true)), (Verdict::Default, Verdict::Default));
        let all = ImportRules::everything();
        assert_eq!(all.judge(&"::/0".parse().unwrap(), true), Verdict::Taken);
    }
}
