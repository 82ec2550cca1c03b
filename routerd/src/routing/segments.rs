//! TCP works where ICMP does not: connections that are opened through this node announce no larger segments than their way
//! carries.
//!
//! A pod keeps the MTU it was born with; the node's tunnels and devices may carry less, and what another pod has learnt of
//! that by ICMP may never arrive. So the segment size is cut where packets leave the node, for pods old and new and for what
//! IPVS has sent another way. The kernel compares with the way of the packet and with the way back.

use kernel::nft::{Chain, ChainType, Hook, Rule, priority};

use crate::ruleset::{Ruleset, table};

const CHAIN: &str = "routing-segments";

/// The one rule.
pub(super) fn rule() -> Rule {
    Rule::new().clamp_segment_size().comment("TCP segments fit the way")
}

/// `ruleset` with the chain.
pub(super) fn with_chain(ruleset: Ruleset) -> Ruleset {
    let chain = Chain::base(table().chain(CHAIN), ChainType::Filter, Hook::Postrouting, priority::MANGLE);
    ruleset.chain(chain, vec![rule()])
}
