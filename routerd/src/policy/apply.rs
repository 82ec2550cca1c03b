//! Bringing the values into the kernel: the only place of the plane that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use kernel::KernelError;
use kernel::nft::{CommitError, Element, Identity, Nft, Set, Transaction};
use prefix::Family;

use super::bridges::Bridges;
use super::flows::Flows;
use super::key::PolicyKey;
use super::model::{Model, Parts};
use super::names::{self, PREFIX};
use super::plan::{self, Plan};
use super::refused::{MOST_TRIALS, Refused, bisect};
use super::render::{self, Fragment};
use super::settings::Settings;
use super::value::{Direction, PolicyValue};
use super::{program, refusal, status};
use crate::ruleset::{FilledChain, FilledSet, Ruleset};
use crate::runner::{Apply, Problem, Report, Scope};

/// The pause between looks at what the kernel tells no changes of.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Values by key.
type Values = BTreeMap<PolicyKey, PolicyValue>;

/// The half of the plane that writes.
///
/// A change of some keys is one transaction of what differs. Should the kernel refuse it, or everything be asked for,
/// the kernel is read back and compared with all of the desired state; a policy that it still refuses is closed, and
/// the others are not held up by it.
#[derive(Debug, Default)]
pub struct PolicyApplier {
    identity: Identity,
    nft: Option<Nft>,
    /// What `model` was made of.
    pub(super) applied: Values,
    model: Model,
    refused: Refused,
    /// The pod networks in the kernel, by the name of their set: kept while the Node object is unknown.
    networks: BTreeMap<String, BTreeSet<Element>>,
    flows: Flows,
    /// The kernel cannot log packets.
    mute: bool,
    /// Others' changes were put right since the last report.
    repaired: bool,
    settings: Settings,
    bridges: Bridges,
    /// The bridges that `model` speaks of.
    guarded: BTreeSet<String>,
    /// The generation in which the kernel held `model` and nothing else of ours.
    verified: Option<u32>,
    /// The last run ended with an error: the kernel may hold neither `applied` nor `model`, and nobody else is to blame for that.
    unsettled: bool,
}

impl Apply for PolicyApplier {
    type Key = PolicyKey;
    type Value = PolicyValue;

    fn apply(&mut self, desired: &Values, scope: &Scope<PolicyKey>) -> Report {
        self.bridges.follow(desired, scope);
        let done = match scope {
            Scope::Keys(keys) if self.is_guarded() && !self.unsettled => self.some(desired, keys),
            _ => self.everything(desired),
        };
        self.report(desired, scope, done)
    }

    fn look(&mut self, desired: &Values, hurried: &dyn Fn() -> bool) -> Option<Report> {
        self.bridges.look(desired);
        let done = self.read_back(desired, hurried, true).transpose()?;
        Some(self.report(desired, &Scope::Everything, done))
    }

    fn tend(&mut self, desired: &Values) -> Option<Report> {
        self.bridges.look(desired);
        if !self.is_guarded() {
            let done = self.everything(desired);
            return Some(self.report(desired, &Scope::Everything, done));
        }
        // What could not be written is told under the same item, until the next try.
        let writes = self.settings.tend().filter(|_| !self.unsettled)?;
        Some(Report {
            writes,
            counts: status::counts(desired),
            problems: self.settings.problems().collect(),
            judged: self.settings.items().collect(),
            repaired: writes > 0,
            ..Report::default()
        })
    }

    fn tend_after(&self) -> Option<Duration> {
        Some(TEND_EVERY)
    }

    fn item(&self, key: &PolicyKey) -> Option<String> {
        Some(status::item(key))
    }

    fn wanted(&self) -> Option<Ruleset> {
        Some(self.model.ruleset())
    }
}

