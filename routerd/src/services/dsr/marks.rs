//! Which mark a tuple has: pure.
//!
//! A mark follows from its tuple, and one that the kernel has already stays: a restart, or a Service more or less, changes
//! the mark of no other.

use std::collections::{BTreeMap, BTreeSet};

use crate::services::state::Tuple;

/// The bit that all our marks have, and nobody else's of this node's network: the rule for table 78 asks for it alone.
pub(super) const BIT: u32 = 0x0008_0000;
/// The bits that tell tuples apart, as many as kube-router's.
pub(super) const ROOM: u32 = 0x3fff;
/// FNV-1a with 32 bits.
const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

fn hash(text: &str) -> u32 {
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME))
}

/// The marks of `tuples`; those of `known` stay. A tuple that finds no free one has none.
pub(super) fn assign(tuples: &BTreeSet<Tuple>, known: &BTreeMap<Tuple, u32>) -> BTreeMap<Tuple, u32> {
    let mut marks: BTreeMap<Tuple, u32> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (tuple, mark) in known.iter().filter(|(tuple, mark)| tuples.contains(tuple) && **mark & !ROOM == BIT)
    {
        if used.insert(*mark) {
            marks.insert(*tuple, *mark);
        }
    }
    for tuple in tuples {
        if marks.contains_key(tuple) {
            continue;
        }
        let first = hash(&format!("{}-{}-{}", tuple.address, tuple.protocol, tuple.port));
        let free =
            (0..=ROOM).map(|step| BIT | (first.wrapping_add(step) & ROOM)).find(|mark| !used.contains(mark));
        if let Some(mark) = free {
            used.insert(mark);
            marks.insert(*tuple, mark);
        }
    }
    marks
}
