//! All fragments together: what the kernel should hold, kept up to date piece by piece.

use std::collections::{BTreeMap, BTreeSet};

use kernel::nft::{Chain, Data, Element, Set, Span, Verdict};

use super::render::Fragment;
use crate::ruleset::{FilledChain, FilledSet, Ruleset, table};

/// Objects with the number of fragments that want each.
#[derive(Debug, Default)]
pub(super) struct Model {
    chains: BTreeMap<String, ChainEntry>,
    sets: BTreeMap<String, SetEntry>,
}

#[derive(Debug, Default)]
struct ChainEntry {
    /// Its rules. Fragments that fill the same chain fill it alike.
    filled: Option<FilledChain>,
    fillers: usize,
    needers: usize,
    /// What it is while nobody fills it, if it is there already.
    bare: Option<FilledChain>,
}

#[derive(Debug)]
struct SetEntry {
    set: Set,
    users: usize,
    elements: BTreeMap<Span, Vec<Claim>>,
}

/// What fragments want of an element.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    data: Option<Data>,
    users: usize,
}

/// Which objects, and which elements of them, a change is about.
#[derive(Debug, Default)]
pub(super) struct Parts {
    chains: BTreeSet<String>,
    sets: BTreeMap<String, BTreeSet<Span>>,
}

impl Parts {
    /// Adds what differs between two fragments.
    pub(super) fn add(&mut self, old: &Fragment, new: &Fragment) {
        let (from, to) = (&old.objects, &new.objects);
        self.chains.extend(old.needs.symmetric_difference(&new.needs).cloned());
        for name in from.chains.keys().chain(to.chains.keys()) {
            if from.chains.get(name) != to.chains.get(name) {
                self.chains.insert(name.clone());
            }
        }
        let none = BTreeSet::new();
        for name in from.sets.keys().chain(to.sets.keys()) {
            let (before, after) = (from.sets.get(name), to.sets.get(name));
            if before == after {
                continue;
            }
            let spans = self.sets.entry(name.clone()).or_default();
            let [before, after] =
                [before, after].map(|filled| filled.map_or(&none, |filled| &filled.elements));
            spans.extend(before.symmetric_difference(after).map(|element| element.span.clone()));
        }
    }
}

impl Model {
    /// Adds a fragment.
    pub(super) fn add(&mut self, fragment: &Fragment) {
        for name in &fragment.needs {
            self.chains.entry(name.clone()).or_default().needers += 1;
        }
        for (name, filled) in &fragment.objects.chains {
            let entry = self.chains.entry(name.clone()).or_default();
            entry.fillers += 1;
            entry.filled = Some(filled.clone());
        }
        for (name, filled) in &fragment.objects.sets {
            let entry = self.sets.entry(name.clone()).or_insert_with(|| SetEntry {
                set: filled.set.clone(),
                users: 0,
                elements: BTreeMap::new(),
            });
            entry.users += 1;
            for element in &filled.elements {
                entry.claim(element);
            }
        }
    }

    /// Wants chains and sets without content, whoever fills them besides.
    pub(super) fn keep(&mut self, objects: &Ruleset) {
        for (name, chain) in &objects.chains {
            let entry = self.chains.entry(name.clone()).or_default();
            entry.needers += 1;
            entry.bare = Some(chain.clone());
        }
        self.add(&Fragment {
            objects: Ruleset { sets: objects.sets.clone(), ..Ruleset::default() },
            ..Fragment::default()
        });
    }

    /// Takes a fragment away that was added.
    pub(super) fn remove(&mut self, fragment: &Fragment) {
        for name in &fragment.needs {
            self.change_chain(name, |entry| entry.needers = entry.needers.saturating_sub(1));
        }
        for name in fragment.objects.chains.keys() {
            self.change_chain(name, |entry| {
                entry.fillers = entry.fillers.saturating_sub(1);
                if entry.fillers == 0 {
                    entry.filled = None;
                }
            });
        }
        for (name, filled) in &fragment.objects.sets {
            let Some(entry) = self.sets.get_mut(name) else { continue };
            entry.users = entry.users.saturating_sub(1);
            for element in &filled.elements {
                entry.release(element);
            }
            if entry.users == 0 {
                self.sets.remove(name);
            }
        }
    }

    fn change_chain(&mut self, name: &str, change: impl FnOnce(&mut ChainEntry)) {
        let Some(entry) = self.chains.get_mut(name) else { return };
        change(entry);
        if entry.fillers == 0 && entry.needers == 0 {
            self.chains.remove(name);
        }
    }

    /// True if the set has the element.
    pub(super) fn holds(&self, set: &str, span: &Span) -> bool {
        self.sets.get(set).is_some_and(|entry| entry.elements.contains_key(span))
    }

    /// All of it.
    pub(super) fn ruleset(&self) -> Ruleset {
        let chains = self.chains.iter().map(|(name, entry)| (name.clone(), entry.filled(name))).collect();
        let sets = self.sets.iter().map(|(name, entry)| {
            let elements = entry.elements.iter().filter_map(|(span, claims)| decide(span, claims)).collect();
            (name.clone(), FilledSet { set: entry.set.clone(), elements })
        });
        Ruleset { chains, sets: sets.collect() }
    }

