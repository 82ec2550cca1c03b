//! What was told already, what is due, and how much of it. Pure: the time is given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::trouble::Trouble;

/// What lasts is told again after this time: the API server forgets Events after an hour.
const AGAIN: Duration = Duration::from_mins(30);
/// What comes, goes and comes again is not told more often than this.
const FLAPPING: Duration = Duration::from_mins(5);
/// So many Events at once, as client-go has it.
const BURST: u32 = 25;
/// From then on one in this time.
const PACE: Duration = Duration::from_secs(10);
/// The wait after one could not be written; of one that was refused it doubles, up to [`AGAIN`].
const PAUSE: Duration = Duration::from_mins(1);

/// The memory of what was told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: BTreeMap<Trouble, Told>,
    /// When the bucket was last filled, and what it holds.
    bucket: Option<(Instant, u32)>,
    /// None can be written.
    failing: Option<Wait>,
    /// Namespaces that take none, as one that is being deleted.
    closed: BTreeMap<String, Wait>,
    /// When those that were refused are tried again, and how long that was to wait.
    refused: BTreeMap<Trouble, (Instant, Duration)>,
}

#[derive(Debug)]
struct Wait {
    until: Instant,
    why: String,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// It was there at the last look.
    lasts: bool,
}

impl Ledger {
    /// What is to be told now of what is wrong now.
    pub(super) fn due(&mut self, troubles: &BTreeSet<Trouble>, now: Instant) -> Vec<Trouble> {
        self.told.retain(|trouble, told| {
            told.lasts &= troubles.contains(trouble);
            told.lasts || now.saturating_duration_since(told.at) < FLAPPING
        });
        self.refused.retain(|trouble, _| troubles.contains(trouble));
        let known = &self.told;
        let is_due = |trouble: &&Trouble| match known.get(*trouble) {
            None => true,
            Some(told) => {
                let wait = if told.lasts { AGAIN } else { FLAPPING };
                now.saturating_duration_since(told.at) >= wait
            }
        };
        let due: Vec<&Trouble> = troubles.iter().filter(is_due).collect();
        self.closed.retain(|namespace, _| due.iter().any(|trouble| trouble.event_namespace() == namespace));
        if due.is_empty() {
            self.failing = None;
        }
        let room = usize::try_from(self.room(now)).unwrap_or(usize::MAX);
        due.into_iter().filter(|trouble| self.may(trouble, now)).take(room).cloned().collect()
    }

    /// True if this one can be tried now: a refusal holds up its object and, for a while, the namespace, but no others.
    pub(super) fn may(&self, trouble: &Trouble, now: Instant) -> bool {
        let waits = |wait: &Wait| now < wait.until;
        !self.failing.as_ref().is_some_and(waits)
            && !self.closed.get(trouble.event_namespace()).is_some_and(waits)
            && self.refused.get(trouble).is_none_or(|(until, _)| *until <= now)
    }

    /// What keeps Events from being written.
    pub(super) fn complaints(&self) -> Vec<String> {
        let say = |which: &str, wait: &Wait| {
            format!("no Events{which} can be written: {}; it is tried again", wait.why)
        };
        if let Some(wait) = &self.failing {
            return vec![say("", wait)];
        }
        self.closed.iter().map(|(namespace, wait)| say(&format!(" of namespace {namespace}"), wait)).collect()
    }

    /// One was written.
    pub(super) fn told(&mut self, trouble: Trouble, now: Instant) {
        self.spend(now);
        self.failing = None;
        self.closed.remove(trouble.event_namespace());
        self.refused.remove(&trouble);
        self.told.insert(trouble, Told { at: now, lasts: true });
    }

    /// The API server does not take this one.
    pub(super) fn refused(&mut self, trouble: Trouble, why: String, now: Instant) {
        self.spend(now);
        self.failing = None;
        // Why it was the first time: what is said does not change with each object that is tried.
        let closed = self.closed.entry(trouble.event_namespace().to_owned());
        closed.or_insert(Wait { until: now, why }).until = now + PAUSE;
        let wait = self.refused.get(&trouble).map_or(PAUSE, |(_, wait)| (*wait * 2).min(AGAIN));
        self.refused.insert(trouble, (now + wait, wait));
    }

    /// One could not be written, and no other could.
    pub(super) fn failed(&mut self, why: String, now: Instant) {
        self.failing.get_or_insert(Wait { until: now, why }).until = now + PAUSE;
    }

    /// Notes that one was tried.
    fn spend(&mut self, now: Instant) {
        let left = self.room(now).saturating_sub(1);
        let filled = self.bucket.map_or(now, |(filled, _)| filled);
        self.bucket = Some((if left + 1 >= BURST { now } else { filled }, left));
    }

