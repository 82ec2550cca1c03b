//! Brings the plan into the kernel and tells what could not be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::KernelError;
use kernel::ipvs::Command;

use super::desired::{Key, NodeFacts, Value, Wish};
use super::plan::{Extent, PacketChange, Plan, StaleFlows, VipStep};
use super::state::{State, Tuple};
use super::wanted::{LocalAddresses, Touched, Wanted};
use super::{NAME, Settings, status};
use crate::cluster::objects::ObjectName;
use crate::runner::{Apply, Problem, Report, Scope};

/// Something that hinders the plane but does not stop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// What is wrong and what to do.
    pub message: String,
    /// Worth trying again soon.
    pub retry: bool,
}

/// The kernel as the plane needs it. The real one is [`super::linux::Linux`]; tests have one in memory.
pub trait Kernel: Send + 'static {
    /// Makes what all Services need: the dummy device, kernel settings, timeouts. The number of writes, and what could
    /// not be done.
    ///
    /// # Errors
    /// What the plane cannot work without is missing, as on a kernel without IPVS.
    fn prepare(&mut self, settings: &Settings) -> Result<(u64, Vec<Hindrance>), KernelError>;
    /// Reads everything back.
    fn observe(&mut self) -> Result<State, KernelError>;
    /// The addresses of the node's devices.
    fn local_addresses(&mut self) -> Result<LocalAddresses, KernelError>;
    /// Changes IPVS; the outcome of each command.
    fn balance(&mut self, commands: &[Command]) -> Vec<Result<(), KernelError>>;
    /// Changes the dummy device and the `local` table; the outcome of each step.
    fn vips(&mut self, steps: &[VipStep]) -> Vec<Result<(), KernelError>>;
    /// Changes our part of the nft table, as a whole or not at all.
    fn packets(&mut self, change: &PacketChange) -> Result<(), KernelError>;
    /// Forgets UDP flows; how many.
    fn forget(&mut self, flows: &[StaleFlows]) -> Result<u64, KernelError>;
}

/// The half of the plane that writes.
#[derive(Debug)]
pub struct Applier<K> {
    kernel: K,
    settings: Settings,
    wanted: Wanted,
    /// What is in the kernel as far as we know: what was read last and what was written since. `None` when it must be
    /// read again.
    known: Option<State>,
}

impl<K: Kernel> Applier<K> {
    /// An applier that has not looked at the kernel yet.
    pub fn new(kernel: K, settings: Settings) -> Self {
        Self { kernel, settings, wanted: Wanted::default(), known: None }
    }

    /// The kernel it writes to.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// Everything anew: what is wanted from all keys, what is from the kernel.
    fn all(&mut self, desired: &BTreeMap<Key, Value>, report: &mut Report) -> Result<(), KernelError> {
        self.known = None;
        let (writes, hindrances) = self.kernel.prepare(&self.settings)?;
        report.writes += writes;
        report.problems.extend(
            hindrances.into_iter().map(|hindrance| status::of_part(hindrance.message, hindrance.retry)),
        );
        let node = match desired.get(&Key::Node) {
            Some(Value::Node(facts)) => facts.clone(),
            _ => NodeFacts::default(),
        };
        let local = self.kernel.local_addresses()?;
        let observed = self.kernel.observe()?;
        self.wanted = Wanted::new(node, local, self.settings.masquerade_all);
        for (name, wish) in wishes(desired.iter()) {
            self.wanted.set(name, Some(wish));
        }
        self.run(observed, &Extent::Everything, report);
        Ok(())
    }

