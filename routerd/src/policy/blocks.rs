//! Address blocks as ranges: what several `ipBlock`s admit together, each without its own exceptions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prefix::{Family, Prefix};

/// Addresses of one family from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first address.
    pub first: IpAddr,
    /// The last address.
    pub last: IpAddr,
}

impl Range {
    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// True if the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        // Addresses of IPv4 come before those of IPv6, so one of the other family is outside.
        self.first <= address && address <= self.last
    }

    /// True if it holds every address of its family.
    pub fn is_everything(&self) -> bool {
        self.numbers() == (0, max(self.family()))
    }

    /// Its ends as numbers.
    pub(super) fn numbers(&self) -> (u128, u128) {
        (number(self.first), number(self.last))
    }

    /// The addresses of a family from one number to another.
    pub(super) fn of_numbers(family: Family, first: u128, last: u128) -> Self {
        Self { first: address(family, first), last: address(family, last) }
    }

    /// The number of the last address of a family.
    pub(super) fn last_number(family: Family) -> u128 {
        max(family)
    }
}

/// What the blocks admit together: sorted ranges that neither overlap nor touch.
///
/// An exception takes away from its own block only: what another block admits stays admitted.
pub fn admitted<'a>(blocks: impl IntoIterator<Item = (&'a Prefix, &'a [Prefix])>) -> Vec<Range> {
    let mut parts: Vec<(Family, u128, u128)> = Vec::new();
    for (block, except) in blocks {
        parts.extend(without(block, except).into_iter().map(|(first, last)| (block.family(), first, last)));
    }
    join(parts)
}

/// The same addresses as sorted ranges that neither overlap nor touch.
pub(super) fn merged(ranges: Vec<Range>) -> Vec<Range> {
    let part = |range: Range| (range.family(), range.numbers().0, range.numbers().1);
    join(ranges.into_iter().map(part).collect())
}

fn join(mut parts: Vec<(Family, u128, u128)>) -> Vec<Range> {
    parts.sort_unstable();
    let mut merged: Vec<(Family, u128, u128)> = Vec::new();
    for part in parts {
        match merged.last_mut() {
            Some(last) if last.0 == part.0 && part.1 <= last.2.saturating_add(1) => {
                last.2 = last.2.max(part.2);
            }
            _ => merged.push(part),
        }
    }
    merged.into_iter().map(|(family, first, last)| Range::of_numbers(family, first, last)).collect()
}

/// The parts of `block` that are in none of `except`.
fn without(block: &Prefix, except: &[Prefix]) -> Vec<(u128, u128)> {
    let mut gaps: Vec<(u128, u128)> =
        except.iter().filter(|gap| gap.family() == block.family()).map(bounds).collect();
    gaps.sort_unstable();
    let (first, last) = bounds(block);
    let mut parts = Vec::new();
    let mut next = Some(first);
    for (gap_first, gap_last) in gaps {
        let Some(from) = next else { break };
        if gap_first > last {
            break;
        }
        if gap_first > from {
            parts.push((from, gap_first - 1));
        }
        // After an exception that ends at the very last address nothing is left.
        next = gap_last.checked_add(1).map(|after| after.max(from));
    }
    match next {
        Some(from) if from <= last => parts.push((from, last)),
        _ => {}
    }
    parts
}

fn bounds(prefix: &Prefix) -> (u128, u128) {
    let (first, last) = prefix.range();
    (number(first), number(last))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn max(family: Family) -> u128 {
    match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // Numbers of IPv4 come from IPv4 addresses, so none is too large.
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(blocks: &[(&str, &[&str])]) -> Vec<String> {
        let parsed: Vec<(Prefix, Vec<Prefix>)> = blocks
            .iter()
            .map(|(block, except)| {
                (block.parse().unwrap(), except.iter().map(|text| text.parse().unwrap()).collect())
            })
            .collect();
        let blocks = parsed.iter().map(|(block, except)| (block, except.as_slice()));
        admitted(blocks).iter().map(|range| format!("{}-{}", range.first, range.last)).collect()
    }

    #[test]
    fn an_exception_is_left_out() {
        assert_eq!(
            ranges(&[("10.0.0.0/24", &["10.0.0.64/26", "10.0.0.0/28", "10.0.0.240/28"])]),
            ["10.0.0.16-10.0.0.63", "10.0.0.128-10.0.0.239"]
        );
        assert_eq!(ranges(&[("10.0.0.0/24", &["10.0.0.0/24"])]), Vec::<String>::new());
        assert_eq!(ranges(&[("::/0", &["8000::/1"])]), ["::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
    }

    #[test]
    fn an_exception_does_not_take_from_another_block() {
        assert_eq!(
            ranges(&[("10.0.0.0/8", &["10.1.0.0/16"]), ("10.1.2.0/24", &[])]),
            ["10.0.0.0-10.0.255.255", "10.1.2.0-10.1.2.255", "10.2.0.0-10.255.255.255"]
        );
    }

    #[test]
    fn everything_means_everything_in_both_families() {
        for all in ["0.0.0.0/0", "::/0"] {
            let prefix: Prefix = all.parse().unwrap();
            let ranges = admitted([(&prefix, [].as_slice())]);
            assert!(ranges.len() == 1 && ranges[0].is_everything(), "{all}");
        }
        assert_eq!(ranges(&[("10.0.0.0/8", &[]), ("11.0.0.0/8", &[])]), ["10.0.0.0-11.255.255.255"]);
    }

    proptest! {
        #[test]
        fn an_address_is_admitted_exactly_if_one_block_admits_it(
            blocks in proptest::collection::vec((any::<u8>(), 0..=8u8, proptest::collection::vec((any::<u8>(), 0..=8u8), 0..4)), 0..4),
        ) {
            // The last byte of an address is world enough.
            let prefix = |(last, length): (u8, u8)| {
                Prefix::new(Ipv4Addr::new(255, 255, 255, last).into(), 24 + length).unwrap()
            };
            let blocks: Vec<(Prefix, Vec<Prefix>)> = blocks
                .into_iter()
                .map(|(last, length, except)| (prefix((last, length)), except.into_iter().map(prefix).collect()))
                .collect();
            let ranges = admitted(blocks.iter().map(|(block, except)| (block, except.as_slice())));
            for last in 0..=255 {
                let address: IpAddr = Ipv4Addr::new(255, 255, 255, last).into();
                let wanted = blocks.iter().any(|(block, except)| {
                    block.contains(address) && !except.iter().any(|part| part.contains(address))
                });
                let got = ranges.iter().any(|range| range.first <= address && address <= range.last);
                prop_assert_eq!(got, wanted, "{}", address);
            }
        }
    }
}
