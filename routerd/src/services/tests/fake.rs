//! A kernel in memory that refuses what the real one refuses (traced on kernel 6.12 and read in its source).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kernel::KernelError;
use kernel::ipvs::{Command, Destination, Service};
use nix::errno::Errno;

use super::super::apply::{Headings, Hindrance, Kernel};
use super::super::effect::{apply_packets, apply_step};
use super::super::gates::{GateChange, Gates};
use super::super::plan::{PacketChange, StaleFlows, VipStep};
use super::super::scheduling::Scheduling;
use super::super::state::{Balanced, State, Tuple, Weight, weight_of};
use super::super::wanted::LocalAddresses;
use super::super::{Few, Settings};

#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) state: State,
    pub(super) local: LocalAddresses,
    /// UDP flows: to which virtual service, answered by which backend.
    pub(super) flows: Vec<(Tuple, SocketAddr)>,
    /// It does not forget any.
    pub(super) forgets_nothing: bool,
    /// How often it was asked to.
    pub(super) asked_to_forget: usize,
    /// Connections of backends that have some.
    pub(super) connections: BTreeMap<(Tuple, SocketAddr), u32>,
    /// Schedulers the kernel lacks.
    pub(super) missing_scheduler: Option<&'static str>,
    pub(super) without_ipvs: bool,
    /// `net.ipv6.conf.default.disable_ipv6`: the device takes no address of it, and no route.
    pub(super) without_ipv6: bool,
    /// An address that no device has: no route takes it for its source.
    pub(super) missing_address: Option<IpAddr>,
    /// Virtual services in the order in which they were made.
    pub(super) made: Vec<Tuple>,
    /// Reads of everything.
    pub(super) observed: usize,
    /// The first write that was refused though the plan should have known better.
    pub(super) refused: Option<String>,
}

impl Fake {
    /// A virtual service, to be changed.
    pub(super) fn balanced(&mut self, tuple: Tuple) -> &mut Balanced {
        Arc::make_mut(self.state.services.get_mut(&tuple).unwrap())
    }

    fn refuse(&mut self, what: String, errno: Errno) -> KernelError {
        let error = KernelError::new(what, errno);
        self.refused.get_or_insert_with(|| error.to_string());
        error
    }

