//! The node's side: what should be, and the commands to IPVS that make it: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kernel::ipvs::{Command, Destination, DestinationEntry, Forwarding, Service, ServiceKey};
use prefix::Family;

use super::desired::{Backend, Wish};
use super::rules::Sources;
use super::{marks, rivals};
use crate::cluster::objects::ObjectName;
use crate::services::Few;
use crate::services::draining::Backend as Drained;
use crate::services::scheduling::Scheduling;
use crate::services::state::Tuple;

/// An IPVS service with its destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Balanced {
    /// The service.
    pub(super) service: Service,
    /// By address and port.
    pub(super) destinations: Few<SocketAddr, Destination>,
}

impl Balanced {
    /// As the kernel shows it.
    pub(super) fn of(service: Service, destinations: &[DestinationEntry]) -> Self {
        let destinations = destinations.iter().map(|found| (found.destination.socket(), found.destination));
        Self { service, destinations: destinations.collect() }
    }
}

/// IPVS services by mark.
pub(super) type ByMark = BTreeMap<u32, Balanced>;

/// What should be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The mark of each tuple.
    pub(super) marks: BTreeMap<Tuple, u32>,
    /// Who is let in where not everybody is.
    pub(super) sources: Sources,
    /// The IPVS services.
    pub(super) services: ByMark,
    /// Whose they are.
    pub(super) owners: BTreeMap<u32, ObjectName>,
    /// What cannot be, and why.
    pub(super) problems: Vec<(ObjectName, String)>,
}

fn destination(tuple: &Tuple, address: IpAddr, backend: Backend) -> Destination {
    if backend.judged {
        return Destination::masquerade(address, tuple.port, backend.weight);
    }
    // The port of the packet stays, so it has none here.
    Destination { forwarding: Forwarding::Tunnel, ..Destination::masquerade(address, 0, backend.weight) }
}

impl Plan {
    /// What `wishes` come to, with marks as `known`. `usable` says of a pod of this node if its side stands.
    pub(super) fn new(
        wishes: &BTreeMap<ObjectName, Wish>,
        known: &BTreeMap<Tuple, u32>,
        usable: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let mut plan = Self::default();
        let claims = rivals::decide(wishes);
        plan.marks = marks::assign(&claims.keys().copied().collect(), known);
        for (tuple, (name, wanted, losers)) in claims {
            plan.problems.extend(losers.into_iter().map(|loser| {
                (
                    loser.clone(),
                    format!("{tuple}: Service {name} has the same address and port and comes first"),
                )
            }));
            let backends = wanted.backends.iter();
            let backends = backends.filter(|(address, backend)| !backend.local || usable(**address));
            let backends = backends.map(|(address, backend)| destination(&tuple, *address, *backend));
            plan.sources.extend(wanted.sources.clone().map(|sources| (tuple, sources)));
            plan.add(name, wishes.get(name).and_then(|wish| wish.scheduling), tuple, backends.collect());
        }
        plan
    }

    /// The addresses with an endpoint that takes new connections, but for what the kernel has `refused` something of.
    pub(super) fn served(&self, refused: &BTreeSet<u32>) -> impl Iterator<Item = IpAddr> {
        let usable = |mark: &u32| {
            !refused.contains(mark)
                && self
                    .services
                    .get(mark)
                    .is_some_and(|one| one.destinations.values().any(|to| to.weight > 0))
        };
        self.marks.iter().filter(move |(_, mark)| usable(mark)).map(|(tuple, _)| tuple.address)
    }

    fn add(
        &mut self,
        name: &ObjectName,
        scheduling: Option<Scheduling>,
        tuple: Tuple,
        backends: Vec<Destination>,
    ) {
        let Some(mark) = self.marks.get(&tuple).copied() else {
            self.problems
                .push((name.clone(), format!("{tuple}: no mark is free for it; use fewer such Services")));
            return;
        };
        let key = ServiceKey::Mark { family: Family::of(tuple.address), mark };
        let service = scheduling.map_or_else(|| Service::new(key, "rr"), |how| how.service(key));
        let destinations =
            backends.into_iter().map(|destination| (destination.socket(), destination)).collect();
        self.services.insert(mark, Balanced { service, destinations });
        self.owners.insert(mark, name.clone());
    }

