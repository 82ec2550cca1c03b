//! Which virtual addresses this node serves. The planes that program them tell it, and whoever announces addresses to
//! others asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a plane that programs virtual addresses tells of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The plane.
    pub plane: &'static str,
    /// What it tells.
    pub news: ForceNews,
}

/// Which virtual addresses this node serves: the kernel has them, with an endpoint that takes new connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForceNews {
    /// These and no others. Before the first of it not everything of the plane has been looked at.
    All(BTreeSet<IpAddr>),
    /// These are served now, or no longer.
    Some(BTreeMap<IpAddr, bool>),
    /// The plane has looked at everything and cannot tell: what it told before holds.
    Unknown,
}

/// What news have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForceChange {
    /// Addresses that are served now and were not, or the other way round.
    pub addresses: BTreeSet<IpAddr>,
    /// The plane has told of everything for the first time.
    pub first: bool,
}

/// What one plane has told.
#[derive(Debug, Default)]
struct Told {
    addresses: BTreeSet<IpAddr>,
    everything: bool,
}

/// What the planes have told.
#[derive(Debug, Default)]
pub(super) struct Board(BTreeMap<&'static str, Told>);

impl Board {
    /// True if a plane serves the address.
    pub(super) fn has(&self, address: &IpAddr) -> bool {
        self.0.values().any(|told| told.addresses.contains(address))
    }

    /// True if the plane has looked at everything once.
    pub(super) fn is_complete(&self, plane: &str) -> bool {
        self.0.get(plane).is_some_and(|told| told.everything)
    }

    /// Takes in news; what they change, if anything.
    pub(super) fn take(&mut self, InForce { plane, news }: InForce) -> Option<ForceChange> {
        let told = self.0.entry(plane).or_default();
        let mut change = ForceChange::default();
        match news {
            ForceNews::Some(some) => {
                for (address, served) in some {
                    let new =
                        if served { told.addresses.insert(address) } else { told.addresses.remove(&address) };
                    if new {
                        change.addresses.insert(address);
                    }
                }
            }
            ForceNews::All(all) => {
                change.addresses = told.addresses.symmetric_difference(&all).copied().collect();
                change.first = !std::mem::replace(&mut told.everything, true);
                told.addresses = all;
            }
            ForceNews::Unknown => change.first = !std::mem::replace(&mut told.everything, true),
        }
        (change != ForceChange::default()).then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(last: &[u8]) -> BTreeSet<IpAddr> {
        last.iter().map(|last| IpAddr::from([10, 96, 0, *last])).collect()
    }

    fn change(last: &[u8], first: bool) -> ForceChange {
        ForceChange { addresses: addresses(last), first }
    }

    #[test]
    fn only_what_is_other_than_before_is_a_change() {
        let mut board = Board::default();
        let mut tell = |plane, news| board.take(InForce { plane, news });
        let some =
            |last, served| ForceNews::Some(addresses(last).into_iter().map(|one| (one, served)).collect());
        assert_eq!(tell("a", some(&[1], true)), Some(change(&[1], false)));
        assert_eq!(tell("a", some(&[1], true)), None);
        assert_eq!(tell("a", some(&[9], false)), None);
        assert_eq!(tell("a", ForceNews::All(addresses(&[2, 3]))), Some(change(&[1, 2, 3], true)));
        assert_eq!(tell("a", ForceNews::Unknown), None, "what it told holds");
        assert_eq!(tell("b", ForceNews::Unknown), Some(change(&[], true)));
        assert_eq!(tell("a", some(&[3], false)), Some(change(&[3], false)));
        assert!(board.has(&IpAddr::from([10, 96, 0, 2])) && !board.has(&IpAddr::from([10, 96, 0, 3])));
        assert!(board.is_complete("b") && !board.is_complete("c"));
    }
}
