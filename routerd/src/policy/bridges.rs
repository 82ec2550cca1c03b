//! The devices that lead to pods of this node as neighbours: bridges, and VLANs on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use kernel::rtnl::{Address, Link, LinkKind, Rtnl};
use prefix::Prefix;

use super::key::PolicyKey;
use super::value::PolicyValue;
use crate::runner::{Problem, Scope};

/// The bridge of the pods in kube-router and in our network configuration, if it names no other.
const POD_BRIDGE: &str = "kube-bridge";

/// There once the kernel knows VLANs.
const VLANS: &str = "/proc/net/vlan";

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Bridges {
    found: BTreeSet<String>,
    /// The subnets of their addresses.
    subnets: Vec<Prefix>,
    problem: Option<Problem>,
}

impl Bridges {
    /// The names of the devices.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.found.iter().map(String::as_str).chain([POD_BRIDGE]).collect()
    }

    /// Why the last look failed.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.problem.clone()
    }

    /// Looks again if the scope may have brought a pod at a device that was not heard of.
    pub(super) fn follow(&mut self, desired: &BTreeMap<PolicyKey, PolicyValue>, scope: &Scope<PolicyKey>) {
        let is_known = |address: &IpAddr| self.subnets.iter().any(|subnet| subnet.contains(*address));
        let mut pods: Box<dyn Iterator<Item = &PolicyValue>> = match scope {
            Scope::Everything => return self.look(desired),
            Scope::Keys(keys) => Box::new(keys.iter().filter_map(|key| desired.get(key))),
        };
        if pods.any(|value| !addresses(value).all(is_known)) {
            self.look(desired);
        }
    }

    /// Finds the devices that have an address in the subnet of a pod.
    pub(super) fn look(&mut self, desired: &BTreeMap<PolicyKey, PolicyValue>) {
        let pods: BTreeSet<IpAddr> = desired.values().flat_map(addresses).copied().collect();
        match find(&pods) {
            Ok((found, subnets)) => *self = Self { found, subnets, problem: None },
            Err(error) => {
                let message = format!(
                    "the bridges of this node's pods cannot be looked for, so packets from and to link-local addresses \
                     of pods are only refused at those known before: {error}"
                );
                self.problem = Some(Problem { item: "bridges of pods".to_owned(), message, retry: true });
            }
        }
    }
}

/// The addresses of a pod of this node.
fn addresses(value: &PolicyValue) -> impl Iterator<Item = &IpAddr> {
    let pod = match value {
        PolicyValue::Pod(pod) => Some(pod),
        _ => None,
    };
    pod.into_iter().flat_map(|pod| pod.addresses.iter().chain(&pod.closed))
}

fn find(pods: &BTreeSet<IpAddr>) -> kernel::Result<(BTreeSet<String>, Vec<Prefix>)> {
    let (mut found, mut subnets) = (BTreeSet::new(), Vec::new());
    if pods.is_empty() {
        return Ok((found, subnets));
    }
    let mut rtnl = Rtnl::open()?;
    // By kind, and not all links: a pod has one each, and this is done every second.
    let bridges = rtnl.links_of_kind(&LinkKind::Bridge)?;
    let by_index: BTreeMap<u32, &Link> = bridges.iter().map(|link| (link.index, link)).collect();
    // A kernel that does not know the kind gives all links in place of none.
    let vlans = match Path::new(VLANS).exists().then(|| LinkKind::Other("vlan".to_owned())) {
        Some(kind) => rtnl.links_of_kind(&kind)?,
        None => Vec::new(),
    };
    for link in bridges.iter().chain(&vlans) {
        let below = link.peer_index.filter(|_| link.peer_netns.is_none());
        let Some(bridge) = by_index.get(&link.index).or_else(|| by_index.get(&below?)) else { continue };
        let all = rtnl.addresses(Some(link.index), None)?;
        let of_pods = |subnet: &Prefix| pods.iter().any(|pod| subnet.contains(*pod));
        let known = subnets.len();
        subnets.extend(all.iter().filter_map(Address::prefix).filter(of_pods));
        if subnets.len() > known {
            // What a bridge forwards shows the bridge as its way in, and what a VLAN's gateway takes shows the VLAN.
            found.extend([link.name.clone(), bridge.name.clone()]);
        }
    }
    Ok((found, subnets))
}
