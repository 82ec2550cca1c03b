//! All paths, by prefix. The choice among them is worked out when it is asked for: half a million prefixes with one
//! path each need no second copy of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prefix::{Family, Hops, Prefix};

use super::paths::Paths;
use super::refused::Refused;
use super::untold::{RibEvent, Untold};
use super::{Age, Path, Source, community, select};
use crate::policy::Verdict;

/// What is chosen for a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The best path.
    pub best: Path,
    /// The next hops of the best path and of those as good.
    pub next_hops: Hops<IpAddr>,
}

impl Selected {
    fn of(paths: &[Path]) -> Option<Self> {
        chosen(paths).map(|(best, next_hops)| Self { best: best.clone(), next_hops })
    }
}

/// The best of these paths, and the next hops of it and of those as good.
fn chosen(paths: &[Path]) -> Option<(&Path, Hops<IpAddr>)> {
    if let [only] = paths {
        let taken = only.verdict == Verdict::Taken;
        return taken.then(|| (only, Hops::from_iter([only.common.next_hop])));
    }
    let order = select(paths);
    let best = paths.get(*order.first()?)?;
    Some((best, order.iter().map(|at| paths[*at].common.next_hop).collect()))
}

/// How many prefixes a peer has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// IPv4.
    pub v4: usize,
    /// IPv6.
    pub v6: usize,
}

impl Count {
    /// Of both families.
    pub fn all(self) -> usize {
        self.v4 + self.v6
    }

