//! IPVS services: which are ours or kube-router's, and what is said of all others.
//!
//! Ours are those whose tuple or mark is in our nft table. kube-router notes nothing, so of its own only what stands around
//! them tells: the addresses on its device, its rules by mark, and the node's own addresses with ports that Kubernetes keeps
//! for Services. So this comes before the device and the rules go. kube-router's own clean-up empties all of IPVS.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::ipvs::{Command, DestinationEntry, Forwarding, Ipvs, ServiceKey};
use kernel::nft::Nft;
use kernel::rtnl::Rtnl;
use prefix::Family;

use super::report::Report;
use super::routes;
use crate::services::DUMMY_DEVICE;
use crate::services::dsr::own_marks;
use crate::services::linux::{around, own_tuples};
use crate::services::state::Tuple;

/// What tells whose a service is.
#[derive(Debug, Default)]
struct Signs {
    /// Those in our nft table.
    tuples: BTreeSet<Tuple>,
    /// Those in our nft table, and those that rules for kube-router's table of direct return ask for.
    marks: BTreeSet<u32>,
    /// The addresses on the dummy device.
    virtual_addresses: BTreeSet<IpAddr>,
    /// The node's own addresses, if Services are carried on it with the dummy device, and not by kube-proxy as well.
    node_addresses: BTreeSet<IpAddr>,
    /// First and last port that Kubernetes keeps for Services at them.
    node_ports: (u16, u16),
}

/// Removes the services that are ours or kube-router's, with their destinations, and says of all others what to do.
/// `false` if one may be left: then what tells whose it is has to stay.
pub(super) fn remove(
    nft: Option<&mut Nft>,
    rtnl: &mut Rtnl,
    node_ports: (u16, u16),
    report: &mut Report,
) -> bool {
    let mut ipvs = match Ipvs::open() {
        Ok(ipvs) => ipvs,
        // No IPVS, no services of it.
        Err(error) if error.is_not_found() => return true,
        Err(error) => {
            report.problems.push(error.to_string());
            return false;
        }
    };
    let Some(services) = report.value(ipvs.services()) else { return false };
    if services.is_empty() {
        return true;
    }
    let Some(signs) = signs(nft, rtnl, node_ports, report) else { return false };
    let mut ours = Vec::new();
    for key in services.iter().map(|entry| entry.service.key) {
        match signs.why_not(&key, || masquerades(&mut ipvs, &key)) {
            None => ours.push(key),
            Some(why) => report.kept.push(format!(
                "left the IPVS service {key}: {why}; if it is kube-router's, `{}` removes it",
                removal(&key)
            )),
        }
    }
    let commands: Vec<Command> = ours.iter().map(|key| Command::DeleteService(*key)).collect();
    let outcomes = ipvs.change_all(&commands);
    let gone =
        ours.iter().zip(outcomes).map(|(key, outcome)| report.gone(format!("IPVS service {key}"), outcome));
    // Every one of them, so no short cut.
    gone.fold(true, |all, one| all & one)
}

/// True if all destinations are reached as those of a node port are.
fn masquerades(ipvs: &mut Ipvs, key: &ServiceKey) -> bool {
    let is = |entry: DestinationEntry| entry.destination.forwarding == Forwarding::Masquerade;
    ipvs.destinations(key).is_ok_and(|destinations| destinations.into_iter().all(is))
}

fn signs(
    nft: Option<&mut Nft>,
    rtnl: &mut Rtnl,
    node_ports: (u16, u16),
    report: &mut Report,
) -> Option<Signs> {
    let mut signs = Signs { node_ports, marks: routes::direct_marks(rtnl, report), ..Signs::default() };
    if let Some(nft) = nft {
        signs.tuples = report.value(own_tuples(nft))?;
        signs.marks.append(&mut report.value(own_marks(nft))?);
    }
    if let Some(around) = report.value(around(rtnl))? {
        signs.virtual_addresses = around.virtual_addresses;
        signs.node_addresses = around.node_addresses;
    }
    Some(signs)
}

impl Signs {
    /// Why the service stays, if it does.
    fn why_not(&self, key: &ServiceKey, masquerades: impl FnOnce() -> bool) -> Option<String> {
        let Some(tuple) = Tuple::of(key) else { return self.why_not_by_mark(key) };
        if self.tuples.contains(&tuple) || self.virtual_addresses.contains(&tuple.address) {
            return None;
        }
        if !self.node_addresses.contains(&tuple.address) {
            return Some(format!("{} is not on {DUMMY_DEVICE}", tuple.address));
        }
        let (first, last) = self.node_ports;
        if !(first..=last).contains(&tuple.port) {
            return Some(format!("it is at the node's address, but no node port ({first} to {last})"));
        }
        (!masquerades()).then(|| "it has a node port, but forwards otherwise than these".to_owned())
    }

    fn why_not_by_mark(&self, key: &ServiceKey) -> Option<String> {
        let known = matches!(key, ServiceKey::Mark { mark, .. } if self.marks.contains(mark));
        (!known).then(|| "no rule leads this mark to the table of direct server return".to_owned())
    }
}

/// How to remove it by hand.
fn removal(key: &ServiceKey) -> String {
    match key {
        ServiceKey::Mark { family, mark } => {
            format!("ipvsadm -D -f {mark}{}", if *family == Family::V6 { " -6" } else { "" })
        }
        ServiceKey::Address { protocol, .. } => {
            let option = match protocol {
                17 => "-u",
                132 => "--sctp-service",
                _ => "-t",
            };
            let socket = Tuple::of(key).map(|tuple| tuple.socket().to_string()).unwrap_or_default();
            format!("ipvsadm -D {option} {socket}")
        }
    }
}
