//! A plan into the kernel, and what is then known of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use kernel::KernelError;
use kernel::ipvs::Command;
use nix::errno::Errno;

use super::apply::{Applier, Kernel};
use super::effect::{apply_command, apply_packets, apply_step};
use super::plan::{Extent, PacketChange, Plan, StaleFlows, VipStep};
use super::state::{Balanced, Refusal, State, Tuple};
use super::{NAME, herald, status};
use crate::cluster::ForceNews;
use crate::runner::{Problem, Report};

/// The kernel's state as it was read, with all that was written since.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) state: State,
    /// Nothing happened that was not expected of a kernel in that state.
    exact: bool,
    /// Virtual services that were refused in this run; one try and one complaint are enough.
    refused: BTreeSet<Tuple>,
    /// And virtual addresses.
    refused_addresses: BTreeSet<IpAddr>,
    /// And addresses of the node as the source of what it sends to virtual ones.
    refused_sources: BTreeSet<IpAddr>,
}

impl Known {
    pub(super) fn new(state: State) -> Self {
        let (refused, refused_addresses, refused_sources) = Default::default();
        Self { state, exact: true, refused, refused_addresses, refused_sources }
    }

    /// The state, if the next change can be planned on it without reading the kernel again.
    pub(super) fn state(self) -> Option<State> {
        self.exact.then_some(self.state)
    }
}

impl<K: Kernel> Applier<K> {
    /// Writes what differs, as far as `extent` says.
    pub(super) fn run(&mut self, known: &mut Known, extent: &Extent, report: &mut Report) {
        let before = self.served(&known.state, extent);
        let settings = &self.settings;
        let wanted = self.wanted.state();
        let mut plan = Plan::between(&known.state, wanted, extent, |address| settings.is_excluded(address));
        plan.balance.retain(|command| tuple_of(command).is_none_or(|tuple| !known.refused.contains(&tuple)));
        plan.vips.retain(|step| !known.refused_addresses.contains(&step.address()));
        self.draining.spare(&mut plan, &known.state, extent, Instant::now());
        if *extent == Extent::Everything {
            plan.forget_also(self.unforgotten.replace(BTreeSet::new()), wanted);
        }
        self.execute(plan, known, report);
        self.share(&mut known.state, extent);
        self.tell(&before, &known.state, extent);
    }

    fn served(&self, known: &State, extent: &Extent) -> BTreeMap<IpAddr, bool> {
        let herald = self.herald.as_ref();
        herald.map(|_| herald::touched(extent, known, self.wanted.state())).unwrap_or_default()
    }

    /// Tells what became of the addresses that the run was about. What was and is served needs no word.
    fn tell(&self, before: &BTreeMap<IpAddr, bool>, known: &State, extent: &Extent) {
        let Some(herald) = &self.herald else { return };
        let mut after = herald::touched(extent, known, self.wanted.state());
        after.retain(|address, served| !*served || before.get(address) != Some(&true));
        if !after.is_empty() {
            herald.tell(NAME, ForceNews::Some(after));
        }
    }

    /// Writes all of a plan.
    pub(super) fn execute(&mut self, mut plan: Plan, known: &mut Known, report: &mut Report) {
        self.packets(&plan.announce, known, report);
        self.balance(&plan.balance, known, report);
        self.refuse_unserved(&mut plan.withdraw, known, report);
        self.vips(&plan, known, report);
        self.balance(&plan.unbalance, known, report);
        self.packets(&plan.withdraw, known, report);
        self.forget(&plan.flows, report);
    }

    fn forget(&mut self, flows: &[StaleFlows], report: &mut Report) {
        if flows.is_empty() {
            return;
        }
        match self.kernel.forget(flows) {
            Ok(forgotten) => report.writes += forgotten,
            Err(error) => {
                // The next look at everything finds no change there by which it would know of them.
                if let Some(unforgotten) = &mut self.unforgotten {
                    unforgotten.extend(flows.iter().map(|stale| stale.tuple));
                }
                let problem = status::of_part(error.to_string(), true);
                // The first look at everything asks twice.
                if !report.problems.contains(&problem) {
                    report.problems.push(problem);
                }
            }
        }
    }

    /// Packets to a virtual service that the kernel has not made are refused before their address is there: whatever the node
    /// itself listens at on that port would get them.
    fn refuse_unserved(&mut self, withdraw: &mut PacketChange, known: &mut Known, report: &mut Report) {
        let wanted = &self.wanted.state().services;
        let is_unserved =
            |tuple: &&Tuple| wanted.contains_key(tuple) && !known.state.services.contains_key(tuple);
        let mut refuse: BTreeMap<Tuple, Refusal> =
            known.refused.iter().filter(is_unserved).map(|tuple| (*tuple, Refusal::Reject)).collect();
        withdraw.unrefuse.retain(|tuple| !refuse.contains_key(tuple));
        refuse.retain(|tuple, _| !known.state.packets.refused.contains_key(tuple));
        self.packets(&PacketChange { refuse, ..PacketChange::default() }, known, report);
    }

