//! Keeping the routes of a peer that has promised to come back: the helper's side of RFC 4724 §4.2 and RFC 9494 §4.2.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prefix::Family;

use crate::fsm::Agreed;

/// Until when routes of one family are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer is away. Behind `until` they are a last resort for `then`, or go.
    Away { until: Duration, then: Option<Duration> },
    /// It has been away for longer than it promised.
    LongLived { until: Duration },
    /// It is back, and has until then to repeat them.
    Back { until: Duration },
}

impl Phase {
    fn until(self) -> Duration {
        match self {
            Phase::Away { until, .. } | Phase::LongLived { until } | Phase::Back { until } => until,
        }
    }
}

/// The routes of an absent peer that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Kept {
    families: BTreeMap<Family, Phase>,
    /// We ended its session, which had begun with a restart of the peer or not. So its own next end is no second one in a row.
    by_us: Option<bool>,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Due {
    /// Stale routes of these families go.
    pub(super) sweep: BTreeSet<Family>,
    /// Stale routes of these families become a last resort.
    pub(super) long_lived: BTreeSet<Family>,
}

impl Kept {
    /// What is kept of a peer that went away at `now`; nothing if it made no promise.
    pub(super) fn after(agreed: &Agreed, now: Duration) -> Self {
        let Some(restart) = &agreed.graceful_restart else { return Self::default() };
        let promised: BTreeSet<Family> = restart.families.iter().map(|(family, _)| *family).collect();
        let time = Duration::from_secs(restart.seconds.into());
        let phase = |family: &Family| {
            let long_lived = agreed.long_lived.iter().find(|one| one.family == *family && one.seconds > 0);
            let then = long_lived.map(|one| Duration::from_secs(one.seconds.into()));
            let until = if promised.contains(family) { now + time } else { now };
            (until > now || then.is_some()).then_some((*family, Phase::Away { until, then }))
        };
        Self { families: agreed.families.iter().filter_map(phase).collect(), by_us: None }
    }

    /// The same for a session that we ended.
    pub(super) fn by_us(self, ended: &Agreed) -> Self {
        Self { by_us: Some(has_restarted(ended)), ..self }
    }

    /// True if we ended the session over which they are kept.
    pub(super) fn is_by_us(&self) -> bool {
        self.by_us.is_some()
    }

    /// Keeps no others than these.
    pub(super) fn only(&mut self, families: &BTreeSet<Family>) {
        self.families.retain(|family, _| families.contains(family));
    }

    /// The families of which nothing is kept.
    pub(super) fn others(&self) -> BTreeSet<Family> {
        Family::BOTH.into_iter().filter(|family| !self.families.contains_key(family)).collect()
    }

    /// The peer is back at `now` and has `time` to repeat its routes. Those of the answer are void: it has not kept its
    /// forwarding state over them, or no longer speaks of them. A peer whose session we ended, and that has not restarted since (FRR
    /// says for two minutes that it has), had nothing to lose, and need not say that it has kept it (BIRD and FRR do not).
    pub(super) fn peer_is_back(
        &mut self,
        agreed: &Agreed,
        now: Duration,
        time: Duration,
    ) -> BTreeSet<Family> {
        let nothing_lost = self.by_us.is_some_and(|before| before || !has_restarted(agreed));
        let restart = agreed.graceful_restart.iter().flat_map(|restart| restart.families.iter().copied());
        let long_lived = agreed.long_lived.iter().map(|one| (one.family, one.forwarding));
        let forwarded: BTreeSet<Family> = restart
            .chain(long_lived)
            .filter(|(_, forwarding)| *forwarding || nothing_lost)
            .map(|(family, _)| family)
            .collect();
        self.families.retain(|family, _| forwarded.contains(family) && agreed.families.contains(family));
        for phase in self.families.values_mut() {
            *phase = Phase::Back { until: now + time };
        }
        self.others()
    }

    /// The peer has repeated all of `family`.
    pub(super) fn end_of_rib(&mut self, family: Family) {
        self.families.remove(&family);
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.families.values().map(|phase| phase.until()).min()
    }

