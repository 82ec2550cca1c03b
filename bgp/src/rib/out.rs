//! What one peer has been told and what it is still to be told.
//!
//! At most one batch is under way at a time. What changes meanwhile is remembered by prefix only, so a slow peer costs
//! no memory and gets the newest state instead of every step on the way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::{Count, Route};
use crate::packet::{Attributes, Context, encode_update, encode_withdrawals, end_of_rib};

/// Prefixes of one batch: enough to fill messages, and few enough to keep memory and waiting short.
const BATCH: usize = 8192;

/// The Adj-RIB-Out of a session.
#[derive(Debug, Default)]
pub struct AdjOut {
    told: BTreeMap<Prefix, Arc<Route>>,
    pending: BTreeSet<Prefix>,
    /// Those of the pending prefixes that are told also if nothing has changed.
    again: BTreeSet<Prefix>,
    /// Families whose end is to be told after what is pending.
    ends: BTreeSet<Family>,
    busy: bool,
}

impl AdjOut {
    /// Remembers that the route of `prefix` may have changed.
    pub fn touch(&mut self, prefix: Prefix) {
        self.pending.insert(prefix);
    }

    /// Remembers that all that is there of `family` has been told, once the pending prefixes are.
    pub fn finish(&mut self, family: Family) {
        self.ends.insert(family);
    }

    /// All of `family` is to be told again (RFC 2918).
    pub fn refresh(&mut self, family: Family) {
        let prefixes = self.told.keys().filter(|prefix| prefix.family() == family);
        self.again.extend(prefixes.copied());
        self.pending.extend(self.again.iter());
    }

    /// The last batch is with the network.
    pub fn written(&mut self) {
        self.busy = false;
    }

    /// How many prefixes the peer has been told.
    pub fn count(&self) -> Count {
        let v4 = self.told.keys().filter(|prefix| prefix.family() == Family::V4).count();
        Count { v4, v6: self.told.len() - v4 }
    }

    /// What the peer has been told.
    pub fn told(&self) -> impl Iterator<Item = (&Prefix, &Route)> {
        self.told.iter().map(|(prefix, route)| (prefix, &**route))
    }

    /// True if the peer has been told of `prefix`.
    pub fn knows(&self, prefix: &Prefix) -> bool {
        self.told.contains_key(prefix)
    }

    /// Remembers that the routes of everything the peer has been told may have changed.
    pub fn touch_all(&mut self) {
        self.pending.extend(self.told.keys());
    }

    /// True if there is nothing to do, or a batch is under way.
    pub fn is_idle(&self) -> bool {
        self.busy || (self.pending.is_empty() && self.ends.is_empty())
    }

    /// The next messages that bring the peer up to date, if there are any and none are under way. `desired` says what
    /// it should be told of a prefix.
    pub fn batch(
        &mut self,
        context: Context,
        mut desired: impl FnMut(&Prefix) -> Option<Arc<Route>>,
    ) -> Option<Vec<Vec<u8>>> {
        if self.is_idle() {
            return None;
        }
        let mut messages = Vec::new();
        // What has not changed after all sends nothing, and then the next ones have their turn.
        while messages.is_empty() && !self.pending.is_empty() {
            messages = self.next_messages(context, &mut desired);
        }
        if self.pending.is_empty() {
            messages.extend(std::mem::take(&mut self.ends).into_iter().filter_map(end_of_rib));
        }
        self.busy = !messages.is_empty();
        self.busy.then_some(messages)
    }

    fn next_messages(
        &mut self,
        context: Context,
        desired: &mut impl FnMut(&Prefix) -> Option<Arc<Route>>,
    ) -> Vec<Vec<u8>> {
        let mut withdrawn: BTreeMap<Family, Vec<Prefix>> = BTreeMap::new();
        let mut announced: BTreeMap<(Family, Arc<Route>), Vec<Prefix>> = BTreeMap::new();
        for _ in 0..BATCH {
            let Some(prefix) = self.pending.pop_first() else { break };
            let again = self.again.remove(&prefix);
            let route = desired(&prefix);
            match &route {
                Some(route) if again || self.told.get(&prefix) != Some(route) => {
                    announced.entry((prefix.family(), Arc::clone(route))).or_default().push(prefix);
                }
                None if self.told.contains_key(&prefix) => {
                    withdrawn.entry(prefix.family()).or_default().push(prefix);
                }
                _ => {}
            }
            match route {
                Some(route) => self.told.insert(prefix, route),
                None => self.told.remove(&prefix),
            };
        }
        let mut messages: Vec<Vec<u8>> =
            withdrawn.values().flat_map(|prefixes| encode_withdrawals(prefixes)).collect();
        for ((_, route), prefixes) in announced {
            messages.extend(self.announce(&route.attributes, route.next_hop, &prefixes, context));
        }
        messages
    }

    /// What cannot be told counts as not told; an earlier route of it must then go.
    fn announce(
        &mut self,
        attributes: &Attributes,
        next_hop: IpAddr,
        prefixes: &[Prefix],
        context: Context,
    ) -> Vec<Vec<u8>> {
        encode_update(attributes, next_hop, prefixes, context).unwrap_or_else(|| {
            tracing::warn!(?prefixes, %next_hop, "the peer cannot be told these routes: its session lacks the next hop's family, or the attributes are too long");
            for prefix in prefixes {
                self.told.remove(prefix);
            }
            encode_withdrawals(prefixes)
        })
    }
}