impl PolicyApplier {
    pub(super) fn report(
        &mut self,
        desired: &Values,
        scope: &Scope<PolicyKey>,
        done: Result<u64, KernelError>,
    ) -> Report {
        let problem = |(key, value)| status::problem_of(key, value);
        let mut problems: Vec<Problem> = match scope {
            Scope::Everything => desired.iter().filter_map(problem).collect(),
            Scope::Keys(keys) => {
                keys.iter().filter_map(|key| desired.get_key_value(key)).filter_map(problem).collect()
            }
        };
        problems.extend(self.refused.problems(desired));
        problems.extend((self.mute && *scope == Scope::Everything).then(refusal::cannot_log));
        self.unsettled = done.is_err();
        let writes = done.unwrap_or_else(|error| {
            self.verified = None;
            problems.push(Problem { item: super::NAME.to_owned(), message: error.to_string(), retry: true });
            0
        });
        let set = match scope {
            Scope::Everything => self.settings.ensure(),
            Scope::Keys(_) => 0,
        };
        problems.extend(self.settings.problems());
        problems.extend(self.bridges.problem());
        let writes = writes + set + self.settle_flows(desired, &mut problems);
        let repaired = std::mem::take(&mut self.repaired) && !self.unsettled;
        Report { writes, counts: status::counts(desired), problems, repaired, ..Report::default() }
    }

    /// One that connects to nf_tables when it first has to, in the namespace of the thread that it then runs on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, whose changes of nf_tables are known as `identity`'s.
    pub fn known_as(identity: Identity) -> Self {
        Self { identity, ..Self::default() }
    }

    /// The same, on a node whose pods are on a bridge of our plugin: it does not work where the kernel shows it no packet between them.
    #[must_use]
    pub fn bridged(mut self, bridged: bool) -> Self {
        self.settings.bridged = bridged;
        self
    }

    /// The same, that also cuts flows which policies admit no longer.
    #[must_use]
    pub fn cutting_established(mut self, cut: bool) -> Self {
        self.flows.cut = cut;
        self
    }

    fn nft(&mut self) -> Result<&mut Nft, KernelError> {
        if self.nft.is_none() {
            let mut nft = Nft::open_as(self.identity)?;
            self.mute = !refusal::can_log(&mut nft);
            self.nft = Some(nft);
        }
        self.nft.as_mut().ok_or_else(|| KernelError::new("connect to nf_tables", nix::errno::Errno::ENOTCONN))
    }

    /// Writes what differs for `keys` between what was applied and what is desired.
    fn some(&mut self, desired: &Values, keys: &BTreeSet<PolicyKey>) -> Result<u64, KernelError> {
        let mut parts = Parts::default();
        let mut changed = Vec::new();
        let mut lost = BTreeSet::new();
        for key in keys {
            let (old, new) = (self.applied.get(key).cloned(), desired.get(key));
            if old.as_ref() == new && !self.refused.contains(key) {
                continue;
            }
            lost.extend(self.flows.changed(old.as_ref(), new));
            let both = old.as_ref().zip(new).filter(|_| !self.refused.contains(key));
            let trimmed = both.and_then(|(old, new)| render::trimmed(old, new));
            let (old, new) = match &trimmed {
                Some((gone, come)) => (Some(gone.clone()), Some(come)),
                None => (old, new),
            };
            let before = old.map_or_else(Fragment::default, |old| self.fragment(key, &old));
            self.refused.open([key]);
            let after = new.map_or_else(Fragment::default, |new| self.fragment(key, new));
            parts.add(&before, &after);
            changed.push((key, before, after));
        }
        let before = self.model.view(&parts);
        let counted: Vec<(Set, Element)> = self.counters(&lost).collect();
        for (key, old, new) in &changed {
            // The new first: a set that both have, and of which they show only what differs, must not go in between.
            self.model.add(new);
            self.model.remove(old);
            match desired.get(*key) {
                Some(value) => self.applied.insert((*key).clone(), value.clone()),
                None => self.applied.remove(*key),
            };
        }
        let mut plan = Plan::between(&before, &self.model.view(&parts));
        for (set, element) in counted {
            if self.model.holds(&set.name.name, &element.span) {
                plan.renew(&set, element);
            }
        }
        match self.commit(&plan.transaction) {
            Ok(()) => Ok(plan.writes()),
            Err(error) => {
                tracing::debug!(%error, "a change did not fit the kernel; reading it back");
                self.verified = None;
                // Likewise: what goes in between is not what the kernel still has, and would be taken for damage.
                for (_, old, new) in &changed {
                    self.model.add(old);
                    self.model.remove(new);
                }
                Ok(self.read_back(desired, &|| false, false)?.unwrap_or(0))
            }
        }
    }

