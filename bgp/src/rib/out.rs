//! What one peer is still to be told.
//!
//! What it has been told is not written down: it is what its rules make of the path that is chosen for a prefix. Only of a prefix
//! whose choice has changed since, the path is kept that the peer knows. At most one batch is under way at a time, so a slow peer
//! costs little memory and gets the newest state instead of every step on the way to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use prefix::{Family, Prefix};

use super::{Change, Count, Exports, Path, Rib};
use crate::packet::open::encode_route_refresh;
use crate::packet::{Refresh, Template, encode_withdrawals, end_of_rib};

/// Prefixes of one batch: enough to fill messages, and few enough to keep memory and waiting short.
const BATCH: usize = 8192;

/// What a peer knows of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Nothing,
    /// What its rules make of this path, which may be nothing.
    Path(Path),
    /// A route of which it is to be told again, even if it has not changed, or that it goes.
    Outdated,
}

impl Known {
    /// What is known of a prefix of which this was told, by rules that hold no more or long ago.
    fn of_old(told: Option<&Rc<Template>>) -> Self {
        told.map_or(Self::Nothing, |_| Self::Outdated)
    }
}

/// Prefixes by what is told of them.
#[derive(Debug, Default)]
struct Groups {
    made: Vec<(Rc<Template>, Vec<Prefix>)>,
    places: HashMap<Rc<Template>, usize>,
    last: usize,
}

impl Groups {
    fn add(&mut self, prefix: Prefix, template: &Rc<Template>) {
        // To compare all of what it says takes longer.
        if !self.made.get(self.last).is_some_and(|(last, _)| Rc::ptr_eq(last, template)) {
            self.last = *self.places.entry(Rc::clone(template)).or_insert(self.made.len());
        }
        match self.made.get_mut(self.last) {
            Some((_, prefixes)) => prefixes.push(prefix),
            None => self.made.push((Rc::clone(template), vec![prefix])),
        }
    }
}

/// The Adj-RIB-Out of a session.
#[derive(Debug, Default)]
pub struct AdjOut {
    pending: BTreeMap<Prefix, Known>,
    /// How many prefixes it knows.
    count: Count,
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
    /// That of a peer that knows nothing yet and is to be told of these.
    pub fn new<'a>(prefixes: impl Iterator<Item = &'a Prefix>) -> Self {
        Self { pending: prefixes.map(|prefix| (*prefix, Known::Nothing)).collect(), ..Self::default() }
    }

    /// Remembers that the route of a prefix may have changed, and what the peer knows until it is told.
    pub fn touch(&mut self, change: &Change) {
        let known = || change.before.clone().map_or(Known::Nothing, Known::Path);
        self.pending.entry(change.prefix).or_insert_with(known);
    }

    /// Remembers that all that is there of `family` has been told, once the pending prefixes are.
    pub fn finish(&mut self, family: Family) {
        self.ends.insert(family);
    }

    /// All of `family` is to be told again (RFC 2918), `marked` where that begins and ends (RFC 7313). There are no marks
    /// before the first routes have come to their end (§4 there).
    pub fn refresh(&mut self, family: Family, marked: bool, rib: &Rib, exports: &mut Exports<'_>) {
        if marked && self.ended.contains(&family) {
            self.begins.insert(family);
            self.closes.insert(family);
        }
        let known = self.known(rib).filter(|(prefix, _)| prefix.family() == family);
        let known =
            known.map(|(prefix, path)| (*prefix, Known::of_old(exports.template(prefix, path).as_ref())));
        let known: Vec<_> = known.collect();
        self.pending.extend(known);
    }

    /// The peer's rules have changed: what they make of a path is another route now.
    pub fn rules_changed(&mut self, rib: &Rib, before: &mut Exports<'_>, after: &mut Exports<'_>) {
        let other = self.known(rib).filter_map(|(prefix, path)| {
            let old = before.template(prefix, path);
            (old != after.template(prefix, path)).then(|| (*prefix, Known::of_old(old.as_ref())))
        });
        let other: Vec<_> = other.collect();
        self.pending.extend(other);
    }

    /// The last batch is with the network.
    pub fn written(&mut self) {
        self.busy = false;
    }

    /// How many prefixes the peer has been told.
    pub fn count(&self) -> Count {
        self.count
    }

    /// The paths of which the peer has been told what its rules make of them. Outdated ones are left out.
    pub fn known<'a>(&'a self, rib: &'a Rib) -> impl Iterator<Item = (&'a Prefix, &'a Path)> {
        let settled = rib.prefixes().filter(|prefix| !self.pending.contains_key(prefix));
        let settled = settled.filter_map(|prefix| Some((prefix, rib.best(prefix)?)));
        settled.chain(self.pending.iter().filter_map(|(prefix, known)| match known {
            Known::Path(path) => Some((prefix, path)),
            Known::Nothing | Known::Outdated => None,
        }))
    }

    /// True if there is nothing to do, or a batch is under way.
    pub fn is_idle(&self) -> bool {
        self.busy || (self.pending.is_empty() && self.ends.is_empty() && self.closes.is_empty())
    }

    /// The next messages that bring the peer up to date, one behind the other, if there are any and none are under way.
    pub fn batch(&mut self, rib: &Rib, exports: &mut Exports<'_>) -> Option<Vec<u8>> {
        if self.is_idle() {
            return None;
        }
        let mark = |what| move |family| encode_route_refresh(family, what);
        let mut messages: Vec<u8> =
            std::mem::take(&mut self.begins).into_iter().flat_map(mark(Refresh::Begin)).collect();
        // What has not changed after all sends nothing, and then the next ones have their turn.
        let marks = messages.len();
        while messages.len() == marks && !self.pending.is_empty() {
            self.next_messages(&mut messages, rib, exports);
        }
        if self.pending.is_empty() {
            self.ended.extend(&self.ends);
            messages.extend(std::mem::take(&mut self.ends).into_iter().flat_map(end_of_rib));
            messages.extend(std::mem::take(&mut self.closes).into_iter().flat_map(mark(Refresh::End)));
        }
        self.busy = !messages.is_empty();
        self.busy.then_some(messages)
    }

    fn next_messages(&mut self, messages: &mut Vec<u8>, rib: &Rib, exports: &mut Exports<'_>) {
        let mut withdrawn: BTreeMap<Family, Vec<Prefix>> = BTreeMap::new();
        let mut announced = Groups::default();
        for _ in 0..BATCH {
            let Some((prefix, known)) = self.pending.pop_first() else { break };
            let old = match &known {
                Known::Path(path) => exports.template(&prefix, path),
                Known::Nothing | Known::Outdated => None,
            };
            let knew = known == Known::Outdated || old.is_some();
            let new = rib.best(&prefix).and_then(|path| exports.template(&prefix, path));
            let count = self.count.of_mut(prefix.family());
            *count = (*count + usize::from(new.is_some())).saturating_sub(usize::from(knew));
            match new {
                // Another path may come to the same route.
                Some(new) if old.as_ref() != Some(&new) => announced.add(prefix, &new),
                None if knew => withdrawn.entry(prefix.family()).or_default().push(prefix),
                _ => {}
            }
        }
        for prefixes in withdrawn.values() {
            messages.extend(encode_withdrawals(prefixes).into_iter().flatten());
        }
        for (template, prefixes) in announced.made {
            template.write(&prefixes, messages);
        }
    }
}
