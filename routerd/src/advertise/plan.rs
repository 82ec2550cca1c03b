//! The difference between what the speaker was told and what it should be told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use bgp::PeerConfig;
use prefix::Prefix;

use super::desired::{Key, Value};

/// What a speaker is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Its peers, by address.
    pub peers: BTreeMap<IpAddr, PeerConfig>,
    /// Its prefixes and their next hops.
    pub prefixes: BTreeMap<Prefix, IpAddr>,
}

impl State {
    /// What `desired` comes to, and the nodes that claim the address of another one.
    pub fn of(desired: &BTreeMap<Key, Value>) -> (Self, Vec<(String, IpAddr)>) {
        let mut state = Self::default();
        let mut doubled = Vec::new();
        for (key, value) in desired {
            match (key, value) {
                (Key::Node(name), Value::Peer(peer)) => {
                    if let Entry::Vacant(free) = state.peers.entry(peer.address) {
                        free.insert(peer.clone());
                    } else {
                        doubled.push((name.clone(), peer.address));
                    }
                }
                (Key::Prefix(prefix), Value::Announce(next_hop)) => {
                    state.prefixes.insert(*prefix, *next_hop);
                }
                _ => {}
            }
        }
        (state, doubled)
    }
}

/// What to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Prefixes that are no longer ours.
    pub withdraw: Vec<Prefix>,
    /// Prefixes that are ours, with their next hops.
    pub announce: Vec<(Prefix, IpAddr)>,
    /// Peers that are gone.
    pub remove_peers: Vec<IpAddr>,
    /// Peers that are new or other than before.
    pub set_peers: Vec<PeerConfig>,
}

impl Plan {
    /// What makes `told` into `desired`.
    pub fn between(told: &State, desired: &State) -> Self {
        let is_new = |(prefix, next_hop): &(&Prefix, &IpAddr)| told.prefixes.get(prefix) != Some(next_hop);
        Self {
            withdraw: told
                .prefixes
                .keys()
                .filter(|one| !desired.prefixes.contains_key(one))
                .copied()
                .collect(),
            announce: desired.prefixes.iter().filter(is_new).map(|(prefix, hop)| (*prefix, *hop)).collect(),
            remove_peers: told.peers.keys().filter(|one| !desired.peers.contains_key(one)).copied().collect(),
            set_peers: desired
                .peers
                .iter()
                .filter(|(address, peer)| told.peers.get(address) != Some(peer))
                .map(|(_, peer)| peer.clone())
                .collect(),
        }
    }

    /// How many things there are to tell.
    pub fn len(&self) -> usize {
        self.withdraw.len() + self.announce.len() + self.remove_peers.len() + self.set_peers.len()
    }

    /// True if there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the plan makes of `state`.
    pub fn applied_to(&self, state: &mut State) {
        state.prefixes.retain(|prefix, _| !self.withdraw.contains(prefix));
        state.prefixes.extend(self.announce.iter().copied());
        state.peers.retain(|address, _| !self.remove_peers.contains(address));
        state.peers.extend(self.set_peers.iter().map(|peer| (peer.address, peer.clone())));
    }
}
