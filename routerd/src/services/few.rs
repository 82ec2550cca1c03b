//! A sorted map of few entries in one piece of memory.

/// A map like a `BTreeMap`, whose smallest node has room for eleven entries: with one or two in each of some ten thousand
/// maps that room would be most of the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Few<K, V>(Vec<(K, V)>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Few<K, V> {
    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(found, _)| found.cmp(key))
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// True if `key` has a value.
    pub fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Gives `key` a value; the one it had is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => self.0.get_mut(at).map(|entry| std::mem::replace(&mut entry.1, value)),
            Err(at) => {
                if self.0.is_empty() {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes the value of `key` away.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// The first entry.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// Entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of several values of one key the last one counts.
impl<K: Ord, V> FromIterator<(K, V)> for Few<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut all: Vec<(K, V)> = entries.into_iter().collect();
        all.sort_by(|a, b| b.0.cmp(&a.0));
        let mut few = Self(Vec::with_capacity(all.len()));
        while let Some((key, value)) = all.pop() {
            match few.0.last_mut() {
                Some(last) if last.0 == key => {}
                _ => few.0.push((key, value)),
            }
        }
        few.0.shrink_to_fit();
        few
    }
}

impl<K, V> IntoIterator for Few<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(
            begin in proptest::collection::vec((0u8..9, any::<u8>()), 0..9),
            steps in proptest::collection::vec((0u8..9, proptest::option::of(any::<u8>())), 0..30),
        ) {
            let mut few: Few<u8, u8> = begin.iter().copied().collect();
            let mut map: BTreeMap<u8, u8> = begin.into_iter().collect();
            for (key, value) in steps {
                prop_assert_eq!(few.get(&key), map.get(&key));
                if let Some(value) = value {
                    prop_assert_eq!(few.insert(key, value), map.insert(key, value));
                } else {
                    prop_assert_eq!(few.remove(&key), map.remove(&key));
                }
                prop_assert!(few.iter().eq(map.iter()) && few.keys().eq(map.keys()));
                prop_assert_eq!(few.first_key_value(), map.first_key_value());
                prop_assert_eq!((few.len(), few.is_empty()), (map.len(), map.is_empty()));
            }
            prop_assert!(few.into_iter().eq(map));
        }
    }
}
