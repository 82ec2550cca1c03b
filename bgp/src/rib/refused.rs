//! How many of the prefixes that a peer has told its import rules refuse.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prefix::Family;

use super::{Count, Source};
use crate::policy::Verdict;

/// The numbers, kept with each change: to count them would be a walk through all prefixes.
#[derive(Debug, Default)]
pub(super) struct Refused(BTreeMap<IpAddr, Count>);

impl Refused {
    /// A path of `source` had one verdict, if it was there, and has another one, if it still is.
    pub(super) fn note(
        &mut self,
        source: Source,
        family: Family,
        before: Option<Verdict>,
        after: Option<Verdict>,
    ) {
        let is_refused = |verdict: Option<Verdict>| verdict.is_some_and(|verdict| verdict != Verdict::Taken);
        let Some(peer) = source.peer().filter(|_| is_refused(before) != is_refused(after)) else { return };
        let count = self.0.entry(peer).or_default();
        let one = count.of_mut(family);
        *one = if is_refused(after) { *one + 1 } else { one.saturating_sub(1) };
        if count.all() == 0 {
            self.0.remove(&peer);
        }
    }

    /// How many of a peer's.
    pub(super) fn of(&self, peer: IpAddr) -> Count {
        self.0.get(&peer).copied().unwrap_or_default()
    }
}
