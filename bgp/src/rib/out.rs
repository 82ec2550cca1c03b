//! What one peer has been told and what it is still to be told.
//!
//! At most one batch is under way at a time. What changes meanwhile is remembered by prefix only, so a slow peer costs
//! no memory and gets the newest state instead of every step on the way to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::{Count, Path, Route};
use crate::packet::open::encode_route_refresh;
use crate::packet::{Attributes, Context, Refresh, encode_update, encode_withdrawals, end_of_rib};

/// Prefixes of one batch: enough to fill messages, and few enough to keep memory and waiting short.
const BATCH: usize = 8192;

/// Prefixes by what is told of them.
#[derive(Debug, Default)]
struct Groups {
    made: Vec<(Family, Arc<Route>, Vec<Prefix>)>,
    /// Their places, by the address of the route, which its owner there keeps: comparing what it says takes much longer.
    places: HashMap<(Family, *const Route), usize>,
}

impl Groups {
    fn add(&mut self, prefix: Prefix, route: &Arc<Route>) {
        let family = prefix.family();
        let place = *self.places.entry((family, Arc::as_ptr(route))).or_insert(self.made.len());
        match self.made.get_mut(place) {
            Some((_, _, prefixes)) => prefixes.push(prefix),
            None => self.made.push((family, Arc::clone(route), vec![prefix])),
        }
    }

    /// Equal routes count as one, so that they share messages.
    fn finish(self) -> BTreeMap<(Family, Arc<Route>), Vec<Prefix>> {
        let mut all: BTreeMap<(Family, Arc<Route>), Vec<Prefix>> = BTreeMap::new();
        for (family, route, mut prefixes) in self.made {
            all.entry((family, route)).or_default().append(&mut prefixes);
        }
        all
    }
}

/// The Adj-RIB-Out of a session.
#[derive(Debug, Default)]
pub struct AdjOut {
    /// By the path, which the table has anyway; the peer's rules make of it the route that was told.
    told: BTreeMap<Prefix, Path>,
    count: Count,
    pending: BTreeSet<Prefix>,
    /// Those of the pending prefixes that are told also if nothing has changed.
    again: BTreeSet<Prefix>,
    /// Families whose end is to be told after what is pending.
    ends: BTreeSet<Family>,
    /// Those whose end was told.
    ended: BTreeSet<Family>,
    /// Those that are told again from now on: it is to be marked where that begins, and behind what is pending its end.
    begins: BTreeSet<Family>,
    closes: BTreeSet<Family>,
    busy: bool,
}

impl AdjOut {
    /// Remembers that the route of `prefix` may have changed.
    pub fn touch(&mut self, prefix: Prefix) {
        self.pending.insert(prefix);
    }

    /// The same of several.
    pub fn touch_each(&mut self, prefixes: &[Prefix]) {
        self.pending.extend(prefixes);
    }

    /// Remembers that all that is there of `family` has been told, once the pending prefixes are.
    pub fn finish(&mut self, family: Family) {
        self.ends.insert(family);
    }

    /// All of `family` is to be told again (RFC 2918), `marked` where that begins and ends (RFC 7313). There are no marks
    /// before the first routes have come to their end (§4 there).
    pub fn refresh(&mut self, family: Family, marked: bool) {
        if marked && self.ended.contains(&family) {
            self.begins.insert(family);
            self.closes.insert(family);
        }
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
        self.count
    }

    /// The paths of which the peer has been told.
    pub fn told(&self) -> impl Iterator<Item = (&Prefix, &Path)> {
        self.told.iter()
    }

    /// True if the peer has been told of `prefix`.
    pub fn knows(&self, prefix: &Prefix) -> bool {
        self.told.contains_key(prefix)
    }

    /// The peer's rules have changed: that of which `differs` says that its route is another one now is told again.
    pub fn rules_changed(&mut self, mut differs: impl FnMut(&Prefix, &Path) -> bool) {
        let changed = self.told.iter().filter(|(prefix, path)| differs(prefix, path));
        self.again.extend(changed.map(|(prefix, _)| *prefix));
        self.pending.extend(self.again.iter());
    }

    /// True if there is nothing to do, or a batch is under way.
    pub fn is_idle(&self) -> bool {
        self.busy || (self.pending.is_empty() && self.ends.is_empty() && self.closes.is_empty())
    }

    /// The next messages that bring the peer up to date, if there are any and none are under way. `best` is the path that is
    /// chosen for a prefix, `export` what the peer should be told of a path to it.
    pub fn batch(
        &mut self,
        context: Context,
        best: impl Fn(&Prefix) -> Option<Path>,
        mut export: impl FnMut(&Prefix, &Path) -> Option<Arc<Route>>,
    ) -> Option<Vec<Vec<u8>>> {
        if self.is_idle() {
            return None;
        }
        let mark = |what| move |family| encode_route_refresh(family, what);
        let begins = std::mem::take(&mut self.begins).into_iter().map(mark(Refresh::Begin));
        let mut messages = Vec::new();
        // What has not changed after all sends nothing, and then the next ones have their turn.
        while messages.is_empty() && !self.pending.is_empty() {
            messages = self.next_messages(context, &best, &mut export);
        }
        messages.splice(0..0, begins);
        if self.pending.is_empty() {
            self.ended.extend(&self.ends);
            messages.extend(std::mem::take(&mut self.ends).into_iter().map(end_of_rib));
            messages.extend(std::mem::take(&mut self.closes).into_iter().map(mark(Refresh::End)));
        }
        self.busy = !messages.is_empty();
        self.busy.then_some(messages)
    }

    fn next_messages(
        &mut self,
        context: Context,
        best: &impl Fn(&Prefix) -> Option<Path>,
        export: &mut impl FnMut(&Prefix, &Path) -> Option<Arc<Route>>,
    ) -> Vec<Vec<u8>> {
        let mut withdrawn: BTreeMap<Family, Vec<Prefix>> = BTreeMap::new();
        let mut announced = Groups::default();
        for _ in 0..BATCH {
            let Some(prefix) = self.pending.pop_first() else { break };
            let again = self.again.remove(&prefix);
            let Some((path, route)) = best(&prefix).and_then(|path| {
                let route = export(&prefix, &path)?;
                Some((path, route))
            }) else {
                if self.forget(&prefix) {
                    withdrawn.entry(prefix.family()).or_default().push(prefix);
                }
                continue;
            };
            // Another path may come to the same route.
            let old = self.told.insert(prefix, path);
            *self.count.of_mut(prefix.family()) += usize::from(old.is_none());
            let old = old.filter(|_| !again);
            if old.and_then(|old| export(&prefix, &old)).as_ref() != Some(&route) {
                announced.add(prefix, &route);
            }
        }
        let mut messages: Vec<Vec<u8>> =
            withdrawn.values().flat_map(|prefixes| encode_withdrawals(prefixes)).collect();
        for ((_, route), prefixes) in announced.finish() {
            messages.extend(self.announce(&route.attributes, route.next_hop, &prefixes, context));
        }
        messages
    }

    /// The peer does not know of `prefix` any more; true if it did.
    fn forget(&mut self, prefix: &Prefix) -> bool {
        let knew = self.told.remove(prefix).is_some();
        *self.count.of_mut(prefix.family()) -= usize::from(knew);
        knew
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
                self.forget(prefix);
            }
            encode_withdrawals(prefixes)
        })
    }
}
