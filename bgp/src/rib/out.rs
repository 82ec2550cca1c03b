//! What one peer has been told and what it is still to be told.
//!
//! At most one batch is under way at a time. What changes meanwhile is remembered by prefix only, so a slow peer costs
//! no memory and gets the newest state instead of every step on the way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::Route;
use crate::packet::{Attributes, Context, encode_update, encode_withdrawals, end_of_rib};

/// The Adj-RIB-Out of a session.
#[derive(Debug, Default)]
pub struct AdjOut {
    told: BTreeMap<Prefix, Route>,
    pending: BTreeSet<Prefix>,
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

    /// Forgets what was told of `family`, so that all of it is told again (RFC 2918).
    pub fn refresh(&mut self, family: Family) {
        let prefixes: Vec<Prefix> =
            self.told.keys().filter(|prefix| prefix.family() == family).copied().collect();
        for prefix in prefixes {
            self.told.remove(&prefix);
            self.pending.insert(prefix);
        }
    }

    /// The last batch is with the network.
    pub fn written(&mut self) {
        self.busy = false;
    }

    /// How many prefixes the peer has been told.
    pub fn count(&self) -> usize {
        self.told.len()
    }

    /// The messages that bring the peer up to date, if there are any and none are under way. `desired` says what it
    /// should be told of a prefix.
    pub fn batch(
        &mut self,
        context: Context,
        desired: impl Fn(&Prefix) -> Option<Route>,
    ) -> Option<Vec<Vec<u8>>> {
        if self.busy || (self.pending.is_empty() && self.ends.is_empty()) {
            return None;
        }
        let mut withdrawn: BTreeMap<Family, Vec<Prefix>> = BTreeMap::new();
        let mut announced: BTreeMap<(Family, IpAddr, Arc<Attributes>), Vec<Prefix>> = BTreeMap::new();
        for prefix in std::mem::take(&mut self.pending) {
            let route = desired(&prefix);
            match &route {
                Some(route) if self.told.get(&prefix) != Some(route) => {
                    let key = (prefix.family(), route.next_hop, Arc::clone(&route.attributes));
                    announced.entry(key).or_default().push(prefix);
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
        for ((_, next_hop, attributes), prefixes) in announced {
            messages.extend(self.announce(&attributes, next_hop, &prefixes, context));
        }
        messages.extend(std::mem::take(&mut self.ends).into_iter().filter_map(end_of_rib));
        self.busy = !messages.is_empty();
        self.busy.then_some(messages)
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
