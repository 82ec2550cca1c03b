//! Brings the plan into the kernel and tells what could not be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use kernel::KernelError;
use kernel::ipvs::{Command, Destination, Service};

use super::desired::{Key, NodeFacts, Value, Wish};
use super::draining::Draining;
use super::execute::Known;
use super::plan::{Extent, PacketChange, StaleFlows, VipStep};
use super::scheduling::Scheduling;
use super::state::{State, Tuple};
use super::tend::Round;
use super::wanted::{LocalAddresses, Touched, Wanted};
use super::{Herald, NAME, Roll, Settings, herald, status};
use crate::cluster::ForceNews;
use crate::cluster::objects::ObjectName;
use crate::runner::{Apply, Problem, Report, Scope};

/// Virtual services that are programmed together at the start.
const BATCH: usize = 2048;
const DNS_PORT: u16 = 53;

/// Something that hinders the plane but does not stop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// What is wrong and what to do.
    pub message: String,
    /// Worth trying again soon.
    pub retry: bool,
}

/// Who is told of virtual services: how they choose, and how many backends they have.
pub type Headings<'a> = dyn FnMut(Tuple, Option<Scheduling>, usize) + 'a;

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
    /// The virtual services that are found by a tuple.
    fn services(&mut self) -> Result<Vec<Service>, KernelError>;
    /// Tells of each IPv4 service that is found by a tuple, and of the number of its backends. It costs little.
    fn headings(&mut self, tell: &mut Headings<'_>) -> Result<(), KernelError>;
    /// The backends of a virtual service, each with the number of its connections.
    fn backends(&mut self, tuple: &Tuple) -> Result<Vec<(Destination, u32)>, KernelError>;
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
    pub(super) kernel: K,
    pub(super) settings: Settings,
    pub(super) wanted: Wanted,
    /// What is in the kernel as far as we know: what was read last and what was written since. `None` when it must be
    /// read again.
    pub(super) known: Option<State>,
    pub(super) draining: Draining,
    pub(super) round: Round,
    /// Who is told what is served, if anybody.
    pub(super) herald: Option<Herald>,
    roll: Roll,
    /// UDP services some of whose flows may be led to backends that are gone: the kernel would not forget them. `None`: all
    /// of them, as nobody knows when an earlier run ended.
    pub(super) unforgotten: Option<BTreeSet<Tuple>>,
}

impl<K: Kernel> Applier<K> {
    /// An applier that has not looked at the kernel yet.
    pub fn new(kernel: K, settings: Settings) -> Self {
        let draining = Draining::new(settings.grace);
        let (wanted, round) = (Wanted::default(), Round::default());
        let (herald, roll, unforgotten) = (None, Roll::default(), None);
        Self { kernel, settings, wanted, known: None, draining, round, herald, roll, unforgotten }
    }

    /// The same, telling which virtual addresses are served.
    #[must_use]
    pub fn telling(mut self, herald: Option<Herald>) -> Self {
        self.herald = herald;
        self
    }

    /// The same, saying on `roll` which virtual addresses are wanted.
    #[must_use]
    pub fn saying(mut self, roll: Roll) -> Self {
        self.roll = roll;
        self
    }

    /// The kernel it writes to.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The same, for a test that changes something behind its back.
    #[cfg(test)]
    pub(super) fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Everything anew: what is wanted from all keys, what is from the kernel.
    fn all(&mut self, desired: &BTreeMap<Key, Value>, report: &mut Report) -> Result<(), KernelError> {
        self.known = None;
        let (writes, hindrances) = self.kernel.prepare(&self.settings)?;
        report.writes += writes;
        report.problems.extend(
            hindrances.into_iter().map(|hindrance| status::of_part(hindrance.message, hindrance.retry)),
        );
        self.want_nothing(desired)?;
        let mut known = Known::new(self.kernel.observe()?);
        let (first, rest): (Vec<_>, Vec<_>) =
            wishes(desired.iter()).partition(|(name, wish)| is_needed_first(name, wish));
        for wishes in [first, rest] {
            let tuples = wishes.into_iter().flat_map(|(name, wish)| self.wanted.set(name, Some(wish)).tuples);
            let tuples: Vec<Tuple> = tuples.collect();
            self.in_batches(&tuples, &mut known, report);
        }
        self.roll.say(self.wanted.state());
        self.run(&mut known, &Extent::Everything, report);
        self.wanted.pack();
        known.state.pack();
        if let Some(herald) = &self.herald {
            herald.tell(NAME, ForceNews::All(herald::all(&known.state, self.wanted.state())));
        }
        self.known = known.state();
        Ok(())
    }

