//! From what is to what should be: the writes and their order, pure.
//!
//! What is added goes in by the order nft, IPVS, addresses; what is taken away goes by addresses, IPVS, nft. So packets
//! come to an address only when all behind it stands, and the tuple, by which a later run knows a virtual service as
//! ours, is there as long as the service is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kernel::ipvs::{Command, Destination};

use super::Few;
use super::gates::GateChange;
use super::program::Program;
use super::state::{Balanced, Packets, Refusal, State, Tuple, Vip};
use super::wanted::Touched;

/// The IP protocol number of UDP, whose clients conntrack holds to a backend that is gone.
pub(super) const UDP: u8 = 17;

/// Which parts of the states are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of them.
    Everything,
    /// These; the rest is as it was left.
    Only(Touched),
}

/// A change of our part of the nft table: one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PacketChange {
    /// Chains, rules and sets, if they are not as they should be.
    pub program: Option<Program>,
    /// Tuples to add.
    pub add_tuples: BTreeSet<Tuple>,
    /// Tuples to remove.
    pub remove_tuples: BTreeSet<Tuple>,
    /// Refusals to add. One that is there with another answer is in `unrefuse` too, which comes first.
    pub refuse: BTreeMap<Tuple, Refusal>,
    /// Refusals to remove.
    pub unrefuse: BTreeSet<Tuple>,
    /// Backends to add to the hairpin set.
    pub add_hairpin: BTreeSet<IpAddr>,
    /// Backends to remove from it.
    pub remove_hairpin: BTreeSet<IpAddr>,
    /// Pods outside of the node's ranges to note.
    pub add_pods: BTreeSet<IpAddr>,
    /// Those to forget.
    pub remove_pods: BTreeSet<IpAddr>,
    /// Virtual addresses to put behind the firewall.
    pub expose: BTreeSet<IpAddr>,
    /// Those to take away from it.
    pub hide: BTreeSet<IpAddr>,
    /// Gates to take away and to add.
    pub gates: GateChange,
}

impl PacketChange {
    /// Number of writes.
    pub fn writes(&self) -> usize {
        usize::from(self.program.is_some())
            + self.add_tuples.len()
            + self.remove_tuples.len()
            + self.refuse.len()
            + self.unrefuse.len()
            + self.add_hairpin.len()
            + self.remove_hairpin.len()
            + self.add_pods.len()
            + self.remove_pods.len()
            + self.expose.len()
            + self.hide.len()
            + self.gates.writes()
    }
}

/// A change of the dummy device or the `local` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VipStep {
    /// Gives the device the address; the kernel makes a route of its own with it.
    AddAddress(IpAddr),
    /// Takes it away.
    DeleteAddress(IpAddr),
    /// Writes our route of an address with this source. For IPv4 it takes the place of the kernel's if that is the only one.
    SetRoute(IpAddr, IpAddr),
    /// Deletes our route.
    DeleteRoute(IpAddr),
    /// Deletes the kernel's route.
    DeleteKernelRoute(IpAddr),
}

impl VipStep {
    /// The virtual address.
    pub fn address(&self) -> IpAddr {
        match self {
            VipStep::AddAddress(address)
            | VipStep::DeleteAddress(address)
            | VipStep::SetRoute(address, _)
            | VipStep::DeleteRoute(address)
            | VipStep::DeleteKernelRoute(address) => *address,
        }
    }
}

/// Tracked flows to a virtual service that none of its backends answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleFlows {
    /// The virtual service.
    pub tuple: Tuple,
    /// The backends whose flows stay.
    pub keep: BTreeSet<SocketAddr>,
}

/// What is to be written, in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// nft: what is added.
    pub announce: PacketChange,
    /// IPVS: services added and changed, destinations added, changed and deleted.
    pub balance: Vec<Command>,
    /// Addresses and their routes.
    pub vips: Vec<VipStep>,
    /// IPVS: services deleted.
    pub unbalance: Vec<Command>,
    /// nft: what is removed.
    pub withdraw: PacketChange,
    /// UDP flows that would go on to backends that are gone.
    pub flows: Vec<StaleFlows>,
}

