//! What to do about the servers that run: pure.

use std::collections::BTreeMap;

use super::desired::{Check, Key};

/// The way from the servers that run to those that should. What is closed comes first: its port may be another's now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Servers that go.
    pub(super) close: Vec<Key>,
    /// Servers that stay where they are and answer something else now.
    pub(super) tell: Vec<(Key, Check)>,
    /// Servers that come.
    pub(super) open: Vec<(Key, Check)>,
}

impl Plan {
    /// From what is served to `wanted`.
    pub(super) fn between(served: &BTreeMap<Key, Check>, wanted: &BTreeMap<Key, Check>) -> Self {
        let mut plan = Self::default();
        for (key, check) in served {
            match wanted.get(key) {
                Some(new) if new.address() == check.address() => {
                    if new != check {
                        plan.tell.push((key.clone(), new.clone()));
                    }
                }
                _ => plan.close.push(key.clone()),
            }
        }
        let stays = |key: &Key, check: &Check| {
            served.get(key).is_some_and(|served| served.address() == check.address())
        };
        let new = wanted.iter().filter(|(key, check)| !stays(key, check));
        plan.open = new.map(|(key, check)| (key.clone(), check.clone())).collect();
        plan
    }
}