    /// What is due at `now`.
    pub(super) fn expire(&mut self, now: Duration) -> Due {
        let mut due = Due::default();
        for (family, phase) in &mut self.families {
            match *phase {
                phase if phase.until() > now => {}
                Phase::Away { until, then: Some(time) } => {
                    due.long_lived.insert(*family);
                    *phase = Phase::LongLived { until: until + time };
                }
                _ => {
                    due.sweep.insert(*family);
                }
            }
        }
        self.families.retain(|family, _| !due.sweep.contains(family));
        due
    }

    /// True if nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.families.is_empty()
    }
}

/// True if the peer says that it has restarted (the R bit of RFC 4724 §3).
fn has_restarted(agreed: &Agreed) -> bool {
    agreed.graceful_restart.as_ref().is_some_and(|restart| restart.restarting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Context, LongLived, RestartCapability};

    const MINUTE: Duration = Duration::from_mins(1);

    fn agreed(families: Vec<(Family, bool)>, seconds: u16) -> Agreed {
        Agreed {
            router_id: "192.0.2.1".parse().unwrap(),
            hold_time: 90,
            families: Family::BOTH.into(),
            context: Context::default(),
            route_refresh: true,
            enhanced_refresh: true,
            graceful_restart: Some(RestartCapability { seconds, families, ..RestartCapability::default() }),
            long_lived: Vec::new(),
        }
    }

    #[test]
    fn only_promised_families_are_kept_and_only_forwarded_ones_stay() {
        let promised = agreed(vec![(Family::V4, true), (Family::V6, false)], 60);
        let mut kept = Kept::after(&promised, MINUTE);
        assert_eq!((kept.others(), kept.deadline()), ([].into(), Some(2 * MINUTE)));
        assert_eq!(kept.peer_is_back(&promised, MINUTE, MINUTE), [Family::V6].into());
        assert!(Kept::after(&agreed(vec![], 60), MINUTE).is_empty());
        assert!(Kept::after(&agreed(vec![(Family::V4, true)], 0), MINUTE).is_empty());
        let mut kept = Kept::after(&promised, MINUTE).by_us(&promised);
        assert_eq!(
            kept.peer_is_back(&promised, MINUTE, MINUTE),
            [].into(),
            "it had no reason to lose anything"
        );
        let mut restarted = promised.clone();
        restarted.graceful_restart.as_mut().unwrap().restarting = true;
        let mut kept = Kept::after(&promised, MINUTE).by_us(&promised);
        assert_eq!(kept.peer_is_back(&restarted, MINUTE, MINUTE), [Family::V6].into(), "it says that it had");
        let mut kept = Kept::after(&restarted, MINUTE).by_us(&restarted);
        assert_eq!(kept.peer_is_back(&restarted, MINUTE, MINUTE), [].into(), "it said so before");
        let none = Agreed { graceful_restart: None, ..promised.clone() };
        assert!(Kept::after(&none, MINUTE).is_empty());
        let mut kept = Kept::after(&promised, MINUTE);
        assert_eq!(kept.peer_is_back(&none, MINUTE, MINUTE), Family::BOTH.into());
    }

    #[test]
    fn behind_the_restart_time_comes_the_long_lived_one() {
        let long = LongLived { family: Family::V4, forwarding: true, seconds: 600 };
        let both = vec![(Family::V4, true), (Family::V6, true)];
        let agreed = Agreed { long_lived: vec![long], ..agreed(both, 60) };
        let mut kept = Kept::after(&agreed, Duration::ZERO);
        assert_eq!(kept.expire(MINUTE / 2), Due::default());
        let due = kept.expire(MINUTE);
        assert_eq!((due.long_lived, due.sweep), ([Family::V4].into(), [Family::V6].into()));
        assert_eq!(kept.deadline(), Some(11 * MINUTE));
        assert_eq!(kept.expire(11 * MINUTE).sweep, [Family::V4].into());
        assert!(kept.is_empty());
    }
}
