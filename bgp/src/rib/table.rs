//! All paths, by prefix. The choice among them is worked out when it is asked for: half a million prefixes with one
//! path each need no second copy of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prefix::{Family, Prefix};

use super::paths::Paths;
use super::refused::Refused;
use super::{Age, Path, Source, community, select};
use crate::policy::Verdict;

/// What is chosen for a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The best path.
    pub best: Path,
    /// The next hops of the best path and of those as good, without repetition, in ascending order.
    pub next_hops: Vec<IpAddr>,
}

impl Selected {
    fn of(paths: &[Path]) -> Option<Self> {
        if let [only] = paths {
            let taken = only.verdict == Verdict::Taken;
            return taken.then(|| Self { best: only.clone(), next_hops: vec![only.common.next_hop] });
        }
        let order = select(paths);
        let best = paths.get(*order.first()?)?.clone();
        let mut next_hops: Vec<IpAddr> = order.iter().map(|at| paths[*at].common.next_hop).collect();
        next_hops.sort_unstable();
        next_hops.dedup();
        Some(Self { best, next_hops })
    }
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

#[derive(Debug, Default)]
struct Entry {
    paths: Paths,
    /// The consumer knows of a way to it.
    told: bool,
}

impl Entry {
    /// Makes a change of the paths; true if the choice is another one then.
    fn change(&mut self, change: impl FnOnce(&mut Paths)) -> bool {
        // Most prefixes have one path, for which there is nothing to choose.
        if let [before] = &*self.paths {
            let before = before.clone();
            change(&mut self.paths);
            if let [] | [_] = &*self.paths {
                let taken = |path: &Path| path.verdict == Verdict::Taken;
                let after = self.paths.first();
                return after != Some(&before) && (taken(&before) || after.is_some_and(taken));
            }
            return Selected::of(&[before]) != Selected::of(&self.paths);
        }
        let before = Selected::of(&self.paths);
        change(&mut self.paths);
        before != Selected::of(&self.paths)
    }
}

/// The table of all paths. Methods that change it return the prefixes whose choice has changed.
#[derive(Debug, Default)]
pub struct Rib {
    entries: BTreeMap<Prefix, Entry>,
    /// How many of them have a path.
    reachable: usize,
    counts: BTreeMap<IpAddr, Count>,
    refused: Refused,
}

impl Rib {
    /// Takes in a path in place of an earlier one of the same source; true if the choice has changed.
    pub fn put(&mut self, prefix: Prefix, path: Path) -> bool {
        let entry = self.entries.entry(prefix).or_default();
        let source = path.common.source;
        let place = entry.paths.iter().position(|old| old.common.source == source);
        if place.and_then(|at| entry.paths.get(at)) == Some(&path) {
            return false;
        }
        if let (None, Some(peer)) = (place, source.peer()) {
            *self.counts.entry(peer).or_default().of_mut(prefix.family()) += 1;
        }
        let before = place.and_then(|at| entry.paths.get(at)).map(|old| old.verdict);
        self.refused.note(source, prefix.family(), before, Some(path.verdict));
        self.reachable += usize::from(entry.paths.is_empty());
        entry.change(|paths| match place.and_then(|at| paths.get_mut(at)) {
            Some(old) => *old = path,
            None => paths.push(path),
        })
    }

