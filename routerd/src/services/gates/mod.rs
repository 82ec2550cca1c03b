//! What stands before a virtual service for some clients: who may come at all, and who goes another way.
//!
//! - `spec.loadBalancerSourceRanges`: others get no answer at the load balancer's addresses.
//! - With `externalTrafficPolicy: Local`, pods of this node and the node itself have no need to go over an outside
//!   balancer that chooses a node with an endpoint. As with kube-proxy all endpoints serve them: they are led to the
//!   cluster address. Where that has only endpoints of this node, too (`internalTrafficPolicy: Local`), they are led to a
//!   private virtual service beside it, which nobody else reaches.

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use prefix::{Family, Prefix};

pub(super) use self::rules::{
    guard_rule, key, lay, observe, private_rule, source, transaction, unmarked_rule,
};
use super::state::Tuple;

/// First and last address, both included.
pub type Range = (IpAddr, IpAddr);

/// What stands before one virtual service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// The only sources that are admitted, without overlaps; `None` admits all.
    pub sources: Option<BTreeSet<Range>>,
    /// Where clients of this node are led.
    pub detour: Option<SocketAddr>,
    /// It serves only those that have been led here.
    pub private: bool,
}

impl Gate {
    /// As it is kept of many virtual services: nothing of one that is open to all.
    pub(super) fn kept(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Admits only those of `prefixes` in `family`.
    pub(super) fn admits(prefixes: &[Prefix], family: Family) -> Option<BTreeSet<Range>> {
        let mut of_family: Vec<&Prefix> =
            prefixes.iter().filter(|prefix| prefix.family() == family).collect();
        // One prefix lies in another or beside it; the kernel takes no overlaps.
        of_family.sort_by_key(|prefix| prefix.length());
        let mut whole: Vec<&Prefix> = Vec::new();
        for prefix in of_family {
            if !whole.iter().any(|wider| wider.covers(prefix)) {
                whole.push(prefix);
            }
        }
        let everybody = whole.iter().any(|prefix| prefix.is_default());
        (!everybody).then(|| whole.into_iter().map(Prefix::range).collect())
    }
}

/// The gates of all virtual services, as the kernel's sets hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    /// Virtual services that admit only some sources.
    pub guarded: BTreeSet<Tuple>,
    /// Who is admitted to those.
    pub sources: BTreeMap<Tuple, BTreeSet<Range>>,
    /// Where clients of this node are led.
    pub detours: BTreeMap<Tuple, SocketAddr>,
    /// Virtual services that nobody is to ask by their own address.
    pub private: BTreeSet<Tuple>,
}

impl Gates {
    /// Number of elements.
    pub fn len(&self) -> usize {
        let sources = self.sources.values().map(BTreeSet::len).sum::<usize>();
        self.guarded.len() + sources + self.detours.len() + self.private.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The virtual services that have one.
    pub(super) fn tuples(&self) -> impl Iterator<Item = &Tuple> {
        self.guarded.iter().chain(self.sources.keys()).chain(self.detours.keys()).chain(&self.private)
    }

    /// Puts `gate` in the place of what is before `tuple`.
    pub(super) fn set(&mut self, tuple: Tuple, gate: Gate) {
        self.guarded.remove(&tuple);
        self.sources.remove(&tuple);
        self.detours.remove(&tuple);
        self.private.remove(&tuple);
        if gate.private {
            self.private.insert(tuple);
        }
        if let Some(sources) = gate.sources {
            self.guarded.insert(tuple);
            if !sources.is_empty() {
                self.sources.insert(tuple, sources);
            }
        }
        if let Some(detour) = gate.detour {
            self.detours.insert(tuple, detour);
        }
    }

    /// Notes for `tuple` what is here and not in `other`.
    pub(super) fn without(&self, other: &Self, tuple: Tuple, difference: &mut Self) {
        if self.guarded.contains(&tuple) && !other.guarded.contains(&tuple) {
            difference.guarded.insert(tuple);
        }
        if self.private.contains(&tuple) && !other.private.contains(&tuple) {
            difference.private.insert(tuple);
        }
        let none = BTreeSet::new();
        let [own, others] = [self, other].map(|gates| gates.sources.get(&tuple).unwrap_or(&none));
        let sources: BTreeSet<Range> = own.difference(others).copied().collect();
        if !sources.is_empty() {
            difference.sources.insert(tuple, sources);
        }
        match self.detours.get(&tuple) {
            Some(to) if other.detours.get(&tuple) != Some(to) => _ = difference.detours.insert(tuple, *to),
            _ => {}
        }
    }

    /// Takes all of `others` away.
    pub(super) fn remove(&mut self, others: &Self) {
        self.guarded.retain(|tuple| !others.guarded.contains(tuple));
        for (tuple, gone) in &others.sources {
            if let Some(sources) = self.sources.get_mut(tuple) {
                sources.retain(|range| !gone.contains(range));
            }
        }
        self.sources.retain(|_, sources| !sources.is_empty());
        self.detours.retain(|tuple, _| !others.detours.contains_key(tuple));
        self.private.retain(|tuple| !others.private.contains(tuple));
    }

    /// Adds all of `others`.
    pub(super) fn add(&mut self, others: &Self) {
        self.guarded.extend(&others.guarded);
        for (tuple, sources) in &others.sources {
            self.sources.entry(*tuple).or_default().extend(sources);
        }
        self.detours.extend(&others.detours);
        self.private.extend(&others.private);
    }
}

/// A change of gates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateChange {
    /// Taken away first.
    pub remove: Gates,
    /// Added.
    pub add: Gates,
}

impl GateChange {
    /// Number of writes.
    pub fn writes(&self) -> usize {
        self.remove.len() + self.add.len()
    }

    /// Does to `gates` what the kernel does.
    pub(super) fn apply_to(&self, gates: &mut Gates) {
        gates.remove(&self.remove);
        gates.add(&self.add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(prefixes: &[&str], family: Family) -> Option<Vec<String>> {
        let prefixes: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        let ranges = Gate::admits(&prefixes, family)?;
        Some(ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect())
    }

    #[test]
    fn ranges_that_lie_in_others_are_left_out() {
        let found = admits(&["10.1.0.0/16", "10.0.0.0/8", "192.0.2.1/32", "10.0.0.0/8"], Family::V4).unwrap();
        assert_eq!(found, ["10.0.0.0-10.255.255.255", "192.0.2.1-192.0.2.1"]);
    }

    #[test]
    fn all_addresses_are_no_restriction_and_a_family_without_range_is_closed() {
        assert_eq!(admits(&["0.0.0.0/0", "10.0.0.0/8"], Family::V4), None);
        assert_eq!(admits(&["10.0.0.0/8"], Family::V6), Some(Vec::new()));
    }
}