    fn command(&mut self, command: &Command) -> Result<(), KernelError> {
        let what = command.to_string();
        let Some(tuple) = command.service().and_then(|key| Tuple::of(&key)) else { return Ok(()) };
        if let Command::AddService(service) | Command::SetService(service) = command
            && self.missing_scheduler.is_some_and(|missing| missing == service.scheduler)
        {
            return Err(KernelError::new(what, Errno::ENOENT));
        }
        let there = self.state.services.contains_key(&tuple);
        match (command, there) {
            (Command::AddService(_), true) => return Err(self.refuse(what, Errno::EEXIST)),
            (Command::AddService(service), false) => {
                self.state.services.insert(tuple, Arc::new(Balanced::of(service)));
                self.made.push(tuple);
            }
            (_, false) => return Err(self.refuse(what, Errno::ESRCH)),
            (Command::DeleteService(_), true) => _ = self.state.services.remove(&tuple),
            (Command::SetService(service), true) => {
                self.balanced(tuple).scheduling = Scheduling::of_kernel(service);
            }
            _ => {
                let destinations = &mut self.balanced(tuple).destinations;
                if let Err(errno) = destination(command, destinations) {
                    return Err(self.refuse(what, errno));
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &VipStep) -> Result<(), KernelError> {
        if self.without_ipv6 && step.address().is_ipv6() {
            return Err(KernelError::new(format!("{step:?}"), Errno::EACCES));
        }
        if matches!(step, VipStep::SetRoute(_, source) if self.missing_address == Some(*source)) {
            return Err(KernelError::new(format!("{step:?}"), Errno::EINVAL));
        }
        let vip = self.state.vips.get(&step.address()).copied().unwrap_or_default();
        let errno = match step {
            VipStep::AddAddress(_) if vip.on_device => Some(Errno::EEXIST),
            VipStep::DeleteAddress(_) if !vip.on_device => Some(Errno::EADDRNOTAVAIL),
            VipStep::DeleteRoute(_) if vip.source.is_none() => Some(Errno::ESRCH),
            VipStep::DeleteKernelRoute(_) if !vip.kernel_route => Some(Errno::ESRCH),
            // The kernel takes a source only if it is an address of this node.
            VipStep::SetRoute(_, source) if *source == IpAddr::from([0; 4]) => Some(Errno::EINVAL),
            _ => None,
        };
        if let Some(errno) = errno {
            return Err(self.refuse(format!("{step:?}"), errno));
        }
        apply_step(*step, &mut self.state.vips);
        Ok(())
    }
}

fn destination(command: &Command, destinations: &mut Few<SocketAddr, Weight>) -> Result<(), Errno> {
    match command {
        Command::AddDestination(_, new) => match destinations.insert(new.socket(), weight_of(new)) {
            Some(_) => Err(Errno::EEXIST),
            None => Ok(()),
        },
        Command::SetDestination(_, new) => match destinations.insert(new.socket(), weight_of(new)) {
            Some(_) => Ok(()),
            None => Err(Errno::ENOENT),
        },
        Command::DeleteDestination(_, socket) => destinations.remove(socket).map(drop).ok_or(Errno::ENOENT),
        _ => Ok(()),
    }
}

/// As the kernel: only what is there can go, a key of a map has one value, and ranges of one key do not overlap.
fn gate_refusal(gates: &Gates, change: &GateChange) -> Option<(&'static str, Errno)> {
    let mut left = gates.clone();
    left.remove(&change.remove);
    if left.len() + change.remove.len() != gates.len() {
        return Some(("an element that is not there goes", Errno::ENOENT));
    }
    let mut other_value = change.add.detours.iter().filter(|(tuple, _)| left.detours.contains_key(tuple));
    if other_value.next().is_some() {
        return Some(("a key gets a second value", Errno::EEXIST));
    }
    left.add(&change.add);
    let overlap = left.sources.values().any(|ranges| {
        let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
        pairs.any(|((_, last), (first, _))| last >= first)
    });
    overlap.then_some(("ranges overlap", Errno::ENOTEMPTY))
}

impl Kernel for Fake {
    fn prepare(&mut self, _: &Settings) -> Result<(u64, Vec<Hindrance>), KernelError> {
        if self.without_ipvs {
            return Err(KernelError::new("use IPVS", Errno::ENOENT).with_detail("modprobe ip_vs"));
        }
        Ok((0, Vec::new()))
    }

    fn observe(&mut self) -> Result<State, KernelError> {
        self.observed += 1;
        Ok(self.state.clone())
    }

    fn local_addresses(&mut self) -> Result<LocalAddresses, KernelError> {
        Ok(self.local.clone())
    }

    fn services(&mut self) -> Result<Vec<Service>, KernelError> {
        Ok(self
            .state
            .services
            .iter()
            .filter_map(|(tuple, one)| Some(one.scheduling?.service(tuple.key())))
            .collect())
    }

    fn headings(&mut self, tell: &mut Headings<'_>) -> Result<(), KernelError> {
        let ipv4 = self.state.services.iter().filter(|(tuple, _)| tuple.address.is_ipv4());
        ipv4.for_each(|(tuple, one)| tell(*tuple, one.scheduling, one.destinations.len()));
        Ok(())
    }

    fn backends(&mut self, tuple: &Tuple) -> Result<Vec<(Destination, u32)>, KernelError> {
        let destinations = self.state.services.get(tuple).into_iter().flat_map(|one| one.destinations.iter());
        let connections =
            |socket: &SocketAddr| self.connections.get(&(*tuple, *socket)).copied().unwrap_or(0);
        let found = |(socket, weight): (&SocketAddr, &Weight)| {
            let found = Destination::masquerade(socket.ip(), socket.port(), weight.unwrap_or(1));
            (found, connections(socket))
        };
        Ok(destinations.map(found).collect())
    }

    fn balance(&mut self, commands: &[Command]) -> Vec<Result<(), KernelError>> {
        commands.iter().map(|command| self.command(command)).collect()
    }

    fn vips(&mut self, steps: &[VipStep]) -> Vec<Result<(), KernelError>> {
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn packets(&mut self, change: &PacketChange) -> Result<(), KernelError> {
        let packets = &self.state.packets;
        let missing_tuple = change.remove_tuples.iter().find(|tuple| !packets.tuples.contains(tuple));
        let missing_refusal = change.unrefuse.iter().find(|tuple| !packets.refused.contains_key(tuple));
        let missing_pair = change.remove_hairpin.iter().find(|address| !packets.hairpin.contains(address));
        if missing_tuple.is_some() || missing_refusal.is_some() || missing_pair.is_some() {
            return Err(self.refuse(format!("{change:?}"), Errno::ENOENT));
        }
        if let Some((what, errno)) = gate_refusal(&packets.gates, &change.gates) {
            return Err(self.refuse(format!("{what}: {:?}", change.gates), errno));
        }
        let other_verdict = change.refuse.iter().find(|(tuple, refusal)| {
            let found = packets.refused.get(tuple).filter(|_| !change.unrefuse.contains(tuple));
            found.is_some_and(|found| found != *refusal)
        });
        if other_verdict.is_some() {
            return Err(self.refuse(format!("{change:?}"), Errno::EEXIST));
        }
        if change.program.is_none() && packets.program.is_none() {
            return Err(self.refuse("elements without sets".into(), Errno::ENOENT));
        }
        apply_packets(change, &mut self.state.packets);
        Ok(())
    }

    fn forget(&mut self, flows: &[StaleFlows]) -> Result<u64, KernelError> {
        self.asked_to_forget += 1;
        if self.forgets_nothing {
            return Err(KernelError::new("list tracked flows", Errno::ENOBUFS));
        }
        let before = self.flows.len();
        self.flows.retain(|(tuple, backend)| {
            !flows.iter().any(|stale| stale.tuple == *tuple && !stale.keep.contains(backend))
        });
        Ok(u64::try_from(before - self.flows.len()).unwrap())
    }
}