    /// From what is there to what should be. Services of marks that are not `known` as ours stay.
    pub(super) fn changes(&self, there: &ByMark, known: &BTreeMap<Tuple, u32>, kept: &Kept) -> Changes {
        let mut changes = Changes::default();
        for (tuple, mark) in &self.marks {
            let Some(wanted) = self.services.get(mark) else { continue };
            let key = wanted.service.key;
            let none = Few::default();
            let old = match there.get(mark).filter(|old| old.service.key == key) {
                None => {
                    changes.before.push(Command::AddService(wanted.service.clone()));
                    &none
                }
                Some(old) => {
                    if old.service != wanted.service {
                        changes.before.push(Command::SetService(wanted.service.clone()));
                    }
                    &old.destinations
                }
            };
            let stays = |socket: &SocketAddr| {
                // The same pod, which policies judge now or no longer: what goes the other way goes on so.
                let otherwise = wanted.destinations.keys().any(|other| other.ip() == socket.ip());
                otherwise || kept.contains(&(*tuple, *socket))
            };
            let (commands, destinations) = destinations(key, old, &wanted.destinations, stays);
            changes.before.extend(commands);
            changes.left.insert(*tuple, Balanced { service: wanted.service.clone(), destinations });
        }
        let ours: BTreeSet<u32> = known.values().copied().collect();
        for (mark, old) in there.iter().filter(|(mark, _)| ours.contains(mark)) {
            let stays = self.services.get(mark).is_some_and(|new| new.service.key == old.service.key);
            if !stays {
                changes.after.push(Command::DeleteService(old.service.key));
            }
        }
        changes
    }
}

/// Backends that are no longer wanted and keep their connections for a while.
pub(super) type Kept = BTreeSet<Drained>;

/// What makes of the IPVS services that are there those that should be.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What to do before packets get their marks.
    pub(super) before: Vec<Command>,
    /// And after they get them no more.
    pub(super) after: Vec<Command>,
    /// What is then there.
    pub(super) left: BTreeMap<Tuple, Balanced>,
}

/// Which of the backends that are there are kept: those that nobody wants any more, and that have time left.
pub(super) fn kept(
    wishes: &BTreeMap<ObjectName, Wish>,
    there: &ByMark,
    known: &BTreeMap<Tuple, u32>,
    has_time: impl Fn(&Drained) -> bool,
) -> Kept {
    let mut kept = Kept::new();
    for (tuple, (_, wanted, _)) in rivals::decide(wishes) {
        let found = known.get(&tuple).and_then(|mark| there.get(mark));
        let gone = found.into_iter().flat_map(|found| found.destinations.keys());
        let gone = gone.filter(|socket| !wanted.backends.contains_key(&socket.ip()));
        kept.extend(gone.map(|socket| (tuple, *socket)).filter(&has_time));
    }
    kept
}

/// From old to new destinations, where one that `stays` only gets no new connections; and what is then there.
fn destinations(
    key: ServiceKey,
    old: &Few<SocketAddr, Destination>,
    new: &Few<SocketAddr, Destination>,
    stays: impl Fn(&SocketAddr) -> bool,
) -> (Vec<Command>, Few<SocketAddr, Destination>) {
    let put = new.iter().filter_map(|(socket, destination)| match old.get(socket) {
        None => Some(Command::AddDestination(key, *destination)),
        Some(old) if old != destination => Some(Command::SetDestination(key, *destination)),
        Some(_) => None,
    });
    let mut commands: Vec<Command> = put.collect();
    let mut left: BTreeMap<SocketAddr, Destination> = new.iter().map(|(at, one)| (*at, *one)).collect();
    for (socket, destination) in old.iter().filter(|(socket, _)| !new.contains_key(socket)) {
        let without_new = Destination { weight: 0, ..*destination };
        match (stays(socket), destination.weight) {
            (false, _) => {
                commands.push(Command::DeleteDestination(key, *socket));
                continue;
            }
            (true, 0) => {}
            (true, _) => commands.push(Command::SetDestination(key, without_new)),
        }
        left.insert(*socket, without_new);
    }
    (commands, left.into_iter().collect())
}