    /// Only these parts of it.
    pub(super) fn view(&self, parts: &Parts) -> Ruleset {
        let chains = parts
            .chains
            .iter()
            .filter_map(|name| Some((name.clone(), self.chains.get(name)?.filled(name))))
            .collect();
        let sets = parts.sets.iter().filter_map(|(name, spans)| {
            let entry = self.sets.get(name)?;
            let element = |span: &Span| decide(span, entry.elements.get(span)?);
            let elements = spans.iter().filter_map(element).collect();
            Some((name.clone(), FilledSet { set: entry.set.clone(), elements }))
        });
        Ruleset { chains, sets: sets.collect() }
    }
}

impl ChainEntry {
    fn filled(&self, name: &str) -> FilledChain {
        self.filled
            .as_ref()
            .or(self.bare.as_ref())
            .cloned()
            .unwrap_or_else(|| FilledChain { chain: Chain::new(table().chain(name)), rules: Vec::new() })
    }
}

impl SetEntry {
    fn claim(&mut self, element: &Element) {
        let claims = self.elements.entry(element.span.clone()).or_default();
        match claims.iter_mut().find(|claim| claim.data == element.data) {
            Some(claim) => claim.users += 1,
            None => claims.push(Claim { data: element.data.clone(), users: 1 }),
        }
    }

    fn release(&mut self, element: &Element) {
        let Some(claims) = self.elements.get_mut(&element.span) else { return };
        for claim in claims.iter_mut().filter(|claim| claim.data == element.data) {
            claim.users = claim.users.saturating_sub(1);
        }
        claims.retain(|claim| claim.users > 0);
        if claims.is_empty() {
            self.elements.remove(&element.span);
        }
    }
}

/// Two pods that claim one address with different verdicts: nobody can tell whose packets these are, so they are
/// dropped until one of the two is gone.
fn decide(span: &Span, claims: &[Claim]) -> Option<Element> {
    let first = claims.first()?;
    let data = match claims {
        [_] => first.data.clone(),
        _ => Some(Data::Verdict(Verdict::Drop)),
    };
    Some(Element { span: span.clone(), data, timeout: None, comment: None })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use prefix::Family;

    use super::super::key::PolicyKey;
    use super::super::program::verdict_map;
    use super::super::render::fragment;
    use super::super::value::{Direction, Isolation, PodVerdict, PolicyValue};
    use super::*;
    use crate::cluster::objects::ObjectName;

    fn pod(name: &str, address: &str, ingress: Isolation) -> Fragment {
        let address: IpAddr = address.parse().unwrap();
        let verdict = PodVerdict {
            addresses: [address].into(),
            holders: BTreeMap::new(),
            closed: BTreeSet::new(),
            ingress,
            egress: Isolation::Open,
            crowds: BTreeSet::new(),
        };
        fragment(&PolicyKey::Pod(ObjectName::new("default", name)), &PolicyValue::Pod(verdict))
    }

    fn by(policy: &str) -> Isolation {
        Isolation::By([ObjectName::new("default", policy)].into())
    }

    fn ingress_verdicts(model: &Model) -> Vec<String> {
        let map = verdict_map(Direction::Ingress, Family::V4).name.name;
        model.ruleset().sets[&map].elements.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_that_two_pods_claim_is_closed_unless_both_mean_the_same() {
        let mut model = Model::default();
        let (a, b) = (pod("a", "10.0.0.1", by("p")), pod("b", "10.0.0.1", Isolation::Open));
        model.add(&b);
        assert_eq!(ingress_verdicts(&model), ["10.0.0.1 : accept"]);
        model.add(&a);
        assert_eq!(ingress_verdicts(&model), ["10.0.0.1 : drop"]);
        model.remove(&a);
        model.add(&pod("c", "10.0.0.1", Isolation::Open));
        assert_eq!(ingress_verdicts(&model), ["10.0.0.1 : accept"]);
    }

    #[test]
    fn what_the_last_fragment_leaves_is_gone_and_a_needed_chain_is_there_though_empty() {
        let mut model = Model::default();
        let (a, b) = (pod("a", "10.0.0.1", by("p")), pod("b", "10.0.0.2", by("p")));
        model.add(&a);
        model.add(&b);
        let chains: Vec<_> = model.ruleset().chains.into_values().collect();
        assert_eq!(chains.len(), 2, "one judgement for both pods, and the policy's chain");
        assert!(chains.iter().any(|chain| chain.rules.is_empty()), "which no value has filled");
        model.remove(&a);
        assert_eq!(model.ruleset().chains.len(), 2);
        model.remove(&b);
        assert_eq!(model.ruleset(), Ruleset::default());
    }

    #[test]
    fn a_view_shows_the_parts_that_differ_and_no_others() {
        let mut model = Model::default();
        let (old, new) = (pod("a", "10.0.0.1", by("p")), pod("a", "10.0.0.1", by("q")));
        model.add(&pod("b", "10.0.0.2", by("p")));
        model.add(&old);
        let mut parts = Parts::default();
        parts.add(&old, &new);
        let before = model.view(&parts);
        model.remove(&old);
        model.add(&new);
        let after = model.view(&parts);
        let elements =
            |ruleset: &Ruleset| -> usize { ruleset.sets.values().map(|set| set.elements.len()).sum() };
        assert_eq!((elements(&before), elements(&after)), (1, 1));
        assert_eq!(before.chains.len(), 2, "pod b still has them");
        assert_eq!(after.chains.len(), 4);
    }
}