    /// Some Services, against what is known to be in the kernel.
    fn some<'a>(
        &mut self,
        known: State,
        desired: &BTreeMap<Key, Value>,
        names: impl Iterator<Item = &'a ObjectName>,
        report: &mut Report,
    ) {
        let mut touched = Touched::default();
        for name in names {
            let wish = match desired.get(&Key::Service(name.clone())) {
                Some(Value::Service(wish)) => Some(wish),
                _ => None,
            };
            let more = self.wanted.set(name, wish);
            touched.tuples.extend(more.tuples);
            touched.hairpin.extend(more.hairpin);
        }
        self.run(known, &Extent::Only(touched), report);
    }

    fn run(&mut self, mut observed: State, extent: &Extent, report: &mut Report) {
        let settings = &self.settings;
        let plan =
            Plan::between(&observed, self.wanted.state(), extent, |address| settings.is_excluded(address));
        let problems = self.execute(&plan, report);
        if problems.is_empty() {
            plan.apply_to(&mut observed);
            self.known = Some(observed);
        } else {
            // What is in the kernel now is not what was meant: it is read before the next write.
            self.known = None;
        }
        report.problems.extend(problems);
    }

    fn execute(&mut self, plan: &Plan, report: &mut Report) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.packets(&plan.announce, report, &mut problems);
        self.balance(&plan.balance, report, &mut problems);
        for (step, outcome) in plan.vips.iter().zip(self.kernel.vips(&plan.vips)) {
            match outcome {
                Ok(()) => report.writes += 1,
                Err(error) => problems.push(self.of_address(step.address(), &error)),
            }
        }
        self.balance(&plan.unbalance, report, &mut problems);
        self.packets(&plan.withdraw, report, &mut problems);
        if !plan.flows.is_empty() {
            match self.kernel.forget(&plan.flows) {
                Ok(forgotten) => report.writes += forgotten,
                Err(error) => problems.push(status::of_part(error.to_string(), true)),
            }
        }
        problems
    }

    fn packets(&mut self, change: &PacketChange, report: &mut Report, problems: &mut Vec<Problem>) {
        if change.writes() == 0 {
            return;
        }
        match self.kernel.packets(change) {
            Ok(()) => report.writes += u64::try_from(change.writes()).unwrap_or(u64::MAX),
            Err(error) => problems.push(status::of_plane(error.to_string(), true)),
        }
    }

    fn balance(&mut self, commands: &[Command], report: &mut Report, problems: &mut Vec<Problem>) {
        if commands.is_empty() {
            return;
        }
        let outcomes = self.kernel.balance(commands);
        let mut failed = BTreeSet::new();
        for (command, outcome) in commands.iter().zip(outcomes) {
            let tuple = command.service().and_then(|key| Tuple::of(&key));
            match outcome {
                Ok(()) => report.writes += 1,
                // A service that could not be made has its destinations fail too; the first error says it all.
                Err(_) if tuple.is_some_and(|tuple| !failed.insert(tuple)) => {}
                Err(error) => problems.push(self.of_tuple(tuple, &error)),
            }
        }
    }

    /// What is wrong with the objects of `keys`, of all if `None`.
    fn of_objects(&self, desired: &BTreeMap<Key, Value>, keys: Option<&BTreeSet<Key>>) -> Vec<Problem> {
        let of = |(name, wish)| status::of_object(name, wish, &self.wanted);
        match keys {
            None => wishes(desired.iter()).flat_map(of).collect(),
            Some(keys) => {
                wishes(keys.iter().filter_map(|key| desired.get_key_value(key))).flat_map(of).collect()
            }
        }
    }

    fn of_tuple(&self, tuple: Option<Tuple>, error: &KernelError) -> Problem {
        let owner = tuple.and_then(|tuple| self.wanted.owner(&tuple));
        let item = owner.map_or_else(|| NAME.to_owned(), status::item);
        Problem { item, message: error.to_string(), retry: true }
    }

    fn of_address(&self, address: IpAddr, error: &KernelError) -> Problem {
        let (first, last) = Tuple::bounds(address);
        let tuple = self.wanted.state().services.range(first..=last).next().map(|(tuple, _)| *tuple);
        self.of_tuple(tuple, error)
    }
}

fn wishes<'a>(
    entries: impl Iterator<Item = (&'a Key, &'a Value)>,
) -> impl Iterator<Item = (&'a ObjectName, &'a Wish)> {
    entries.filter_map(|(key, value)| match (key, value) {
        (Key::Service(name), Value::Service(wish)) => Some((name, wish)),
        _ => None,
    })
}

impl<K: Kernel> Apply for Applier<K> {
    type Key = Key;
    type Value = Value;

    fn apply(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>) -> Report {
        let mut report = Report::default();
        let judged: Option<&BTreeSet<Key>> = match scope {
            Scope::Keys(keys) if !keys.contains(&Key::Node) => Some(keys),
            _ => None,
        };
        match (judged, self.known.take()) {
            (Some(keys), Some(known)) => {
                let names = keys.iter().filter_map(|key| match key {
                    Key::Service(name) => Some(name),
                    Key::Node => None,
                });
                self.some(known, desired, names, &mut report);
            }
            _ => {
                if let Err(error) = self.all(desired, &mut report) {
                    report.problems.push(status::of_plane(error.to_string(), true));
                }
            }
        }
        report.problems.extend(self.of_objects(desired, judged));
        report.counts = status::counts(&self.wanted);
        report
    }

    fn item(&self, key: &Key) -> Option<String> {
        match key {
            Key::Node => None,
            Key::Service(name) => Some(status::item(name)),
        }
    }
}
