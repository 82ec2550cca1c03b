//! The difference between the routes that are there and those that should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prefix::Prefix;

use super::desired::{Key, Value};

/// Routes of ours: destination and the routers that share its traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// By destination.
    pub routes: BTreeMap<Prefix, BTreeSet<IpAddr>>,
}

impl State {
    /// The routes among `desired`.
    pub fn of(desired: &BTreeMap<Key, Value>) -> Self {
        let routes = desired.iter().filter_map(|(key, value)| match (key, value) {
            (Key::Route(prefix), Value::Route(hops)) => Some((*prefix, hops.clone())),
            _ => None,
        });
        Self { routes: routes.collect() }
    }

    /// The same with only the destinations among `keys`.
    #[must_use]
    pub fn only(&self, keys: &BTreeSet<Key>) -> Self {
        let wanted = self.routes.iter().filter(|(prefix, _)| keys.contains(&Key::Route(**prefix)));
        Self { routes: wanted.map(|(prefix, hops)| (*prefix, hops.clone())).collect() }
    }
}

/// What to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Routes to write over whatever of ours is there: traffic goes by the old or the new one, never by none.
    pub write: BTreeMap<Prefix, BTreeSet<IpAddr>>,
    /// Routes to take away.
    pub remove: BTreeSet<Prefix>,
}

impl Plan {
    /// What makes `observed` into `desired`.
    pub fn between(observed: &State, desired: &State) -> Self {
        let write = desired.routes.iter().filter(|(prefix, hops)| observed.routes.get(prefix) != Some(hops));
        let remove = observed.routes.keys().filter(|prefix| !desired.routes.contains_key(prefix));
        Self {
            write: write.map(|(prefix, hops)| (*prefix, hops.clone())).collect(),
            remove: remove.copied().collect(),
        }
    }

    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty() && self.remove.is_empty()
    }

    /// What the plan makes of `state`.
    pub fn applied_to(&self, state: &mut State) {
        state.routes.retain(|prefix, _| !self.remove.contains(prefix));
        state.routes.extend(self.write.iter().map(|(prefix, hops)| (*prefix, hops.clone())));
    }
}
