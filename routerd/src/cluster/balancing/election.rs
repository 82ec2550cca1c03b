//! Who of all nodes has a Lease: pure, the time is given.
//!
//! As client-go has it: clocks of nodes are never compared. A Lease counts as held until it was seen unchanged for its
//! duration by our own clock.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

/// A Lease that was not renewed for so long is anybody's.
pub(super) const DURATION: Duration = Duration::from_secs(15);
/// The leader stops so long after the last renewal that it knows of: well before anybody else may begin.
pub(super) const RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// How often the leader renews, and the least time between two looks.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often the others look. With thousands of nodes each look counts.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(4);

/// What to do about a Lease.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Write this: it is ours then.
    Write(LeaseSpec),
    /// Somebody else has it; look again after that.
    Wait(Duration),
}

/// What was seen of the Lease.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    seen: Option<(LeaseSpec, Instant)>,
}

impl Election {
    /// A candidate that has seen nothing yet.
    pub(super) fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    /// What to do about a Lease that is so now (`None`: there is none), at this time of both clocks.
    pub(super) fn step(&mut self, lease: Option<&LeaseSpec>, now: Instant, clock: Timestamp) -> Step {
        let Some(lease) = lease else { return Step::Write(self.spec(None, clock)) };
        let at = match &self.seen {
            Some((seen, at)) if seen == lease => *at,
            _ => now,
        };
        self.seen = Some((lease.clone(), at));
        let holder = lease.holder_identity.as_deref().unwrap_or_default();
        let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let expires = at + seconds.map_or(DURATION, Duration::from_secs);
        if holder.is_empty() || holder == self.identity || expires <= now {
            return Step::Write(self.spec(Some(lease), clock));
        }
        Step::Wait((expires - now).min(LOOK_EVERY))
    }

    /// The Lease as we have it, after `old`.
    fn spec(&self, old: Option<&LeaseSpec>, clock: Timestamp) -> LeaseSpec {
        let mut spec = old.cloned().unwrap_or_default();
        let now = Some(MicroTime(clock));
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.lease_transitions =
                Some(spec.lease_transitions.map_or(0, |number| number.saturating_add(1)));
            spec.acquire_time.clone_from(&now);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = now;
        spec
    }

    /// The Lease given back, if it is ours.
    pub(super) fn released(&self, lease: &LeaseSpec, clock: Timestamp) -> Option<LeaseSpec> {
        let ours = lease.holder_identity.as_ref() == Some(&self.identity);
        ours.then(|| LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(clock)),
            ..lease.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(identity: &str) -> Election {
        Election::new(identity.to_owned())
    }

    fn written(step: Step) -> LeaseSpec {
        match step {
            Step::Write(spec) => spec,
            Step::Wait(wait) => panic!("it waits {wait:?}"),
        }
    }

    fn clock() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn the_first_takes_it_and_the_second_waits_until_it_was_not_renewed_for_its_duration() {
        let (mut first, mut second, start) = (election("a"), election("b"), Instant::now());
        let lease = written(first.step(None, start, clock()));
        assert_eq!(second.step(Some(&lease), start, clock()), Step::Wait(LOOK_EVERY));
        let later = start + Duration::from_secs(13);
        assert_eq!(second.step(Some(&lease), later, clock()), Step::Wait(Duration::from_secs(2)));
        let taken = written(second.step(Some(&lease), start + DURATION, clock()));
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(1)));
    }

    #[test]
    fn a_renewal_that_is_seen_begins_the_wait_anew_whatever_its_clock_says() {
        let (mut first, mut second, start) = (election("a"), election("b"), Instant::now());
        let lease = written(first.step(None, start, clock()));
        second.step(Some(&lease), start, clock());
        let renewed = written(first.step(Some(&lease), start, clock() - Duration::from_hours(1)));
        let later = start + Duration::from_secs(14);
        assert_eq!(second.step(Some(&renewed), later, clock()), Step::Wait(LOOK_EVERY));
        assert_eq!(renewed.lease_transitions, Some(0));
    }

    #[test]
    fn what_was_given_back_is_taken_at_once() {
        let (mut first, mut second, start) = (election("a"), election("b"), Instant::now());
        let lease = written(first.step(None, start, clock()));
        let released = first.released(&lease, clock()).unwrap();
        assert_eq!(second.released(&lease, clock()), None, "it is not ours to give back");
        written(second.step(Some(&released), start, clock()));
    }
}