    /// Of one family.
    pub fn of(self, family: Family) -> usize {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    pub(super) fn of_mut(&mut self, family: Family) -> &mut usize {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// The choice for a prefix has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The prefix.
    pub prefix: Prefix,
    /// The best path before. Whoever has been told of the prefix has been told of this one.
    pub before: Option<Path>,
}

#[derive(Debug, Default)]
struct Entry {
    paths: Paths,
    /// The consumer knows of a way to it.
    told: bool,
    /// It is in the queue of what the consumer is to be told.
    queued: bool,
}

impl Entry {
    /// Makes a change of the paths to `prefix`, which is its own.
    fn change(
        &mut self,
        prefix: &Prefix,
        untold: &mut Untold,
        change: impl FnOnce(&mut Paths),
    ) -> Option<Change> {
        let change = self.choose(*prefix, change)?;
        if untold.has_room() {
            self.tell(*prefix, untold);
        } else if !self.queued {
            self.queued = untold.queue(*prefix);
        }
        Some(change)
    }

    /// Tells the consumer what is chosen now, unless it has never heard of the prefix and needs not.
    fn tell(&mut self, prefix: Prefix, untold: &mut Untold) {
        let chosen = chosen(&self.paths).filter(|(best, _)| best.common.source != Source::Local);
        let event = match chosen {
            Some((best, next_hops)) => RibEvent { prefix, next_hops, peer: best.common.source.peer() },
            None if self.told => RibEvent { prefix, next_hops: Hops::default(), peer: None },
            None => return,
        };
        self.told = !event.next_hops.is_empty();
        untold.push(event);
    }

    fn choose(&mut self, prefix: Prefix, change: impl FnOnce(&mut Paths)) -> Option<Change> {
        let ([] | [_]) = &*self.paths else {
            let before = Selected::of(&self.paths);
            change(&mut self.paths);
            let other = before != Selected::of(&self.paths);
            return other.then(|| Change { prefix, before: before.map(|selected| selected.best) });
        };
        // Most prefixes have one path, for which there is nothing to choose.
        let taken = |path: &&Path| path.verdict == Verdict::Taken;
        let before = self.paths.first().filter(taken).cloned();
        change(&mut self.paths);
        let other = match &*self.paths {
            after @ ([] | [_]) => after.first().filter(taken) != before.as_ref(),
            after => Selected::of(before.as_slice()) != Selected::of(after),
        };
        other.then_some(Change { prefix, before })
    }

    /// There is nothing left to remember of it.
    fn is_void(&self) -> bool {
        self.paths.is_empty() && !self.told && !self.queued
    }
}

/// The table of all paths. Methods that change it return for which prefixes the choice has changed.
#[derive(Debug, Default)]
pub struct Rib {
    entries: BTreeMap<Prefix, Entry>,
    /// How many of them have a path.
    reachable: usize,
    counts: BTreeMap<IpAddr, Count>,
    refused: Refused,
    untold: Untold,
}

impl Rib {
    /// Takes in a path in place of an earlier one of the same source.
    pub fn put(&mut self, prefix: Prefix, path: Path) -> Option<Change> {
        let entry = self.entries.entry(prefix).or_default();
        let source = path.common.source;
        let place = entry.paths.iter().position(|old| old.common.source == source);
        if place.and_then(|at| entry.paths.get(at)) == Some(&path) {
            return None;
        }
        if let (None, Some(peer)) = (place, source.peer()) {
            *self.counts.entry(peer).or_default().of_mut(prefix.family()) += 1;
        }
        let before = place.and_then(|at| entry.paths.get(at)).map(|old| old.verdict);
        self.refused.note(source, prefix.family(), before, Some(path.verdict));
        self.reachable += usize::from(entry.paths.is_empty());
        entry.change(&prefix, &mut self.untold, |paths| match place.and_then(|at| paths.get_mut(at)) {
            Some(old) => *old = path,
            None => paths.push(path),
        })
    }

    /// Takes a path out.
    pub fn remove(&mut self, prefix: &Prefix, source: Source) -> Option<Change> {
        let entry = self.entries.get_mut(prefix)?;
        let at = entry.paths.iter().position(|path| path.common.source == source)?;
        self.refused.note(source, prefix.family(), entry.paths.get(at).map(|path| path.verdict), None);
        let changed = entry.change(prefix, &mut self.untold, |paths| paths.swap_remove(at));
        self.reachable -= usize::from(entry.paths.is_empty());
        if entry.is_void() {
            self.entries.remove(prefix);
        }
        if let Some(peer) = source.peer() {
            self.discount(peer, prefix.family());
        }
        changed
    }

    fn discount(&mut self, peer: IpAddr, family: Family) {
        let Some(count) = self.counts.get_mut(&peer) else { return };
        let one = count.of_mut(family);
        *one = one.saturating_sub(1);
        if count.all() == 0 {
            self.counts.remove(&peer);
        }
    }

    /// Takes all paths of a peer out.
    pub fn remove_peer(&mut self, peer: IpAddr) -> Vec<Change> {
        self.remove_where(peer, |_, _| true)
    }

    /// Marks all paths of a peer as stale.
    pub fn mark_stale(&mut self, peer: IpAddr) -> Vec<Change> {
        self.change_where(peer, |_, path| path.age = path.age.max(Age::Stale))
    }

    /// Keeps the stale paths of a peer that are of one of `families` as a last resort (RFC 9494 §4.2), but for those
    /// that do not want that.
    pub fn mark_long_lived(&mut self, peer: IpAddr, families: &BTreeSet<Family>) -> Vec<Change> {
        let mut changed = self.remove_where(peer, |prefix, path| {
            path.age == Age::Stale
                && families.contains(&prefix.family())
                && path.common.attributes.communities.contains(&community::NO_LLGR)
        });
        changed.extend(self.change_where(peer, |prefix, path| {
            if path.age == Age::Stale && families.contains(&prefix.family()) {
                path.age = Age::LongLived;
            }
        }));
        changed
    }

    /// Takes the paths of a peer out that are not fresh and of one of `families`.
    pub fn sweep(&mut self, peer: IpAddr, families: &BTreeSet<Family>) -> Vec<Change> {
        self.remove_where(peer, |prefix, path| path.age != Age::Fresh && families.contains(&prefix.family()))
    }

    /// Judges the paths of a peer anew.
    pub fn judge(&mut self, peer: IpAddr, verdict: impl Fn(&Prefix) -> Verdict) -> Vec<Change> {
        self.change_where(peer, |prefix, path| path.verdict = verdict(prefix))
    }

    /// Judges the paths to one prefix anew.
    pub fn judge_prefix(&mut self, prefix: &Prefix, verdict: impl Fn(IpAddr) -> Verdict) -> Option<Change> {
        self.entries.get_mut(prefix)?.change(prefix, &mut self.untold, |paths| {
            for path in &mut **paths {
                if let Some(peer) = path.common.source.peer() {
                    let before = std::mem::replace(&mut path.verdict, verdict(peer));
                    let after = Some(path.verdict);
                    self.refused.note(path.common.source, prefix.family(), Some(before), after);
                }
            }
        })
    }

    fn change_where(&mut self, peer: IpAddr, mut change: impl FnMut(&Prefix, &mut Path)) -> Vec<Change> {
        if !self.counts.contains_key(&peer) {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for (prefix, entry) in &mut self.entries {
            let Some(at) = entry.paths.iter().position(|path| path.common.source.peer() == Some(peer)) else {
                continue;
            };
            changed.extend(entry.change(prefix, &mut self.untold, |paths| {
                if let Some(path) = paths.get_mut(at) {
                    let before = path.verdict;
                    change(prefix, path);
                    let after = Some(path.verdict);
                    self.refused.note(path.common.source, prefix.family(), Some(before), after);
                }
            }));
        }
        changed
    }

    fn remove_where(&mut self, peer: IpAddr, wanted: impl Fn(&Prefix, &Path) -> bool) -> Vec<Change> {
        if !self.counts.contains_key(&peer) {
            return Vec::new();
        }
        let of_peer = |(prefix, entry): (&Prefix, &Entry)| {
            let mut paths = entry.paths.iter();
            let path = paths.find(|path| path.common.source.peer() == Some(peer) && wanted(prefix, path))?;
            Some((*prefix, path.common.source))
        };
        let found: Vec<(Prefix, Source)> = self.entries.iter().filter_map(of_peer).collect();
        found.into_iter().filter_map(|(prefix, source)| self.remove(&prefix, source)).collect()
    }

    /// The best path to `prefix`.
    pub fn best(&self, prefix: &Prefix) -> Option<&Path> {
        match &*self.entries.get(prefix)?.paths {
            [only] => Some(only).filter(|path| path.verdict == Verdict::Taken),
            paths => paths.get(*select(paths).first()?),
        }
    }

    /// What is chosen for `prefix`.
    pub fn selected(&self, prefix: &Prefix) -> Option<Selected> {
        Selected::of(&self.entries.get(prefix)?.paths)
    }

    /// True if there is something that the consumer is to be told.
    pub fn has_news(&self) -> bool {
        !self.untold.is_empty()
    }

    /// True if the consumer is to be told before more is taken in: what changes now would be looked up once more later.
    pub fn has_much_news(&self) -> bool {
        self.untold.is_full()
    }

    /// What the consumer is to be told next, many prefixes at once.
    pub fn news(&mut self) -> Vec<RibEvent> {
        while let Some(prefix) = self.untold.next() {
            self.dequeue(&prefix, |entry, untold| entry.tell(prefix, untold));
        }
        self.untold.take()
    }

    /// There is no consumer any more.
    pub fn nobody_listens(&mut self) {
        for prefix in self.untold.close() {
            self.dequeue(&prefix, |_, _| {});
        }
    }

    /// A prefix has had its turn.
    fn dequeue(&mut self, prefix: &Prefix, turn: impl FnOnce(&mut Entry, &mut Untold)) {
        let Some(entry) = self.entries.get_mut(prefix) else { return };
        entry.queued = false;
        turn(entry, &mut self.untold);
        if entry.is_void() {
            self.entries.remove(prefix);
        }
    }

    /// How many prefixes have a path.
    pub fn count(&self) -> usize {
        self.reachable
    }

    /// All prefixes with a path.
    pub fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        self.entries.iter().filter(|(_, entry)| !entry.paths.is_empty()).map(|(prefix, _)| prefix)
    }

    /// The paths of a prefix, in no order.
    pub fn paths(&self, prefix: &Prefix) -> &[Path] {
        self.entries.get(prefix).map(|entry| &*entry.paths).unwrap_or_default()
    }

    /// The prefixes of a family that a peer has told.
    pub fn told_by(&self, peer: IpAddr, family: Family) -> BTreeSet<Prefix> {
        let of_peer = |entry: &Entry| entry.paths.iter().any(|path| path.common.source.peer() == Some(peer));
        let told = self.entries.iter().filter(|(prefix, entry)| prefix.family() == family && of_peer(entry));
        told.map(|(prefix, _)| *prefix).collect()
    }

    /// How many of them the import rules take.
    pub fn accepted_of(&self, peer: IpAddr) -> Count {
        let (all, refused) = (self.count_of(peer), self.refused.of(peer));
        Count { v4: all.v4.saturating_sub(refused.v4), v6: all.v6.saturating_sub(refused.v6) }
    }

    /// How many prefixes a peer has told.
    pub fn count_of(&self, peer: IpAddr) -> Count {
        self.counts.get(&peer).copied().unwrap_or_default()
    }
}
