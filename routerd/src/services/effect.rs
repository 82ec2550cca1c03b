//! What a plan makes of a state when every write of it succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::ipvs::Command;

use super::plan::{PacketChange, Plan, VipStep};
use super::scheduling::Scheduling;
use super::state::{Balanced, Packets, State, Tuple, Vip, weight_of};

impl Plan {
    /// Does to `state` what the kernel does when the plan is written to it.
    pub fn apply_to(&self, state: &mut State) {
        apply_packets(&self.announce, &mut state.packets);
        for command in self.balance.iter().chain(&self.unbalance) {
            apply_command(command, &mut state.services);
        }
        for step in &self.vips {
            apply_step(*step, &mut state.vips);
        }
        apply_packets(&self.withdraw, &mut state.packets);
    }
}

/// A change of our part of the nft table.
pub(super) fn apply_packets(change: &PacketChange, packets: &mut Packets) {
    if change.program.is_some() {
        packets.program.clone_from(&change.program);
    }
    for tuple in &change.unrefuse {
        packets.refused.remove(tuple);
    }
    packets.refused.extend(&change.refuse);
    renew(&mut packets.tuples, &change.remove_tuples, &change.add_tuples);
    renew(&mut packets.hairpin, &change.remove_hairpin, &change.add_hairpin);
    renew(&mut packets.pods, &change.remove_pods, &change.add_pods);
    renew(&mut packets.exposed, &change.hide, &change.expose);
    change.gates.apply_to(&mut packets.gates);
}

fn renew<T: Ord + Copy>(set: &mut BTreeSet<T>, gone: &BTreeSet<T>, new: &BTreeSet<T>) {
    for one in gone {
        set.remove(one);
    }
    set.extend(new);
}

/// A command that the kernel has done.
pub(super) fn apply_command(command: &Command, services: &mut BTreeMap<Tuple, Arc<Balanced>>) {
    let Some(tuple) = command.service().and_then(|key| Tuple::of(&key)) else { return };
    match command {
        Command::AddService(service) => {
            services.insert(tuple, Arc::new(Balanced::of(service)));
        }
        Command::DeleteService(_) => _ = services.remove(&tuple),
        _ => {
            if let Some(balanced) = services.get_mut(&tuple) {
                apply_change(command, Arc::make_mut(balanced));
            }
        }
    }
}

fn apply_change(command: &Command, balanced: &mut Balanced) {
    match command {
        Command::SetService(service) => balanced.scheduling = Scheduling::of_kernel(service),
        Command::AddDestination(_, destination) | Command::SetDestination(_, destination) => {
            balanced.destinations.insert(destination.socket(), weight_of(destination));
        }
        Command::DeleteDestination(_, socket) => _ = balanced.destinations.remove(socket),
        Command::AddService(_) | Command::DeleteService(_) | Command::SetTimeouts(_) => {}
    }
}

/// A change of the dummy device or the `local` table, as traced on kernel 6.12.
pub(super) fn apply_step(step: VipStep, vips: &mut BTreeMap<std::net::IpAddr, Vip>) {
    let address = step.address();
    let vip = vips.entry(address).or_default();
    match step {
        VipStep::AddAddress(_) => {
            vip.on_device = true;
            vip.kernel_route = true;
        }
        VipStep::DeleteAddress(_) => {
            vip.on_device = false;
            vip.kernel_route = false;
        }
        VipStep::SetRoute(_, source) => {
            if address.is_ipv4() && vip.source.is_none() {
                vip.kernel_route = false;
            }
            vip.source = Some(source);
        }
        VipStep::DeleteRoute(_) => vip.source = None,
        VipStep::DeleteKernelRoute(_) => vip.kernel_route = false,
    }
    if *vip == Vip::default() {
        vips.remove(&address);
    }
}
