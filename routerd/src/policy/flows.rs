//! Tracked flows that a change leaves without ground. Established flows are not judged again, so they must be forgotten:
//!
//! - those of an address whose pod is gone, always: the next pod with that address must not inherit them, also if it has
//!   the same name;
//! - those that policies admit no longer, if that is asked for (`--netpol-cut-established`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::conntrack::{Filter, Flow};
use kernel::nft::{Datum, Nft, Span};
use kernel::{KernelError, Rtnl};
use prefix::Family;

use super::admits::{First, Judge, narrows};
use super::key::PolicyKey;
use super::names;
use super::value::{Direction, PolicyValue};
use crate::ruleset::Ruleset;

/// With more addresses than this at once, one listing of all flows is cheaper than a walk in the kernel for each.
const MANY: usize = 8;

type Values = BTreeMap<PolicyKey, PolicyValue>;

/// What is to be forgotten once the rules are in the kernel.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Also those that policies admit no longer.
    pub(super) cut: bool,
    /// Addresses whose pod is gone.
    lost: BTreeSet<IpAddr>,
    /// Something may be admitted no longer.
    narrowed: bool,
}

impl Flows {
    /// A value changes. Returns the addresses that are somebody else's now, or nobody's.
    pub(super) fn changed(
        &mut self,
        old: Option<&PolicyValue>,
        new: Option<&PolicyValue>,
    ) -> BTreeSet<IpAddr> {
        self.narrowed |= self.cut && narrows(old, new);
        let lost: BTreeSet<IpAddr> = match (old, new) {
            (Some(PolicyValue::Pod(old)), Some(PolicyValue::Pod(new))) => new.handed_on(old).collect(),
            (Some(PolicyValue::Pod(old)), _) => old.addresses.clone(),
            _ => BTreeSet::new(),
        };
        self.lost.extend(&lost);
        lost
    }

    /// An earlier run left these rules: what happened since is not known.
    pub(super) fn adopted(&mut self, observed: &Ruleset, desired: &Values) {
        let pods = desired.values().filter_map(|value| match value {
            PolicyValue::Pod(pod) => Some(&pod.addresses),
            _ => None,
        });
        let held: BTreeSet<IpAddr> = pods.flatten().copied().collect();
        let had = Family::BOTH.into_iter().flat_map(|family| {
            let map = observed.sets.get(&names::verdicts(Direction::Ingress, family));
            map.into_iter().flat_map(|map| &map.elements).filter_map(|element| address(&element.span))
        });
        self.lost.extend(had.filter(|address| !held.contains(address)));
        self.narrowed |= self.cut;
    }

    /// Forgets what is to be forgotten. Returns how many listings or deletions were asked for; what fails is tried again
    /// by the next call.
    pub(super) fn settle(
        &mut self,
        nft: &mut Nft,
        desired: &Values,
        refused: &BTreeMap<PolicyKey, String>,
    ) -> Result<u64, KernelError> {
        let mut writes = 0;
        if !self.lost.is_empty() {
            for family in Family::BOTH {
                let lost: Vec<IpAddr> =
                    self.lost.iter().copied().filter(|address| Family::of(*address) == family).collect();
                writes += forget_addresses(nft, family, &lost)?;
            }
            self.lost.clear();
        }
        if self.narrowed {
            let judge = Judge::new(desired, refused);
            let own = own_addresses()?;
            for family in Family::BOTH {
                let is_refused = |flow: &Flow| {
                    let first = first(flow);
                    judge.concerns(&first) && !own.contains(&first.source) && !judge.admits(&first)
                };
                let cut = nft.conntrack().delete_matching(&Filter::family(family), is_refused)?;
                if cut > 0 {
                    tracing::info!(cut, %family, "flows that policies admit no longer were cut");
                }
                writes += cut as u64;
            }
            self.narrowed = false;
        }
        Ok(writes)
    }

    /// True if there is something to do.
    pub(super) fn is_pending(&self) -> bool {
        self.narrowed || !self.lost.is_empty()
    }
}

fn forget_addresses(nft: &mut Nft, family: Family, lost: &[IpAddr]) -> Result<u64, KernelError> {
    let all = Filter::family(family);
    match lost {
        [] => return Ok(0),
        few if few.len() <= MANY => {
            let filters: Vec<Filter> = few.iter().copied().flat_map(Filter::with).collect();
            nft.conntrack().forget_each(&all, &filters)?;
        }
        many => {
            let many: BTreeSet<&IpAddr> = many.iter().collect();
            let has = |flow: &Flow| {
                let first = first(flow);
                [first.source, first.destination].iter().any(|address| many.contains(address))
            };
            nft.conntrack().delete_matching(&all, has)?;
        }
    }
    Ok(1)
}

/// The flow as the judging chains saw its first packet: before its source and after its destination was rewritten.
fn first(flow: &Flow) -> First {
    First {
        source: flow.original.source.ip(),
        destination: flow.reply.source.ip(),
        port: flow.reply.source.port(),
        protocol: flow.original.protocol,
    }
}

/// The addresses of this node, which always reaches its pods.
fn own_addresses() -> Result<BTreeSet<IpAddr>, KernelError> {
    Ok(Rtnl::open()?.addresses(None, None)?.into_iter().map(|address| address.address).collect())
}

fn address(span: &Span) -> Option<IpAddr> {
    let Span::Key(key) = span else { return None };
    match key.0.as_slice() {
        [Datum::Ip4(address)] => Some((*address).into()),
        [Datum::Ip6(address)] => Some((*address).into()),
        _ => None,
    }
}
