//! What the consumer of the chosen routes hears.

use std::collections::BTreeMap;

use prefix::Hops;

use super::*;
use crate::rib::RibEvent;

/// More than are told at once.
const PREFIXES: u32 = 5000;

fn numbered(number: u32) -> Prefix {
    let address = Ipv4Addr::from_bits(0x0a00_0000 | number << 8);
    Prefix::new(address.into(), 24).unwrap()
}

/// What a consumer knows that was told all of it.
fn listen(rib: &mut Rib, known: &mut BTreeMap<Prefix, Hops<IpAddr>>) {
    while rib.has_news() {
        for RibEvent { prefix, next_hops, .. } in rib.news() {
            let (lost, unknown) = (next_hops.is_empty(), !known.contains_key(&prefix));
            assert!(!(lost && unknown), "{prefix} was never told");
            known.remove(&prefix);
            if !lost {
                known.insert(prefix, next_hops);
            }
        }
    }
}

#[test]
fn a_consumer_knows_what_is_chosen_however_late_it_listens() {
    let (mut rib, mut known) = (Rib::default(), BTreeMap::new());
    let from_two = [path(1, |_, _| {}), path(2, |_, _| {})];
    for round in 0..6 {
        for number in 0..PREFIXES {
            let prefix = numbered(number);
            let [one, two] = from_two.clone();
            match (number + round) % 4 {
                0 => drop(rib.put(prefix, one)),
                1 => drop(rib.put(prefix, two)),
                2 => drop(rib.remove(&prefix, one.common.source)),
                _ => drop(rib.remove(&prefix, two.common.source)),
            }
        }
        if round % 2 == 0 {
            assert!(rib.has_much_news());
            listen(&mut rib, &mut known);
            let chosen = rib.prefixes().map(|prefix| (*prefix, rib.selected(prefix).unwrap().next_hops));
            assert_eq!(known, chosen.collect(), "round {round}");
        }
    }
    let all: Vec<Prefix> = rib.prefixes().copied().collect();
    for prefix in &all {
        drop(from_two.each_ref().map(|path| rib.remove(prefix, path.common.source)));
    }
    listen(&mut rib, &mut known);
    assert!(known.is_empty() && rib.count() == 0, "{} are left", known.len());
}

#[test]
fn nobody_is_told_anything_once_nobody_listens() {
    let mut rib = Rib::default();
    for number in 0..PREFIXES {
        rib.put(numbered(number), path(1, |_, _| {}));
    }
    rib.nobody_listens();
    for number in 0..PREFIXES {
        rib.put(numbered(number), path(2, |_, _| {}));
        rib.remove(&numbered(number), Source::Internal(ip(1)));
    }
    assert!(!rib.has_news() && !rib.has_much_news());
    assert_eq!(rib.count(), PREFIXES as usize);
}