    /// Takes a path out; true if the choice has changed.
    pub fn remove(&mut self, prefix: &Prefix, source: Source) -> bool {
        let Some(entry) = self.entries.get_mut(prefix) else { return false };
        let Some(at) = entry.paths.iter().position(|path| path.common.source == source) else { return false };
        self.refused.note(source, prefix.family(), entry.paths.get(at).map(|path| path.verdict), None);
        let changed = entry.change(|paths| paths.swap_remove(at));
        self.reachable -= usize::from(entry.paths.is_empty());
        if entry.paths.is_empty() && !entry.told {
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
    pub fn remove_peer(&mut self, peer: IpAddr) -> Vec<Prefix> {
        self.remove_where(peer, |_, _| true)
    }

    /// Marks all paths of a peer as stale.
    pub fn mark_stale(&mut self, peer: IpAddr) -> Vec<Prefix> {
        self.change_where(peer, |_, path| path.age = path.age.max(Age::Stale))
    }

    /// Keeps the stale paths of a peer that are of one of `families` as a last resort (RFC 9494 §4.2), but for those
    /// that do not want that.
    pub fn mark_long_lived(&mut self, peer: IpAddr, families: &BTreeSet<Family>) -> Vec<Prefix> {
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
    pub fn sweep(&mut self, peer: IpAddr, families: &BTreeSet<Family>) -> Vec<Prefix> {
        self.remove_where(peer, |prefix, path| path.age != Age::Fresh && families.contains(&prefix.family()))
    }

    /// Judges the paths of a peer anew.
    pub fn judge(&mut self, peer: IpAddr, verdict: impl Fn(&Prefix) -> Verdict) -> Vec<Prefix> {
        self.change_where(peer, |prefix, path| path.verdict = verdict(prefix))
    }

    /// Judges the paths to one prefix anew; true if the choice has changed.
    pub fn judge_prefix(&mut self, prefix: &Prefix, verdict: impl Fn(IpAddr) -> Verdict) -> bool {
        let Some(entry) = self.entries.get_mut(prefix) else { return false };
        entry.change(|paths| {
            for path in &mut **paths {
                if let Some(peer) = path.common.source.peer() {
                    let before = std::mem::replace(&mut path.verdict, verdict(peer));
                    let after = Some(path.verdict);
                    self.refused.note(path.common.source, prefix.family(), Some(before), after);
                }
            }
        })
    }

    fn change_where(&mut self, peer: IpAddr, mut change: impl FnMut(&Prefix, &mut Path)) -> Vec<Prefix> {
        if !self.counts.contains_key(&peer) {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for (prefix, entry) in &mut self.entries {
            let Some(at) = entry.paths.iter().position(|path| path.common.source.peer() == Some(peer)) else {
                continue;
            };
            let other = entry.change(|paths| {
                if let Some(path) = paths.get_mut(at) {
                    let before = path.verdict;
                    change(prefix, path);
                    let after = Some(path.verdict);
                    self.refused.note(path.common.source, prefix.family(), Some(before), after);
                }
            });
            if other {
                changed.push(*prefix);
            }
        }
        changed
    }

    fn remove_where(&mut self, peer: IpAddr, wanted: impl Fn(&Prefix, &Path) -> bool) -> Vec<Prefix> {
        if !self.counts.contains_key(&peer) {
            return Vec::new();
        }
        let of_peer = |(prefix, entry): (&Prefix, &Entry)| {
            let mut paths = entry.paths.iter();
            let path = paths.find(|path| path.common.source.peer() == Some(peer) && wanted(prefix, path))?;
            Some((*prefix, path.common.source))
        };
        let found: Vec<(Prefix, Source)> = self.entries.iter().filter_map(of_peer).collect();
        found
            .into_iter()
            .filter(|(prefix, source)| self.remove(prefix, *source))
            .map(|(prefix, _)| prefix)
            .collect()
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

    /// What a consumer is to be told of `prefix`: next hops and peer, none for one that is lost or ours. `None` if it
    /// has never heard of it and needs not. From then on it counts as told.
    pub fn tell(&mut self, prefix: &Prefix) -> Option<(Vec<IpAddr>, Option<IpAddr>)> {
        let entry = self.entries.get_mut(prefix)?;
        let chosen = Selected::of(&entry.paths).filter(|one| one.best.common.source != Source::Local);
        let knew = std::mem::replace(&mut entry.told, chosen.is_some());
        if entry.paths.is_empty() {
            self.entries.remove(prefix);
        }
        match chosen {
            Some(selected) => Some((selected.next_hops, selected.best.common.source.peer())),
            None => knew.then(Default::default),
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
