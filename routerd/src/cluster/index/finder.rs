//! From a pod's labels to the groups that may take it, without a look at all groups.

use std::collections::{BTreeMap, BTreeSet};

use super::super::group::PodGroup;
use super::super::objects::Labels;
use super::super::selector::Requirement;

type Groups = BTreeSet<PodGroup>;

/// Groups on shelves: each stands under one requirement of its own that a pod has to meet.
#[derive(Debug, Default)]
pub(super) struct Finder {
    /// By the one namespace they take pods from; those of several namespaces under "".
    shelves: BTreeMap<String, Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// By a label's key and value.
    values: BTreeMap<String, BTreeMap<String, Groups>>,
    /// By a label's key.
    keys: BTreeMap<String, Groups>,
    /// Those that ask for no label.
    any: Groups,
}

/// What a pod must have to be in a group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor<'a> {
    /// A label with one of these values.
    Values(&'a str, &'a [String]),
    /// A label.
    Key(&'a str),
    /// Nothing.
    None,
}

impl<'a> Anchor<'a> {
    /// The requirement of the group that few pods meet, as far as can be told.
    pub(super) fn of(group: &'a PodGroup) -> Self {
        let requirements = &group.pods().requirements;
        let values = requirements.iter().filter_map(|requirement| match requirement {
            Requirement::In(key, values) => Some(Anchor::Values(key, values)),
            _ => None,
        });
        let key = || {
            requirements.iter().find_map(|requirement| match requirement {
                Requirement::Exists(key) => Some(Anchor::Key(key)),
                _ => None,
            })
        };
        let fewest = values.min_by_key(|anchor| match anchor {
            Anchor::Values(_, values) => values.len(),
            _ => usize::MAX,
        });
        fewest.or_else(key).unwrap_or(Anchor::None)
    }

    /// The key of the label.
    pub(super) fn key(self) -> Option<&'a str> {
        match self {
            Anchor::Values(key, _) | Anchor::Key(key) => Some(key),
            Anchor::None => None,
        }
    }
}

impl Finder {
    pub(super) fn insert(&mut self, group: &PodGroup) {
        let shelf = self.shelves.entry(group.own_namespace().unwrap_or_default().to_owned()).or_default();
        match Anchor::of(group) {
            Anchor::Values(key, values) => {
                let by_value = shelf.values.entry(key.to_owned()).or_default();
                for value in values {
                    by_value.entry(value.clone()).or_default().insert(group.clone());
                }
            }
            Anchor::Key(key) => _ = shelf.keys.entry(key.to_owned()).or_default().insert(group.clone()),
            Anchor::None => _ = shelf.any.insert(group.clone()),
        }
    }

    pub(super) fn remove(&mut self, group: &PodGroup) {
        let namespace = group.own_namespace().unwrap_or_default();
        let Some(shelf) = self.shelves.get_mut(namespace) else { return };
        match Anchor::of(group) {
            Anchor::Values(key, values) => {
                let Some(by_value) = shelf.values.get_mut(key) else { return };
                for value in values {
                    take_out(by_value, value, group);
                }
                if by_value.is_empty() {
                    shelf.values.remove(key);
                }
            }
            Anchor::Key(key) => take_out(&mut shelf.keys, key, group),
            Anchor::None => _ = shelf.any.remove(group),
        }
        if shelf.values.is_empty() && shelf.keys.is_empty() && shelf.any.is_empty() {
            self.shelves.remove(namespace);
        }
    }

    /// The groups that may take a pod of `namespace` with `labels`; the others do not.
    pub(super) fn candidates<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a PodGroup> {
        let shelves = [namespace, ""].into_iter().filter_map(|name| self.shelves.get(name));
        shelves.flat_map(move |shelf| {
            let found = labels.iter().flat_map(|(key, value)| {
                let with_value = shelf.values.get(key).and_then(|by_value| by_value.get(value));
                with_value.into_iter().chain(shelf.keys.get(key)).flatten()
            });
            found.chain(&shelf.any)
        })
    }
}

fn take_out(shelf: &mut BTreeMap<String, Groups>, at: &str, group: &PodGroup) {
    let Some(groups) = shelf.get_mut(at) else { return };
    groups.remove(group);
    if groups.is_empty() {
        shelf.remove(at);
    }
}