impl Plan {
    /// What makes `desired` of `observed`, as far as `extent` says and of what is ours.
    ///
    /// Ours is what is at a virtual address, one that the dummy device has or should have, and what an earlier run noted in the set of tuples. Of that,
    /// what is no longer desired is deleted, unless `excluded` says that its address belongs to somebody else.
    pub fn between(
        observed: &State,
        desired: &State,
        extent: &Extent,
        excluded: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let mut plan = Plan::default();
        let (tuples, addresses) = match extent {
            Extent::Everything => (all_tuples(observed, desired), all_addresses(observed, desired)),
            Extent::Only(touched) => {
                let addresses: BTreeSet<IpAddr> = touched.tuples.iter().map(|tuple| tuple.address).collect();
                (touched.tuples.clone(), addresses)
            }
        };
        for tuple in tuples {
            match (observed.services.get(&tuple), desired.services.get(&tuple)) {
                (Some(_), None) if excluded(tuple.address) => continue,
                (old, new) => plan.service(tuple, old.map(AsRef::as_ref), new.map(AsRef::as_ref)),
            }
            plan.packets(tuple, &observed.packets, &desired.packets);
        }
        for address in addresses {
            match (observed.vips.get(&address), desired.vips.get(&address)) {
                (Some(_), None) if excluded(address) => continue,
                (old, new) => plan.vip(address, old.copied().unwrap_or_default(), new.copied()),
            }
            plan.exposed(address, &observed.packets, &desired.packets);
        }
        plan.flows_led_elsewhere(desired);
        plan.hairpin(&observed.packets, &desired.packets, extent);
        // Few, as a rule none.
        plan.announce.add_pods = &desired.packets.pods - &observed.packets.pods;
        plan.withdraw.remove_pods = &observed.packets.pods - &desired.packets.pods;
        if observed.packets.program != desired.packets.program {
            plan.announce.program.clone_from(&desired.packets.program);
        }
        plan
    }

    /// Number of writes.
    pub fn writes(&self) -> usize {
        self.announce.writes()
            + self.withdraw.writes()
            + self.balance.len()
            + self.vips.len()
            + self.unbalance.len()
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.writes() == 0 && self.flows.is_empty()
    }

    fn service(&mut self, tuple: Tuple, old: Option<&Balanced>, new: Option<&Balanced>) {
        let key = tuple.key();
        let Some(new) = new else {
            if old.is_some() {
                self.unbalance.push(Command::DeleteService(key));
                self.forget(tuple, BTreeSet::new());
            }
            return;
        };
        match old {
            Some(old) if old.scheduling == new.scheduling => {}
            // What is wanted says how it chooses.
            _ => {
                let service = new.scheduling.map(|scheduling| scheduling.service(key));
                let command = if old.is_none() { Command::AddService } else { Command::SetService };
                self.balance.extend(service.map(command));
            }
        }
        let before = old.map(|old| &old.destinations);
        let known = |socket: &SocketAddr| before.and_then(|before| before.get(socket));
        // New ones come before old ones go, so that there is always one that takes connections.
        for (socket, weight) in new.destinations.iter() {
            let destination = Destination::masquerade(socket.ip(), socket.port(), weight.unwrap_or(0));
            match known(socket) {
                None => self.balance.push(Command::AddDestination(key, destination)),
                Some(found) if found != weight => {
                    self.balance.push(Command::SetDestination(key, destination));
                }
                Some(_) => {}
            }
        }
        let gone: Vec<SocketAddr> = before
            .into_iter()
            .flat_map(Few::keys)
            .filter(|socket| !new.destinations.contains_key(socket))
            .copied()
            .collect();
        if old.is_none() || !gone.is_empty() {
            self.forget(tuple, new.destinations.keys().copied().collect());
        }
        self.balance.extend(gone.into_iter().map(|socket| Command::DeleteDestination(key, socket)));
    }

    fn forget(&mut self, tuple: Tuple, keep: BTreeSet<SocketAddr>) {
        if tuple.protocol == UDP {
            self.flows.push(StaleFlows { tuple, keep });
        }
    }

    /// Adds the flows to these virtual services, to all of UDP if `None`, that none of their backends answers.
    pub(super) fn forget_also(&mut self, tuples: Option<BTreeSet<Tuple>>, desired: &State) {
        let of_udp = |tuple: &&Tuple| tuple.protocol == UDP;
        let tuples = tuples.unwrap_or_else(|| desired.services.keys().filter(of_udp).copied().collect());
        let known: BTreeSet<Tuple> = self.flows.iter().map(|stale| stale.tuple).collect();
        for tuple in tuples.difference(&known) {
            let backends = desired.services.get(tuple).into_iter().flat_map(|one| one.destinations.keys());
            self.forget(*tuple, backends.copied().collect());
        }
        self.flows_led_elsewhere(desired);
    }

    /// Flows of clients of this node that are led past a policy `Local` are tracked by where they were meant for, and served
    /// by the backends of where they were led.
    fn flows_led_elsewhere(&mut self, desired: &State) {
        if self.flows.is_empty() {
            return;
        }
        let backends =
            |tuple: &Tuple| desired.services.get(tuple).into_iter().flat_map(|one| one.destinations.keys());
        let stale: BTreeSet<Tuple> = self.flows.iter().map(|stale| stale.tuple).collect();
        let mut led = BTreeMap::new();
        for (from, to) in desired.packets.gates.detours.iter().filter(|(from, _)| from.protocol == UDP) {
            let to = Tuple { address: to.ip(), protocol: UDP, port: to.port() };
            if stale.contains(from) || stale.contains(&to) {
                led.insert(*from, backends(from).chain(backends(&to)).copied().collect());
            }
        }
        self.flows.retain(|stale| !led.contains_key(&stale.tuple));
        self.flows.extend(led.into_iter().map(|(tuple, keep)| StaleFlows { tuple, keep }));
    }