    /// How many may be told now.
    fn room(&mut self, now: Instant) -> u32 {
        let (mut filled, mut holds) = self.bucket.unwrap_or((now, BURST));
        while holds < BURST && filled + PACE <= now {
            filled += PACE;
            holds += 1;
        }
        self.bucket = Some((filled, holds));
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Kind;
    use super::*;
    use crate::cluster::objects::ObjectName;
    use crate::runner::Problem;

    fn troubles(numbers: std::ops::Range<u32>) -> BTreeSet<Trouble> {
        let trouble = |number: u32| Trouble {
            kind: Kind::NetworkPolicy,
            object: ObjectName::new("default", format!("p{number:03}")),
            note: "wrong".into(),
            subject: "wrong".into(),
            reason: "PolicyNotEnforced",
        };
        numbers.map(trouble).collect()
    }

    /// What is told at a look that writes all that is due.
    fn tell(ledger: &mut Ledger, troubles: &BTreeSet<Trouble>, now: Instant) -> usize {
        let due = ledger.due(troubles, now);
        let count = due.len();
        for trouble in due {
            ledger.told(trouble, now);
        }
        count
    }

    #[test]
    fn what_lasts_is_told_once_and_again_before_it_is_forgotten() {
        let (mut ledger, start, one) = (Ledger::default(), Instant::now(), troubles(0..1));
        assert_eq!(tell(&mut ledger, &one, start), 1);
        assert_eq!(tell(&mut ledger, &one, start + Duration::from_mins(29)), 0);
        assert_eq!(tell(&mut ledger, &one, start + Duration::from_mins(30)), 1);
    }

    #[test]
    fn what_comes_and_goes_is_not_told_each_time() {
        let (mut ledger, start, one) = (Ledger::default(), Instant::now(), troubles(0..1));
        assert_eq!(tell(&mut ledger, &one, start), 1);
        assert_eq!(tell(&mut ledger, &BTreeSet::new(), start + Duration::from_mins(1)), 0);
        assert_eq!(tell(&mut ledger, &one, start + Duration::from_secs(61)), 0);
        assert_eq!(tell(&mut ledger, &BTreeSet::new(), start + Duration::from_mins(6)), 0);
        assert_eq!(tell(&mut ledger, &one, start + Duration::from_mins(7)), 1);
    }

    #[test]
    fn a_session_that_flaps_with_ever_new_errors_leaves_room_for_others() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let lost = |number: u32| {
            let message = format!("the session was lost: error {number}");
            let problem = Problem { item: "BGP session 192.0.2.9".into(), message, retry: false };
            BTreeSet::from([Trouble::of(&problem, "node1").unwrap()])
        };
        let told: usize = (0..40).map(|number| tell(&mut ledger, &lost(number), start)).sum();
        assert_eq!(told, 1);
        assert_eq!(tell(&mut ledger, &troubles(0..24), start), 24);
    }

    #[test]
    fn many_at_once_are_spread_over_time_and_none_is_lost() {
        let (mut ledger, start, many) = (Ledger::default(), Instant::now(), troubles(0..40));
        assert_eq!(tell(&mut ledger, &many, start), 25);
        assert_eq!(tell(&mut ledger, &many, start + Duration::from_secs(9)), 0);
        assert_eq!(tell(&mut ledger, &many, start + Duration::from_secs(35)), 3);
        assert_eq!(tell(&mut ledger, &many, start + Duration::from_mins(20)), 12);
    }

    #[test]
    fn after_a_failure_there_is_a_pause_and_then_it_is_told() {
        let (mut ledger, start, one) = (Ledger::default(), Instant::now(), troubles(0..1));
        assert_eq!(ledger.due(&one, start).len(), 1);
        ledger.failed("away".into(), start);
        assert_eq!(ledger.due(&one, start + Duration::from_secs(59)).len(), 0);
        assert_eq!(ledger.due(&one, start + Duration::from_mins(1)).len(), 1);
    }
    #[test]
    fn one_that_is_refused_again_and_again_holds_up_others_of_its_namespace_for_a_minute_and_those_of_others_not()
     {
        let (mut ledger, start, mut all) = (Ledger::default(), Instant::now(), troubles(0..2));
        let elsewhere = Trouble { object: ObjectName::new("other", "p"), ..all.first().unwrap().clone() };
        all.insert(elsewhere.clone());
        let due = ledger.due(&all, start);
        assert_eq!(due.len(), 3);
        ledger.refused(due[0].clone(), "quota".into(), start);
        assert_eq!(ledger.due(&all, start), std::slice::from_ref(&elsewhere));
        ledger.told(elsewhere, start);
        let later = start + PAUSE;
        ledger.refused(due[0].clone(), "quota".into(), later);
        assert_eq!(ledger.due(&all, later + PAUSE), due[1..2], "the refused one waits for longer");
        assert_eq!(ledger.due(&all, later + 2 * PAUSE), due[..2]);
        assert_eq!(ledger.complaints().len(), 1);
        ledger.due(&BTreeSet::new(), later);
        assert_eq!(ledger.complaints().len(), 0, "nothing is to be written");
    }
}
