//! The node's side: what should be, and the commands to IPVS that make it: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kernel::ipvs::{Command, Destination, Forwarding, Service, ServiceKey};
use prefix::Family;

use super::desired::{Backend, Wish};
use super::{marks, rivals};
use crate::cluster::objects::ObjectName;
use crate::services::Few;
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

/// IPVS services by mark.
pub(super) type ByMark = BTreeMap<u32, Balanced>;

/// What should be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The mark of each tuple.
    pub(super) marks: BTreeMap<Tuple, u32>,
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

    /// From what is there to what should be: what to do before packets get their marks, and after they get them no more.
    /// Services of marks that are not `known` as ours stay.
    pub(super) fn commands(
        &self,
        there: &ByMark,
        known: &BTreeMap<Tuple, u32>,
    ) -> (Vec<Command>, Vec<Command>) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (mark, wanted) in &self.services {
            let key = wanted.service.key;
            let none = Few::default();
            let old = match there.get(mark).filter(|old| old.service.key == key) {
                None => {
                    before.push(Command::AddService(wanted.service.clone()));
                    &none
                }
                Some(old) => {
                    if old.service != wanted.service {
                        before.push(Command::SetService(wanted.service.clone()));
                    }
                    &old.destinations
                }
            };
            before.extend(destinations(key, old, &wanted.destinations));
        }
        let ours: BTreeSet<u32> = known.values().copied().collect();
        for (mark, old) in there.iter().filter(|(mark, _)| ours.contains(mark)) {
            let stays = self.services.get(mark).is_some_and(|new| new.service.key == old.service.key);
            if !stays {
                after.push(Command::DeleteService(old.service.key));
            }
        }
        (before, after)
    }
}

fn destinations(
    key: ServiceKey,
    old: &Few<SocketAddr, Destination>,
    new: &Few<SocketAddr, Destination>,
) -> Vec<Command> {
    let put = new.iter().filter_map(|(socket, destination)| match old.get(socket) {
        None => Some(Command::AddDestination(key, *destination)),
        Some(old) if old != destination => Some(Command::SetDestination(key, *destination)),
        Some(_) => None,
    });
    let gone = old.iter().filter(|(socket, _)| !new.contains_key(socket));
    let gone = gone.filter_map(|(socket, destination)| {
        // The same pod, which policies judge now or no longer: what goes the other way goes on so.
        let stays = new.keys().any(|other| other.ip() == socket.ip());
        match (stays, destination.weight) {
            (false, _) => Some(Command::DeleteDestination(key, *socket)),
            (true, 0) => None,
            (true, _) => Some(Command::SetDestination(key, Destination { weight: 0, ..*destination })),
        }
    });
    put.chain(gone).collect()
}