    fn packets(&mut self, tuple: Tuple, old: &Packets, new: &Packets) {
        match (old.tuples.contains(&tuple), new.tuples.contains(&tuple)) {
            (false, true) => _ = self.announce.add_tuples.insert(tuple),
            (true, false) => _ = self.withdraw.remove_tuples.insert(tuple),
            _ => {}
        }
        // A gate that changes does so at once; one whose virtual service goes stands until that is gone.
        let stays = new.tuples.contains(&tuple);
        let gone = if stays { &mut self.announce } else { &mut self.withdraw };
        old.gates.without(&new.gates, tuple, &mut gone.gates.remove);
        new.gates.without(&old.gates, tuple, &mut self.announce.gates.add);
        match (old.refused.get(&tuple), new.refused.get(&tuple)) {
            (Some(_), None) => _ = self.withdraw.unrefuse.insert(tuple),
            (old, Some(new)) if old != Some(new) => {
                if old.is_some() {
                    self.announce.unrefuse.insert(tuple);
                }
                self.announce.refuse.insert(tuple, *new);
            }
            _ => {}
        }
    }

    fn hairpin(&mut self, old: &Packets, new: &Packets, extent: &Extent) {
        let all;
        let addresses = match extent {
            Extent::Everything => {
                all = old.hairpin.union(&new.hairpin).copied().collect();
                &all
            }
            Extent::Only(touched) => &touched.hairpin,
        };
        for address in addresses {
            match (old.hairpin.contains(address), new.hairpin.contains(address)) {
                (false, true) => _ = self.announce.add_hairpin.insert(*address),
                (true, false) => _ = self.withdraw.remove_hairpin.insert(*address),
                _ => {}
            }
        }
    }

    fn exposed(&mut self, address: IpAddr, old: &Packets, new: &Packets) {
        match (old.exposed.contains(&address), new.exposed.contains(&address)) {
            (false, true) => _ = self.announce.expose.insert(address),
            (true, false) => _ = self.withdraw.hide.insert(address),
            _ => {}
        }
    }

    fn vip(&mut self, address: IpAddr, old: Vip, new: Option<Vip>) {
        let Some(new) = new else {
            if old.source.is_some() {
                self.vips.push(VipStep::DeleteRoute(address));
            }
            if old.on_device {
                self.vips.push(VipStep::DeleteAddress(address));
            } else if old.kernel_route {
                // Left behind by a kube-router that ended before it had deleted it.
                self.vips.push(VipStep::DeleteKernelRoute(address));
            }
            return;
        };
        match new.source {
            Some(source) if new.on_device => self.beside_address(address, old, source),
            Some(source) => self.without_address(address, old, source),
            None => self.with_kernel_route(address, old),
        }
    }

    /// The device has the address, and our route is to be the only one.
    fn beside_address(&mut self, address: IpAddr, old: Vip, source: IpAddr) {
        if !old.on_device {
            self.vips.push(VipStep::AddAddress(address));
        }
        // A kernel's route alone is replaced; of two it is open which one would be.
        if old.source.is_some() && (old.kernel_route || !old.on_device) {
            self.vips.push(VipStep::DeleteKernelRoute(address));
        }
        if old.source != Some(source) {
            self.vips.push(VipStep::SetRoute(address, source));
        }
    }

    /// There is our route and no address.
    fn without_address(&mut self, address: IpAddr, old: Vip, source: IpAddr) {
        if old.source != Some(source) {
            self.vips.push(VipStep::SetRoute(address, source));
        }
        if old.on_device {
            self.vips.push(VipStep::DeleteAddress(address));
        } else if old.kernel_route {
            self.vips.push(VipStep::DeleteKernelRoute(address));
        }
    }

    /// The node has no address that could be the source: the kernel's route is to be the only one.
    fn with_kernel_route(&mut self, address: IpAddr, old: Vip) {
        if old.source.is_some() {
            self.vips.push(VipStep::DeleteRoute(address));
        }
        if old.on_device && !old.kernel_route {
            // The kernel makes it with the address only.
            self.vips.push(VipStep::DeleteAddress(address));
        }
        if !old.on_device || !old.kernel_route {
            self.vips.push(VipStep::AddAddress(address));
        }
    }
}

/// All addresses that are on the device, should be, or are taken for one that is.
fn all_addresses(observed: &State, desired: &State) -> BTreeSet<IpAddr> {
    let vips = observed.vips.keys().chain(desired.vips.keys());
    vips.chain(&observed.packets.exposed).chain(&desired.packets.exposed).copied().collect()
}

/// The tuples of all virtual services that are ours.
fn all_tuples(observed: &State, desired: &State) -> BTreeSet<Tuple> {
    let on_device = |tuple: &&Tuple| {
        observed.vips.contains_key(&tuple.address) || desired.vips.contains_key(&tuple.address)
    };
    let stale = observed.services.keys().filter(on_device);
    let noted = observed.packets.tuples.iter().chain(observed.packets.refused.keys());
    let noted = noted.chain(observed.packets.gates.tuples());
    stale.chain(noted).chain(desired.services.keys()).copied().collect()
}
