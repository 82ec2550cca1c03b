//! Keeping the routes of a peer that has promised to come back (RFC 4724 §4.2, the helper's side).

use std::collections::BTreeSet;
use std::time::Duration;

use prefix::Family;

use crate::fsm::Agreed;

/// How long a peer that is back may take to send all of its routes again.
pub(super) const RESEND_TIME: Duration = Duration::from_mins(2);

/// The families whose routes are kept while the peer is away, and for how long. `None` if it keeps no promise.
pub(super) fn kept(agreed: &Agreed) -> Option<(BTreeSet<Family>, Duration)> {
    let restart = agreed.graceful_restart.as_ref()?;
    let families: BTreeSet<Family> = restart.families.iter().map(|(family, _)| *family).collect();
    let kept: BTreeSet<Family> = families.intersection(&agreed.families).copied().collect();
    (!kept.is_empty() && restart.seconds > 0).then(|| (kept, Duration::from_secs(restart.seconds.into())))
}

/// The families whose kept routes are void now that the peer is back: it did not keep its forwarding state over them.
pub(super) fn void(agreed: &Agreed) -> BTreeSet<Family> {
    let forwarded: BTreeSet<Family> = agreed
        .graceful_restart
        .iter()
        .flat_map(|restart| &restart.families)
        .filter(|(_, forwarding)| *forwarding)
        .map(|(family, _)| *family)
        .collect();
    Family::BOTH
        .into_iter()
        .filter(|family| !forwarded.contains(family) || !agreed.families.contains(family))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Context, RestartCapability};

    fn agreed(families: Vec<(Family, bool)>, seconds: u16) -> Agreed {
        Agreed {
            router_id: "192.0.2.1".parse().unwrap(),
            hold_time: 90,
            families: Family::BOTH.into(),
            context: Context::default(),
            route_refresh: true,
            graceful_restart: Some(RestartCapability { seconds, families, ..RestartCapability::default() }),
        }
    }

    #[test]
    fn only_promised_families_are_kept_and_only_forwarded_ones_stay() {
        let promised = agreed(vec![(Family::V4, true), (Family::V6, false)], 60);
        assert_eq!(kept(&promised), Some((Family::BOTH.into(), Duration::from_mins(1))));
        assert_eq!(void(&promised), [Family::V6].into());
        assert_eq!(kept(&agreed(vec![], 60)), None);
        assert_eq!(kept(&agreed(vec![(Family::V4, true)], 0)), None);
        assert_eq!(kept(&Agreed { graceful_restart: None, ..promised.clone() }), None);
        assert_eq!(void(&Agreed { graceful_restart: None, ..promised }), Family::BOTH.into());
    }
}
