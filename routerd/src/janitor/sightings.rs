//! How often, and since when, something was seen without a sign of life. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::inventory::Thing;

/// So many looks at least, whatever the period of grace is.
const LOOKS: u32 = 2;

/// What is suspected.
#[derive(Debug, Default)]
pub(super) struct Sightings(BTreeMap<Thing, (Instant, u32)>);

impl Sightings {
    /// Takes in a look: everything that is without a sign of life now. What is not among it is forgotten, so that it
    /// begins anew should it be suspected again. Returns what is due.
    pub(super) fn look(&mut self, suspects: Vec<Thing>, now: Instant, grace: Duration) -> Vec<Thing> {
        let known = std::mem::take(&mut self.0);
        for thing in suspects {
            let (since, looks) = known.get(&thing).copied().unwrap_or((now, 0));
            self.0.insert(thing, (since, looks + 1));
        }
        let due = |(since, looks): &(Instant, u32)| {
            *looks >= LOOKS && now.saturating_duration_since(*since) >= grace
        };
        self.0.iter().filter(|(_, seen)| due(seen)).map(|(thing, _)| thing.clone()).collect()
    }

    /// How many things are suspected.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::{Kind, Thing};
    use super::*;
    use cni_plugin::tag::Tag;

    fn thing(container: &str, mark: &str) -> Thing {
        Thing { kind: Kind::Lease, tag: Tag::new("n", container, "eth0"), path: None, mark: mark.into() }
    }

    #[test]
    fn two_looks_and_the_grace_period_are_needed_and_a_sign_of_life_begins_anew() {
        let (mut seen, start, grace) = (Sightings::default(), Instant::now(), Duration::from_mins(1));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(seen.look(vec![thing("c1", "")], at(0), grace).is_empty());
        assert!(seen.look(vec![thing("c1", "")], at(59), grace).is_empty());
        assert_eq!(seen.look(vec![thing("c1", "")], at(60), grace), [thing("c1", "")]);
        assert!(seen.look(Vec::new(), at(61), grace).is_empty());
        assert_eq!(seen.len(), 0);
        assert!(seen.look(vec![thing("c1", "")], at(300), grace).is_empty(), "it was seen alive meanwhile");
        let none = Duration::ZERO;
        let mut seen = Sightings::default();
        assert!(seen.look(vec![thing("c1", "")], at(0), none).is_empty(), "one look is never enough");
    }

    #[test]
    fn a_lease_that_is_made_again_is_another_thing() {
        let (mut seen, now) = (Sightings::default(), Instant::now());
        seen.look(vec![thing("c1", "inode 7")], now, Duration::ZERO);
        assert!(seen.look(vec![thing("c1", "inode 8")], now, Duration::ZERO).is_empty());
    }
}
