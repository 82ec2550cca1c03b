//! What all Services together want, kept up to date Service by Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::desired::{At, NodeFacts, Origin, VirtualService, Wish};
use super::gates::Gate;
use super::program::Program;
use super::state::{Balanced, Refusal, State, Tuple, Vip};
use super::{Few, Settings};
use crate::cluster::objects::ObjectName;
use crate::cluster::pack;

/// What a Service wants of one tuple.
#[derive(Debug, Clone, PartialEq)]
struct Claim {
    on_device: bool,
    balanced: Arc<Balanced>,
    refusal: Refusal,
    /// Most have none.
    gate: Option<Box<Gate>>,
    /// Backends of this node; none for most.
    #[expect(clippy::box_collection, reason = "a word for the many that have none")]
    local: Option<Box<BTreeSet<IpAddr>>>,
}

impl Claim {
    fn local(&self) -> impl Iterator<Item = &IpAddr> {
        self.local.iter().flat_map(|local| local.iter())
    }
}

/// Who wants a tuple. The first gets it: every node decides so, and a restart does not change it. What is given by the API
/// server comes before what somebody wrote, and the older Service before the newer, so nobody takes what another has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    origin: Origin,
    since: i64,
    name: ObjectName,
}

/// The parts of the state that a change has touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Virtual services, and with them their addresses.
    pub tuples: BTreeSet<Tuple>,
    /// Backends of this node.
    pub hairpin: BTreeSet<IpAddr>,
    /// Other Services that want one of the tuples too: they may have lost it or got it.
    pub rivals: BTreeSet<ObjectName>,
}

/// The addresses that the node's devices have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalAddresses {
    /// Of all devices but the dummy device.
    pub all: BTreeSet<IpAddr>,
    /// Those that are the node's own, with the device that has them: whatever a Service says, nothing of them is ours.
    pub own: BTreeMap<IpAddr, String>,
    /// Those that node ports are reached at with `--nodeport-bindon-all-ip`.
    pub for_node_ports: BTreeSet<IpAddr>,
}

impl LocalAddresses {
    /// The same with node ports only at addresses in `ranges`, for the families that these are of.
    #[must_use]
    pub fn within(mut self, ranges: &[Prefix]) -> Self {
        self.for_node_ports.retain(|address| {
            let mut own = ranges.iter().filter(|range| range.family() == Family::of(*address)).peekable();
            own.peek().is_none() || own.any(|range| range.contains(*address))
        });
        self
    }
}

/// The desired state of all Services.
#[derive(Debug, Default)]
pub struct Wanted {
    node: NodeFacts,
    local_addresses: LocalAddresses,
    /// Who wants a tuple, and what there.
    claims: BTreeMap<Tuple, Few<Claimant, Claim>>,
    tuples_of: BTreeMap<ObjectName, Few<Tuple, Claimant>>,
    /// How many virtual services a local backend serves.
    hairpin_users: BTreeMap<IpAddr, usize>,
    firewall: bool,
    /// Of all virtual services together: to count them would be a walk through all for each change.
    backends: usize,
    state: State,
}

impl Wanted {
    /// Nothing wanted yet, on a node that is so.
    pub fn new(node: NodeFacts, local_addresses: LocalAddresses, settings: &Settings) -> Self {
        let mut wanted = Self { node, local_addresses, ..Self::default() };
        wanted.state.packets.program = Some(Program::new(&wanted.node, settings));
        wanted
    }

    /// Virtual addresses expose their Services only.
    pub fn expose_services_only(&mut self) {
        self.firewall = true;
        let program = &mut self.state.packets.program;
        *program = program.take().map(Program::with_firewall);
    }

    /// These are the pods of this node outside of its pod ranges.
    pub fn set_pods(&mut self, pods: BTreeSet<IpAddr>) {
        self.state.packets.pods = pods;
    }

    /// The device of the node that has `address` as its own.
    pub(super) fn device_of(&self, address: IpAddr) -> Option<&str> {
        self.local_addresses.own.get(&address).map(String::as_str)
    }

    /// The desired state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The Service that gets a tuple.
    pub fn owner(&self, tuple: &Tuple) -> Option<&ObjectName> {
        self.claims.get(tuple)?.keys().next().map(|claimant| &claimant.name)
    }

    /// Number of Services that want something.
    pub fn services(&self) -> usize {
        self.tuples_of.len()
    }

    /// Leaves no room for more, as once all Services are there.
    pub(super) fn pack(&mut self) {
        pack(&mut self.claims);
        pack(&mut self.tuples_of);
        self.state.pack();
    }

    /// Number of backends of all virtual services.
    pub fn backends(&self) -> usize {
        self.backends
    }

