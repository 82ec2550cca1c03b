//! The ways of a route: a set, which nearly always has one member.

use std::ops::Deref;

/// Members in ascending order, each once. The smallest node of a `BTreeSet` has room for eleven, which would be most of the memory
/// of a table of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hops<T>(Box<[T]>);

impl<T: Ord> FromIterator<T> for Hops<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut all: Vec<T> = all.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self(all.into())
    }
}

impl<T> Deref for Hops<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T> IntoIterator for &'a Hops<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_ways_are_told_and_how_often_does_not_matter() {
        let hops = |all: &[u8]| all.iter().copied().collect::<Hops<u8>>();
        assert_eq!(hops(&[3, 1, 3]), hops(&[1, 3]));
        assert_ne!(hops(&[3]), hops(&[1, 3]));
    }
}
