//! The addresses that can be given: pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prefix::{Family, Prefix};

use super::Settings;

/// The ranges, and how far in them the last address was.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    ranges: Vec<Prefix>,
    /// Part of no pool, though a range may hold them.
    never: Vec<Prefix>,
    /// The address given last, by family.
    last: BTreeMap<Family, IpAddr>,
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // A number of an IPv4 range fits.
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

impl Pool {
    pub(super) fn new(settings: &Settings) -> Self {
        let never = settings.cluster_ranges.clone();
        let ranges = settings.ranges.iter().copied();
        let ranges = ranges.filter(|range| !never.iter().any(|other| other.covers(range))).collect();
        Self { ranges, never, last: BTreeMap::new() }
    }

    /// True if it has a range of that family.
    pub(super) fn serves(&self, family: Family) -> bool {
        self.ranges.iter().any(|range| range.family() == family)
    }

    /// True if the address could be given.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
            && !self.never.iter().any(|range| range.contains(address))
    }

    /// The ranges of a family, for people.
    pub(super) fn describe(&self, family: Family) -> String {
        let ranges = self.ranges.iter().filter(|range| range.family() == family);
        ranges.map(Prefix::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The next address of `family` that is not `busy`, after the one given last and round all ranges.
    pub(super) fn next(&mut self, family: Family, busy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let found = self
            .spans(family)
            .into_iter()
            .flat_map(|(first, last)| first..=last)
            .map(|number| address(family, number))
            .find(|address| self.holds(*address) && !busy(*address))?;
        self.last.insert(family, found);
        Some(found)
    }

    /// First and last numbers of what to go through, in order.
    fn spans(&self, family: Family) -> Vec<(u128, u128)> {
        let ranges = self.ranges.iter().filter(|range| range.family() == family).map(Prefix::range);
        let mut spans: Vec<(u128, u128)> =
            ranges.map(|(first, last)| (number(first), number(last))).collect();
        let Some(last) = self.last.get(&family).map(|address| number(*address)) else { return spans };
        let at = spans.iter().position(|(first, end)| (*first..=*end).contains(&last)).unwrap_or(0);
        spans.rotate_left(at);
        let (first, end) = spans.first().copied().unwrap_or((0, 0));
        if let Some(span) = spans.first_mut().filter(|_| last < end) {
            *span = (last + 1, end);
            spans.push((first, last));
        } else {
            spans.rotate_left(1);
        }
        spans
    }
}
