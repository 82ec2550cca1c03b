//! The difference between what the speaker was told and what it should be told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp::Announcement;
use prefix::Prefix;

use super::desired::{Key, Peer, Value};
use crate::runner::Scope;

/// What a speaker is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Its peers, by address.
    pub peers: BTreeMap<IpAddr, Peer>,
    /// Its prefixes.
    pub prefixes: BTreeMap<Prefix, Announcement>,
    /// What it takes nobody else's word on: its prefixes, and those that it may announce at other times.
    pub ours: BTreeSet<Prefix>,
}

/// Peers and prefixes that may have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Peers.
    pub peers: BTreeSet<IpAddr>,
    /// Prefixes.
    pub prefixes: BTreeSet<Prefix>,
}

/// Who wants which peers and prefixes. Several may want one: it is there while any does, as the first of them wants it, and
/// a change costs what it touches.
#[derive(Debug, Clone, Default)]
pub struct Model {
    values: BTreeMap<Key, Value>,
    peers: BTreeMap<IpAddr, BTreeSet<Key>>,
    prefixes: BTreeMap<Prefix, BTreeSet<Key>>,
    /// No address of a Service is announced: the node goes.
    withheld: bool,
}

impl Model {
    /// Takes over the value of a key, and notes in `dirty` what that may change.
    pub fn put(&mut self, key: &Key, value: Option<&Value>, dirty: &mut Dirty) {
        if self.values.get(key) == value {
            return;
        }
        if let Some(old) = self.values.remove(key) {
            dirty.add(&old);
            if let Value::Peer(peer) = &old {
                leave(&mut self.peers, &peer.config.address, key);
            }
            for prefix in old.prefixes().into_iter().flat_map(BTreeMap::keys) {
                leave(&mut self.prefixes, prefix, key);
            }
        }
        let Some(new) = value else { return };
        dirty.add(new);
        if let Value::Peer(peer) = new {
            self.peers.entry(peer.config.address).or_default().insert(key.clone());
        }
        for prefix in new.prefixes().into_iter().flat_map(BTreeMap::keys) {
            self.prefixes.entry(*prefix).or_default().insert(key.clone());
        }
        self.values.insert(key.clone(), new.clone());
    }

    /// The keys to look at, each once: those of `scope`, which may be gone.
    pub fn concerned(&self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>) -> BTreeSet<Key> {
        match scope {
            Scope::Everything => desired.keys().chain(self.values.keys()).cloned().collect(),
            Scope::Keys(keys) => keys.iter().cloned().collect(),
        }
    }

    /// Everything, for a speaker that was told nothing yet.
    pub fn all(&self) -> Dirty {
        Dirty {
            peers: self.peers.keys().copied().collect(),
            prefixes: self.prefixes.keys().copied().collect(),
        }
    }

    /// The peer at an address.
    pub fn peer(&self, address: &IpAddr) -> Option<&Peer> {
        match self.values.get(self.peers.get(address)?.first()?)? {
            Value::Peer(peer) => Some(peer),
            _ => None,
        }
    }

    /// All that want the peer at an address.
    pub fn claimants(&self, address: &IpAddr) -> impl Iterator<Item = &Key> {
        self.peers.get(address).into_iter().flatten()
    }

    /// How a prefix is announced.
    pub fn announcement(&self, prefix: &Prefix) -> Option<&Announcement> {
        let claimants = self.prefixes.get(prefix)?.iter();
        let of = |key| self.values.get(key)?.prefixes()?.get(prefix)?.as_ref();
        claimants.filter(|key| !(self.withheld && key.is_of_services())).find_map(of)
    }

    /// Announces no address of a Service, or all again.
    pub fn withhold(&mut self, withheld: bool, dirty: &mut Dirty) {
        if std::mem::replace(&mut self.withheld, withheld) == withheld {
            return;
        }
        let of_services = self.prefixes.iter().filter(|(_, keys)| keys.iter().any(Key::is_of_services));
        dirty.prefixes.extend(of_services.map(|(prefix, _)| *prefix));
    }

    /// Those that want a peer which another one has already, with its address.
    pub fn doubled(&self) -> impl Iterator<Item = (&Key, IpAddr)> {
        self.peers.iter().flat_map(|(address, keys)| keys.iter().skip(1).map(|key| (key, *address)))
    }