    /// What is as it is wanted is held once.
    fn share(&self, known: &mut State, extent: &Extent) {
        let wanted = &self.wanted.state().services;
        let share = |tuple: &Tuple, found: &mut Arc<Balanced>| match wanted.get(tuple) {
            Some(balanced) if balanced == found => found.clone_from(balanced),
            _ => {}
        };
        match extent {
            Extent::Everything => known.services.iter_mut().for_each(|(tuple, found)| share(tuple, found)),
            Extent::Only(touched) => {
                for tuple in &touched.tuples {
                    if let Some(found) = known.services.get_mut(tuple) {
                        share(tuple, found);
                    }
                }
            }
        }
    }

    fn packets(&mut self, change: &PacketChange, known: &mut Known, report: &mut Report) {
        if change.writes() == 0 {
            return;
        }
        match self.kernel.packets(change) {
            Ok(()) => {
                report.writes += u64::try_from(change.writes()).unwrap_or(u64::MAX);
                apply_packets(change, &mut known.state.packets);
            }
            Err(error) => {
                known.exact = false;
                report.problems.push(status::of_plane(error.to_string(), true));
            }
        }
    }

    fn vips(&mut self, plan: &Plan, known: &mut Known, report: &mut Report) {
        if plan.vips.is_empty() {
            return;
        }
        for (step, outcome) in plan.vips.iter().zip(self.kernel.vips(&plan.vips)) {
            match outcome {
                Ok(()) => {
                    report.writes += 1;
                    apply_step(*step, &mut known.state.vips);
                }
                // Without its address it can have no route; the first error says it all.
                Err(_) if known.refused_addresses.contains(&step.address()) => {}
                Err(error) => {
                    known.exact &= is_of_the_family(step, error.errno);
                    known.refused_addresses.insert(step.address());
                    report.problems.extend(self.of_step(step, &error, known));
                }
            }
        }
    }

    fn balance(&mut self, commands: &[Command], known: &mut Known, report: &mut Report) {
        if commands.is_empty() {
            return;
        }
        let outcomes = self.kernel.balance(commands);
        for (command, outcome) in commands.iter().zip(outcomes) {
            let tuple = tuple_of(command);
            match outcome {
                Ok(()) => {
                    report.writes += 1;
                    apply_command(command, &mut known.state.services);
                }
                // A service that could not be made has its destinations fail too; the first error says it all.
                Err(_) if tuple.is_some_and(|tuple| known.refused.contains(&tuple)) => {}
                Err(error) => {
                    known.exact &= is_of_the_object(command, error.errno);
                    known.refused.extend(tuple);
                    report.problems.push(self.of_tuple(tuple, &error));
                }
            }
        }
    }

    fn of_tuple(&self, tuple: Option<Tuple>, error: &KernelError) -> Problem {
        let owner = tuple.and_then(|tuple| self.wanted.owner(&tuple));
        let item = owner.map_or_else(|| NAME.to_owned(), status::item);
        Problem { item, message: error.to_string(), retry: true }
    }

    fn of_step(&self, step: &VipStep, error: &KernelError, known: &mut Known) -> Option<Problem> {
        let address = step.address();
        if let (VipStep::SetRoute(_, source), Errno::EINVAL) = (step, error.errno) {
            // It hinders all addresses of the family; once is enough.
            return known.refused_sources.insert(*source).then(|| status::without_source(*source));
        }
        let (first, last) = Tuple::bounds(address);
        let tuple = self.wanted.state().services.range(first..=last).next().map(|(tuple, _)| *tuple);
        Some(self.of_tuple(tuple, error))
    }
}

fn tuple_of(command: &Command) -> Option<Tuple> {
    command.service().and_then(|key| Tuple::of(&key))
}

/// True for a refusal of what is asked for (a scheduler that the kernel has not, a family), which leaves the kernel as we
/// know it (`ip_vs_edit_service` looks for the scheduler before it changes anything). Then one such Service does not make
/// every change of the others read the kernel anew.
fn is_of_the_object(command: &Command, errno: Errno) -> bool {
    match command {
        Command::AddService(_) => errno != Errno::EEXIST,
        Command::SetService(_) => matches!(errno, Errno::ENOENT | Errno::EINVAL),
        Command::AddDestination(..) => matches!(errno, Errno::EINVAL | Errno::EAFNOSUPPORT | Errno::ERANGE),
        _ => false,
    }
}

/// True for a refusal of every address of a family, as by a device or a kernel without IPv6, or of a source that no device
/// of the node has. It says nothing against what we know, either.
fn is_of_the_family(step: &VipStep, errno: Errno) -> bool {
    match errno {
        Errno::EACCES | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => true,
        Errno::EINVAL => matches!(step, VipStep::SetRoute(..)),
        _ => false,
    }
}