    /// Begins with a node without Services.
    pub(super) fn want_nothing(&mut self, desired: &BTreeMap<Key, Value>) -> Result<(), KernelError> {
        let node = match desired.get(&Key::Node) {
            Some(Value::Node(facts)) => facts.clone(),
            _ => NodeFacts::default(),
        };
        let local = self.kernel.local_addresses()?.within(&self.settings.node_port_ranges);
        self.wanted = Wanted::new(node, local, &self.settings);
        self.wanted.set_pods(pods_of(desired));
        if self.settings.firewall {
            self.wanted.expose_services_only();
        }
        Ok(())
    }

    /// So many virtual services at a time that the first need not wait for the last.
    fn in_batches(&mut self, tuples: &[Tuple], known: &mut Known, report: &mut Report) {
        for batch in tuples.chunks(BATCH) {
            let tuples = batch.iter().copied().collect();
            self.run(known, &Extent::Only(Touched { tuples, ..Touched::default() }), report);
        }
    }

    /// Some Services, against what is known to be in the kernel; others that may have won or lost by it.
    fn some<'a>(
        &mut self,
        known: State,
        desired: &BTreeMap<Key, Value>,
        names: impl Iterator<Item = &'a ObjectName>,
        report: &mut Report,
    ) -> BTreeSet<ObjectName> {
        self.wanted.set_pods(pods_of(desired));
        let mut touched = Touched::default();
        for name in names {
            let wish = match desired.get(&Key::Service(name.clone())) {
                Some(Value::Service(wish)) => Some(wish),
                _ => None,
            };
            let more = self.wanted.set(name, wish);
            touched.tuples.extend(more.tuples);
            touched.hairpin.extend(more.hairpin);
            touched.rivals.extend(more.rivals);
        }
        let rivals = std::mem::take(&mut touched.rivals);
        self.roll.say_touched(&touched, self.wanted.state());
        let mut known = Known::new(known);
        self.run(&mut known, &Extent::Only(touched), report);
        self.known = known.state();
        rivals
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
}

fn pods_of(desired: &BTreeMap<Key, Value>) -> BTreeSet<IpAddr> {
    match desired.get(&Key::Pods) {
        Some(Value::Pods(pods)) => pods.clone(),
        _ => BTreeSet::new(),
    }
}

/// What a new node cannot do without: the API server's Service and the cluster's DNS.
pub(super) fn is_needed_first(name: &ObjectName, wish: &Wish) -> bool {
    match name.namespace.as_str() {
        "default" => name.name == "kubernetes",
        "kube-system" => wish.virtuals.iter().any(|wanted| wanted.port == DNS_PORT),
        _ => false,
    }
}

pub(super) fn wishes<'a>(
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
        let keys: Option<&BTreeSet<Key>> = match scope {
            Scope::Keys(keys) if !keys.contains(&Key::Node) => Some(keys),
            _ => None,
        };
        let mut judged = keys.cloned().unwrap_or_default();
        if let (Some(keys), Some(known)) = (keys, self.known.take()) {
            let names = keys.iter().filter_map(|key| match key {
                Key::Service(name) => Some(name),
                Key::Node | Key::Pods => None,
            });
            let rivals = self.some(known, desired, names, &mut report);
            report.judged = rivals.iter().map(status::item).collect();
            judged.extend(rivals.into_iter().map(Key::Service));
        } else {
            if let Err(error) = self.all(desired, &mut report) {
                report.problems.push(status::of_plane(error.to_string(), true));
                if let Some(herald) = &self.herald {
                    herald.tell(NAME, ForceNews::Unknown);
                }
            }
            // What was read and compared is more than what is kept.
            kernel::memory::give_back();
        }
        report.problems.extend(self.of_objects(desired, keys.map(|_| &judged)));
        report.counts = status::counts(&self.wanted);
        report
    }

    fn early(&mut self, desired: &BTreeMap<Key, Value>) -> Report {
        self.add_early(desired)
    }

    fn tend(&mut self, _: &BTreeMap<Key, Value>) -> Option<Report> {
        self.round()
    }

    fn tend_after(&self) -> Option<Duration> {
        self.known.is_some().then(|| self.round.pause())
    }

    fn item(&self, key: &Key) -> Option<String> {
        match key {
            Key::Node | Key::Pods => None,
            Key::Service(name) => Some(status::item(name)),
        }
    }
}
