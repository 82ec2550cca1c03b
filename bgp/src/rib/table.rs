//! All paths, by prefix, and the chosen ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prefix::{Family, Prefix};

use super::{Path, Source, select};

/// What is chosen for a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The best path.
    pub best: Path,
    /// The next hops of the best path and of those as good, without repetition, in ascending order.
    pub next_hops: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct Entry {
    paths: Vec<Path>,
    selected: Option<Selected>,
}

impl Entry {
    /// Chooses anew; true if the outcome differs.
    fn choose(&mut self) -> bool {
        let order = select(&self.paths);
        let selected = order.first().map(|best| {
            let next_hops: BTreeSet<IpAddr> = order.iter().map(|at| self.paths[*at].next_hop).collect();
            Selected { best: self.paths[*best].clone(), next_hops: next_hops.into_iter().collect() }
        });
        let changed = selected != self.selected;
        self.selected = selected;
        changed
    }
}

/// The table of all paths. Methods that change it return the prefixes whose choice has changed.
#[derive(Debug, Default)]
pub struct Rib {
    entries: BTreeMap<Prefix, Entry>,
    prefixes_of: BTreeMap<IpAddr, BTreeSet<Prefix>>,
}

impl Rib {
    /// Takes in a path in place of an earlier one of the same source; true if the choice has changed.
    pub fn put(&mut self, prefix: Prefix, path: Path) -> bool {
        if let Some(peer) = path.source.peer() {
            self.prefixes_of.entry(peer).or_default().insert(prefix);
        }
        let entry = self.entries.entry(prefix).or_default();
        match entry.paths.iter_mut().find(|old| old.source == path.source) {
            Some(old) => *old = path,
            None => entry.paths.push(path),
        }
        entry.choose()
    }

    /// Takes a path out; true if the choice has changed.
    pub fn remove(&mut self, prefix: &Prefix, source: Source) -> bool {
        if let Some(peer) = source.peer()
            && let Some(prefixes) = self.prefixes_of.get_mut(&peer)
        {
            prefixes.remove(prefix);
            if prefixes.is_empty() {
                self.prefixes_of.remove(&peer);
            }
        }
        let Some(entry) = self.entries.get_mut(prefix) else { return false };
        entry.paths.retain(|path| path.source != source);
        let changed = entry.choose();
        if entry.paths.is_empty() {
            self.entries.remove(prefix);
        }
        changed
    }

    /// Takes all paths of a peer out.
    pub fn remove_peer(&mut self, peer: IpAddr) -> Vec<Prefix> {
        self.remove_where(peer, |_, _| true)
    }

    /// Marks all paths of a peer as stale.
    pub fn mark_stale(&mut self, peer: IpAddr) -> Vec<Prefix> {
        let prefixes = self.prefixes_of.get(&peer).cloned().unwrap_or_default();
        let mut changed = Vec::new();
        for prefix in prefixes {
            let Some(entry) = self.entries.get_mut(&prefix) else { continue };
            for path in entry.paths.iter_mut().filter(|path| path.source.peer() == Some(peer)) {
                path.stale = true;
            }
            if entry.choose() {
                changed.push(prefix);
            }
        }
        changed
    }

    /// Takes the stale paths of a peer out that are of one of `families`.
    pub fn sweep(&mut self, peer: IpAddr, families: &BTreeSet<Family>) -> Vec<Prefix> {
        self.remove_where(peer, |prefix, path| path.stale && families.contains(&prefix.family()))
    }

    fn remove_where(&mut self, peer: IpAddr, wanted: impl Fn(&Prefix, &Path) -> bool) -> Vec<Prefix> {
        let prefixes = self.prefixes_of.get(&peer).cloned().unwrap_or_default();
        let mut changed = Vec::new();
        for prefix in prefixes {
            let paths = self.entries.get(&prefix).map(|entry| entry.paths.as_slice()).unwrap_or_default();
            let source = paths
                .iter()
                .find(|path| path.source.peer() == Some(peer) && wanted(&prefix, path))
                .map(|path| path.source);
            if source.is_some_and(|source| self.remove(&prefix, source)) {
                changed.push(prefix);
            }
        }
        changed
    }

    /// What is chosen for `prefix`.
    pub fn selected(&self, prefix: &Prefix) -> Option<&Selected> {
        self.entries.get(prefix)?.selected.as_ref()
    }

    /// All prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        self.entries.keys()
    }

    /// The paths of a prefix, in no order.
    pub fn paths(&self, prefix: &Prefix) -> &[Path] {
        self.entries.get(prefix).map(|entry| entry.paths.as_slice()).unwrap_or_default()
    }

    /// How many prefixes a peer has told.
    pub fn count_of(&self, peer: IpAddr) -> usize {
        self.prefixes_of.get(&peer).map_or(0, BTreeSet::len)
    }
}