    /// The counters of refused packets that the model has for the addresses.
    fn counters(&self, addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = (Set, Element)> {
        let both = |address: &IpAddr| {
            let family = Family::of(*address);
            Direction::BOTH.map(|direction| (refusal::counters(direction, family), Element::new(*address)))
        };
        let all = addresses.iter().flat_map(both);
        all.filter(|(set, element)| self.model.holds(&set.name.name, &element.span))
    }

    /// Reads the kernel back and makes it hold what is desired.
    fn everything(&mut self, desired: &Values) -> Result<u64, KernelError> {
        Ok(self.read_back(desired, &|| false, true)?.unwrap_or(0))
    }

    /// The same; `None` if `hurried` has ended it before anything was written. With `settled` what was applied is in
    /// `model`, and so nothing is to be done if the kernel holds that.
    fn read_back(
        &mut self,
        desired: &Values,
        hurried: &dyn Fn() -> bool,
        settled: bool,
    ) -> Result<Option<u64>, KernelError> {
        let generation = self.nft()?.generation()?;
        let settled = settled && self.is_guarded() && !self.unsettled;
        let as_applied = settled && self.refused.is_empty() && self.applied == *desired;
        if as_applied && self.verified == Some(generation) {
            return Ok(Some(0));
        }
        let Some(mut observed) = Ruleset::observe_unless(self.nft()?, PREFIX, hurried)? else {
            return Ok(None);
        };
        if self.applied.is_empty() {
            self.networks = networks_of(&observed);
            self.flows.adopted(&observed, desired);
        } else {
            let repaired = !self.unsettled && observed != self.model.ruleset();
            self.repaired |= repaired;
            if as_applied && !repaired {
                self.verified = Some(generation);
                return Ok(Some(0));
            }
        }
        self.verified = Some(generation);
        self.note_changes(desired);
        self.refused.clear();
        loop {
            self.rebuild(desired);
            let plan = Plan::between(&observed, &self.model.ruleset());
            match self.commit(&plan.transaction) {
                Ok(()) => return Ok(Some(plan.writes())),
                Err(error) if self.refused.blame(desired, &observed, &plan.transaction, &error) => {}
                Err(error) => return self.search(desired, &observed, error.error).map(Some),
            }
            // The first step may have been done.
            observed = Ruleset::observe(self.nft()?, PREFIX)?;
        }
    }

    /// Tells of what has changed while keys were not looked at one by one, because nothing could be written.
    fn note_changes(&mut self, desired: &Values) {
        for (key, old) in &self.applied {
            let new = desired.get(key);
            if new != Some(old) {
                self.flows.changed(Some(old), new);
            }
        }
    }

    /// Forgets flows that have no ground any more, once the rules are in the kernel. Returns the number of writes.
    fn settle_flows(&mut self, desired: &Values, problems: &mut Vec<Problem>) -> u64 {
        let due = self.flows.is_pending() && !self.unsettled;
        let Some(nft) = self.nft.as_mut().filter(|_| due) else { return 0 };
        self.flows.settle(nft, desired, self.refused.keys()).unwrap_or_else(|error| {
            problems.push(status::flows(&error));
            0
        })
    }

    /// True if `model` speaks of the bridges that lead to pods, and of no others.
    fn is_guarded(&self) -> bool {
        self.guarded.iter().map(String::as_str).eq(self.bridges.names())
    }

    fn rebuild(&mut self, desired: &Values) {
        self.model = Model::default();
        self.guarded = self.bridges.names().into_iter().map(str::to_owned).collect();
        for (key, value) in desired {
            let fragment = self.fragment(key, value);
            self.model.add(&fragment);
        }
        self.refused.add_to(&mut self.model);
        self.applied.clone_from(desired);
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        for (part, places) in plan::in_steps(transaction) {
            let verified = self.verified.take();
            let nft = self.nft()?;
            nft.commit(&part).map_err(|refused| {
                let operation = refused.operation.and_then(|at| places.get(at).copied());
                CommitError { operation, ..refused }
            })?;
            // Our own commit is the next generation, unless somebody else's came in between.
            let now = nft.generation()?;
            self.verified = verified.filter(|before| before.wrapping_add(1) == now).map(|_| now);
        }
        Ok(())
    }

    /// Finds out by trying whose fault it is, and closes that; the error itself if it is not one of the keys whose
    /// values the kernel does not hold yet.
    fn search(
        &mut self,
        desired: &Values,
        observed: &Ruleset,
        error: KernelError,
    ) -> Result<u64, KernelError> {
        let mut suspects = Vec::new();
        for (key, value) in desired.iter().filter(|(key, _)| **key != PolicyKey::Base) {
            if !self.refused.contains(key) && !is_held(observed, &self.fragment(key, value)) {
                suspects.push(key.clone());
            }
        }
        let why = error.to_string();
        self.refused.close(&suspects, &why);
        let Ok(mut writes) = self.attempt(desired) else {
            self.refused.open(&suspects);
            return Err(error);
        };
        tracing::debug!(
            suspects = suspects.len(),
            why,
            "the kernel does not say what it refuses; it is tried out"
        );
        let mut trials = MOST_TRIALS;
        bisect(&suspects, &mut trials, &mut |some| {
            self.refused.open(some);
            match self.attempt(desired) {
                Ok(more) => {
                    writes += more;
                    true
                }
                Err(error) => {
                    self.refused.close(some, &error.to_string());
                    false
                }
            }
        });
        // The last trial may not have been taken.
        Ok(writes + self.attempt(desired)?)
    }

    /// Makes the kernel hold what is desired, but for what is refused.
    fn attempt(&mut self, desired: &Values) -> Result<u64, KernelError> {
        let observed = Ruleset::observe(self.nft()?, PREFIX)?;
        self.rebuild(desired);
        let plan = Plan::between(&observed, &self.model.ruleset());
        self.commit(&plan.transaction).map_err(|refused| refused.error)?;
        Ok(plan.writes())
    }

    /// What the value puts into the kernel as things stand.
    fn fragment(&mut self, key: &PolicyKey, value: &PolicyValue) -> Fragment {
        if let Some(rest) = self.refused.rest(key, value) {
            return rest;
        }
        let mut fragment = render::fragment(key, value);
        if *key == PolicyKey::Base {
            program::refuse_link_local(&mut fragment.objects, &self.bridges.names());
            program::refuse_own_addresses(&mut fragment.objects, &self.bridges.names());
        }
        if self.flows.cut && *key == PolicyKey::Base {
            program::refuse_middles(&mut fragment.objects);
        }
        if self.mute && *key == PolicyKey::Base {
            refusal::mute(&mut fragment.objects);
        }
        match value {
            PolicyValue::Base(Some(_)) => self.networks = networks_of(&fragment.objects),
            PolicyValue::Base(None) => {
                for (name, elements) in &self.networks {
                    if let Some(filled) = fragment.objects.sets.get_mut(name) {
                        filled.elements.clone_from(elements);
                    }
                }
            }
            _ => {}
        }
        fragment
    }
}

/// Takes everything of the plane out of the kernel. Returns the number of writes.
pub fn cleanup(nft: &mut Nft) -> Result<u64, KernelError> {
    let plan = Plan::between(&Ruleset::observe(nft, PREFIX)?, &Ruleset::default());
    nft.commit(&plan.transaction)?;
    Ok(plan.writes())
}

fn networks_of(ruleset: &Ruleset) -> BTreeMap<String, BTreeSet<Element>> {
    let sets = Family::BOTH.map(names::networks).into_iter();
    sets.filter_map(|name| Some((name.clone(), ruleset.sets.get(&name)?.elements.clone()))).collect()
}

/// True if all of the fragment is there.
fn is_held(observed: &Ruleset, fragment: &Fragment) -> bool {
    let chain = |(name, chain): (&String, &FilledChain)| {
        observed.chains.get(name).is_some_and(|there| there.rules == chain.rules)
    };
    let set = |(name, set): (&String, &FilledSet)| {
        observed.sets.get(name).is_some_and(|there| set.elements.is_subset(&there.elements))
    };
    fragment.objects.chains.iter().all(chain) && fragment.objects.sets.iter().all(set)
}