    /// The tuples that `name` wants but another Service gets.
    pub fn lost<'a>(&'a self, name: &'a ObjectName) -> impl Iterator<Item = (&'a Tuple, &'a ObjectName)> {
        self.tuples_of
            .get(name)
            .into_iter()
            .flat_map(Few::keys)
            .filter_map(|tuple| Some((tuple, self.owner(tuple)?)))
            .filter(move |(_, owner)| *owner != name)
    }

    /// Replaces what a Service wants; what of the state that touches.
    pub fn set(&mut self, name: &ObjectName, wish: Option<&Wish>) -> Touched {
        let mut new = BTreeMap::new();
        for (since, wanted) in
            wish.into_iter().flat_map(|wish| wish.virtuals.iter().map(|one| (wish.since, one)))
        {
            for (tuple, claim) in self.claims_of(wanted) {
                let claimant = Claimant { origin: wanted.origin, since, name: name.clone() };
                // A Service cannot be in conflict with itself but by an address that it has twice.
                new.entry(tuple).or_insert((claimant, claim));
            }
        }
        let mut touched = Touched::default();
        let tuples = new.iter().map(|(tuple, (claimant, _))| (*tuple, claimant.clone())).collect();
        let old = self.tuples_of.insert(name.clone(), tuples).unwrap_or_default();
        if new.is_empty() {
            self.tuples_of.remove(name);
        }
        for (tuple, claimant) in old {
            // One that comes in under another rank leaves its old place in the same step.
            let claim = new.remove(&tuple);
            self.put(tuple, Some(&claimant), claim, &mut touched);
        }
        for (tuple, claim) in new {
            self.put(tuple, None, Some(claim), &mut touched);
        }
        touched.rivals.remove(name);
        touched
    }

    fn claims_of(&self, wanted: &VirtualService) -> Vec<(Tuple, Claim)> {
        let (on_device, addresses) = match wanted.at {
            At::Virtual(address) if self.device_of(address).is_some() => return Vec::new(),
            // An address that another device has must not be given to the dummy device: its route would go with ours.
            At::Virtual(address) => (!self.local_addresses.all.contains(&address), vec![address]),
            At::Node(address) => (false, vec![address]),
            At::EveryAddress(family) => (false, self.addresses_of(family)),
        };
        let tuple = |address| Tuple { address, protocol: wanted.protocol.number(), port: wanted.port };
        addresses.into_iter().map(tuple).map(|tuple| (tuple, Claim { on_device, ..claim(wanted) })).collect()
    }

    fn addresses_of(&self, family: Family) -> Vec<IpAddr> {
        let addresses = self.local_addresses.for_node_ports.iter().copied();
        addresses.filter(|address| Family::of(*address) == family).collect()
    }

    fn put(
        &mut self,
        tuple: Tuple,
        old: Option<&Claimant>,
        new: Option<(Claimant, Claim)>,
        touched: &mut Touched,
    ) {
        let claims = self.claims.entry(tuple).or_default();
        let before = claims.first_key_value().map(|(_, claim)| claim.clone());
        if let Some(old) = old {
            claims.remove(old);
        }
        touched.rivals.extend(claims.keys().map(|claimant| claimant.name.clone()));
        if let Some((claimant, claim)) = new {
            claims.insert(claimant, claim);
        }
        let after = claims.first_key_value().map(|(_, claim)| claim.clone());
        if claims.is_empty() {
            self.claims.remove(&tuple);
        }
        if before == after {
            return;
        }
        touched.tuples.insert(tuple);
        self.count_hairpin(before.as_ref(), after.as_ref(), touched);
        self.renew(tuple, after);
    }

    /// Writes what the winner of a tuple wants into the state.
    fn renew(&mut self, tuple: Tuple, winner: Option<Claim>) {
        let state = &mut self.state;
        let gone = state.services.remove(&tuple);
        self.backends -= gone.map_or(0, |balanced| balanced.destinations.len());
        state.packets.tuples.remove(&tuple);
        state.packets.refused.remove(&tuple);
        let gate = winner.as_ref().and_then(|claim| claim.gate.as_deref()).cloned();
        state.packets.gates.set(tuple, gate.unwrap_or_default());
        if let Some(claim) = winner {
            if claim.balanced.destinations.is_empty() {
                state.packets.refused.insert(tuple, claim.refusal);
            }
            state.packets.tuples.insert(tuple);
            self.backends += claim.balanced.destinations.len();
            state.services.insert(tuple, claim.balanced);
        }
        let (first, last) = Tuple::bounds(tuple.address);
        let claims = self.claims.range(first..=last).filter_map(|(_, claims)| claims.values().next());
        if claims.into_iter().any(|claim| claim.on_device) {
            let source = self.node.address(Family::of(tuple.address));
            self.state.vips.insert(tuple.address, Vip::wanted(tuple.address, source));
            if self.firewall {
                self.state.packets.exposed.insert(tuple.address);
            }
        } else {
            self.state.vips.remove(&tuple.address);
            self.state.packets.exposed.remove(&tuple.address);
        }
    }

    fn count_hairpin(&mut self, before: Option<&Claim>, after: Option<&Claim>, touched: &mut Touched) {
        for address in after.into_iter().flat_map(Claim::local) {
            *self.hairpin_users.entry(*address).or_insert(0) += 1;
            if self.state.packets.hairpin.insert(*address) {
                touched.hairpin.insert(*address);
            }
        }
        for address in before.into_iter().flat_map(Claim::local) {
            let Some(users) = self.hairpin_users.get_mut(address) else { continue };
            *users -= 1;
            if *users == 0 {
                self.hairpin_users.remove(address);
                self.state.packets.hairpin.remove(address);
                touched.hairpin.insert(*address);
            }
        }
    }
}

fn claim(wanted: &VirtualService) -> Claim {
    let backends = &wanted.backends.by_socket;
    let destinations = backends.iter().map(|(socket, backend)| (*socket, Some(backend.weight))).collect();
    let local = backends.iter().filter(|(_, backend)| backend.local).map(|(socket, _)| socket.ip());
    let local: BTreeSet<IpAddr> = local.collect();
    Claim {
        on_device: false,
        balanced: Arc::new(Balanced { scheduling: Some(wanted.scheduling), destinations }),
        refusal: wanted.backends.refusal,
        gate: wanted.gate.clone(),
        local: (!local.is_empty()).then(|| Box::new(local)),
    }
}
