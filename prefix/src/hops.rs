//! The ways of a route: a set, which nearly always has one member.

use std::ops::Deref;

/// Members in ascending order, each once. One needs no memory of its own: with the smallest node of a `BTreeSet`, which has room for
/// eleven, this would be most of the memory of a table of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hops<T>(Members<T>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Members<T> {
    One(T),
    /// Any other number.
    Several(Box<[T]>),
}

impl<T> Default for Hops<T> {
    /// No way.
    fn default() -> Self {
        Self(Members::Several(Box::default()))
    }
}

impl<T: Ord> FromIterator<T> for Hops<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut rest = all.into_iter();
        let Some(first) = rest.next() else { return Self::default() };
        let Some(second) = rest.next() else { return Self(Members::One(first)) };
        let mut all: Vec<T> = [first, second].into_iter().chain(rest).collect();
        all.sort_unstable();
        all.dedup();
        Self(match <[T; 1]>::try_from(all) {
            Ok([one]) => Members::One(one),
            Err(several) => Members::Several(several.into()),
        })
    }
}

impl<T> Deref for Hops<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Members::One(one) => std::slice::from_ref(one),
            Members::Several(several) => several,
        }
    }
}

impl<'a, T> IntoIterator for &'a Hops<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_ways_are_told_and_how_often_does_not_matter() {
        let hops = |all: &[u8]| all.iter().copied().collect::<Hops<u8>>();
        assert_eq!(hops(&[3, 1, 3]), hops(&[1, 3]));
        assert_eq!(hops(&[3, 3]), hops(&[3]));
        assert_ne!(hops(&[3]), hops(&[1, 3]));
        assert_eq!((hops(&[]).len(), hops(&[]), &*hops(&[2, 1])), (0, Hops::default(), &[1, 2][..]));
    }

    #[test]
    fn an_address_alone_takes_no_memory_of_its_own() {
        assert_eq!(size_of::<Hops<std::net::IpAddr>>(), 24);
    }
}
