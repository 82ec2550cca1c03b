//! Attachments that were taken away: an ADD that began before is void, though its word may come later.

use std::collections::{BTreeMap, VecDeque};

use super::registry::Key;

/// So many are remembered, the latest: an ADD takes seconds, and no node takes away so many pods meanwhile.
const MOST: usize = 4096;

/// What was taken away, and when by the clock of [`cni_plugin::socket::moment`].
#[derive(Debug, Default)]
pub(super) struct Departed {
    at: BTreeMap<Key, u64>,
    order: VecDeque<Key>,
}

impl Departed {
    /// `key` was taken away at the moment `at`.
    pub(super) fn note(&mut self, key: &Key, at: u64) {
        if let Some(known) = self.at.get_mut(key) {
            *known = at.max(*known);
        } else {
            self.at.insert(key.clone(), at);
            self.order.push_back(key.clone());
        }
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.at.remove(&oldest);
            }
        }
    }

    /// True if `key` was taken away after an ADD that began at `started` had begun. What is not known (0) is neither.
    pub(super) fn since(&self, key: &Key, started: u64) -> bool {
        started > 0 && self.at.get(key).is_some_and(|at| *at > started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container: &str) -> Key {
        (container.to_owned(), "eth0".to_owned())
    }

    #[test]
    fn only_what_began_before_the_end_is_void() {
        let mut departed = Departed::default();
        departed.note(&key("c1"), 50);
        departed.note(&key("c1"), 40);
        assert!(departed.since(&key("c1"), 49));
        assert!(!departed.since(&key("c1"), 51) && !departed.since(&key("c1"), 0));
        assert!(!departed.since(&key("c2"), 1));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut departed = Departed::default();
        for number in 0..=MOST {
            departed.note(&key(&format!("c{number}")), 9);
        }
        assert_eq!((departed.at.len(), departed.order.len()), (MOST, MOST));
        assert!(!departed.since(&key("c0"), 1) && departed.since(&key("c1"), 1));
    }
}
