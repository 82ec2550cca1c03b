//! Ranges that overlap, cut into ranges that do not.

use std::collections::{BTreeMap, BTreeSet};

use prefix::Family;

use super::blocks::Range;

/// More pieces of work than this are not worth the cut.
const MOST: usize = 200_000;

/// Cuts the ranges where any of them begins or ends. Each piece has the places, in `ranges`, of those that cover it.
/// `None` if the ranges lie over one another in too many layers.
pub(super) fn segments(ranges: &[Range]) -> Option<Vec<(Range, BTreeSet<usize>)>> {
    let mut pieces = Vec::new();
    let mut work = 0;
    for family in Family::BOTH {
        // What begins and what has ended at an address.
        let mut cuts: BTreeMap<u128, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        let of_family = ranges.iter().enumerate().filter(|(_, range)| range.family() == family);
        for (place, range) in of_family {
            let (first, last) = range.numbers();
            cuts.entry(first).or_default().0.push(place);
            if last < Range::last_number(family) {
                cuts.entry(last + 1).or_default().1.push(place);
            }
        }
        let ends = cuts.keys().skip(1).map(|next| next - 1).chain([Range::last_number(family)]);
        let ends: Vec<u128> = ends.collect();
        let mut covering = BTreeSet::new();
        for ((first, (begin, end)), last) in cuts.into_iter().zip(ends) {
            for place in end {
                covering.remove(&place);
            }
            covering.extend(begin);
            work += covering.len();
            if work > MOST {
                return None;
            }
            if !covering.is_empty() {
                pieces.push((Range::of_numbers(family, first, last), covering.clone()));
            }
        }
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn range(first: u8, last: u8) -> Range {
        let address = |byte| IpAddr::from(Ipv4Addr::new(255, 255, 255, byte));
        Range { first: address(first), last: address(last) }
    }

    #[test]
    fn too_many_layers_are_left_alone() {
        let nested: Vec<Range> = (0..700_u32)
            .map(|number| Range {
                first: Ipv4Addr::from(number).into(),
                last: Ipv4Addr::from(u32::MAX - number).into(),
            })
            .collect();
        assert_eq!(segments(&nested), None);
        assert_eq!(segments(&nested[..100]).unwrap().len(), 199);
    }

    proptest! {
        #[test]
        fn every_address_has_one_piece_with_all_ranges_that_cover_it(
            ends in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..6),
        ) {
            let ranges: Vec<Range> = ends.iter().map(|(a, b)| range(*a.min(b), *a.max(b))).collect();
            let pieces = segments(&ranges).unwrap();
            for byte in 0..=255 {
                let address: IpAddr = Ipv4Addr::new(255, 255, 255, byte).into();
                let of: Vec<_> = pieces.iter().filter(|(piece, _)| piece.contains(address)).collect();
                let covering = ranges.iter().enumerate().filter(|(_, range)| range.contains(address));
                let covering: BTreeSet<usize> = covering.map(|(place, _)| place).collect();
                match of.as_slice() {
                    [] => prop_assert!(covering.is_empty()),
                    [(_, places)] => prop_assert_eq!(places, &covering),
                    _ => prop_assert!(false, "two pieces hold {}", address),
                }
            }
        }
    }
}