    /// True if it can be told which prefixes of pods are ours to announce, and how.
    pub fn knows_its_prefixes(&self) -> bool {
        !self.values.iter().any(|(key, value)| matches!(key, Key::Prefix(_)) && value.problem().is_some())
    }

    /// How many peers and prefixes there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.peers.len(), self.prefixes.len())
    }
}

fn leave<T: Ord>(holders: &mut BTreeMap<T, BTreeSet<Key>>, of: &T, key: &Key) {
    if let Some(keys) = holders.get_mut(of) {
        keys.remove(key);
        if keys.is_empty() {
            holders.remove(of);
        }
    }
}

impl Dirty {
    fn add(&mut self, value: &Value) {
        if let Value::Peer(peer) = value {
            self.peers.insert(peer.config.address);
        }
        self.prefixes.extend(value.prefixes().into_iter().flat_map(BTreeMap::keys));
    }
}

/// What to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Prefixes that are no longer announced.
    pub withdraw: Vec<Prefix>,
    /// Prefixes that are, and how.
    pub announce: Vec<(Prefix, Announcement)>,
    /// Prefixes on which nobody else's word is taken from now on, or is again.
    pub protect: Vec<(Prefix, bool)>,
    /// Peers that are gone.
    pub remove_peers: Vec<IpAddr>,
    /// Peers that are new or other than before.
    pub set_peers: Vec<Peer>,
}

impl Plan {
    /// What makes `told` into what `model` wants, as far as `dirty` goes.
    pub fn between(told: &State, model: &Model, dirty: &Dirty) -> Self {
        let mut plan = Self::default();
        for prefix in &dirty.prefixes {
            match (told.prefixes.get(prefix), model.announcement(prefix)) {
                (Some(_), None) => plan.withdraw.push(*prefix),
                (before, Some(wanted)) if before != Some(wanted) => {
                    plan.announce.push((*prefix, wanted.clone()));
                }
                _ => {}
            }
            let ours = model.prefixes.contains_key(prefix);
            if told.ours.contains(prefix) != ours {
                plan.protect.push((*prefix, ours));
            }
        }
        for address in &dirty.peers {
            match (told.peers.get(address), model.peer(address)) {
                (Some(_), None) => plan.remove_peers.push(*address),
                (before, Some(wanted)) if before != Some(wanted) => plan.set_peers.push(wanted.clone()),
                _ => {}
            }
        }
        plan
    }

    /// How many things there are to tell.
    pub fn len(&self) -> usize {
        let prefixes = self.withdraw.len() + self.announce.len() + self.protect.len();
        prefixes + self.remove_peers.len() + self.set_peers.len()
    }

    /// True if there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the plan makes of `state`.
    pub fn applied_to(&self, state: &mut State) {
        for prefix in &self.withdraw {
            state.prefixes.remove(prefix);
        }
        state.prefixes.extend(self.announce.iter().cloned());
        for (prefix, ours) in &self.protect {
            let _ = if *ours { state.ours.insert(*prefix) } else { state.ours.remove(prefix) };
        }
        for address in &self.remove_peers {
            state.peers.remove(address);
        }
        state.peers.extend(self.set_peers.iter().map(|peer| (peer.config.address, peer.clone())));
    }
}

/// How much the speaker was told, as kube-router counts it: addresses of Services are single hosts, ranges are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pod_routes: u64,
    vips: u64,
    withdrawn_vips: u64,
}

impl Counts {
    /// Counts a plan.
    pub(super) fn add(&mut self, plan: &Plan) {
        let hosts = plan.announce.iter().filter(|(prefix, _)| prefix.is_host()).count();
        self.vips += hosts as u64;
        self.pod_routes += (plan.announce.len() - hosts) as u64;
        self.withdrawn_vips += plan.withdraw.iter().filter(|prefix| prefix.is_host()).count() as u64;
    }

    /// By the names that kube-router's metrics have.
    pub(super) fn json(self) -> serde_json::Value {
        serde_json::json!({
            "pod-route": self.pod_routes,
            "advertise-vip": self.vips,
            "withdraw-vip": self.withdrawn_vips,
        })
    }
}
