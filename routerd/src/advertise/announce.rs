//! What the speaker announces: this node's pods, and the virtual addresses of Services that it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp::{Announcement, Audience, Communities};
use prefix::{Family, Prefix};

use super::annotations::parse_communities;
use super::desired::{Advertise, Key, Value};
use crate::cluster::Index;
use crate::cluster::objects::{Node, ObjectName, Service};
use crate::config::AdvertiseConfig;
use crate::runner::Plane as _;
use crate::services::desired::{At, Key as ServiceKey, Origin, Value as ServiceValue, VirtualService};
use crate::services::dsr;

/// Of kube-router: `true` or `false` for one Service, whatever the flag says.
const CLUSTER: &str = "kube-router.io/service.advertise.clusterip";
const EXTERNAL: &str = "kube-router.io/service.advertise.externalip";
const BALANCER: &str = "kube-router.io/service.advertise.loadbalancerip";
/// Ours: communities of one Service's addresses, as the Node's annotation has them.
const COMMUNITIES: &str = "kube-router.io/service.bgp.communities";
/// Kubernetes' label of a node that load balancers are to leave alone (KEP-1143).
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

type Announcements = BTreeMap<Prefix, Option<Announcement>>;

/// A prefix of this node's pods; `None` if it is none (any longer).
pub(super) fn pods(plane: &Advertise, own: &Node, prefix: &Prefix) -> Option<Value> {
    let audience = if plane.bgp.advertise.pod_cidrs { Audience::Everybody } else { Audience::Internal };
    own.pod_cidrs.contains(prefix).then(|| whole(own, prefix, audience))
}

/// A prefix of all ClusterIPs; `None` if it is none, or this node is to serve nobody outside.
pub(super) fn range(plane: &Advertise, own: &Node, prefix: &Prefix) -> Option<Value> {
    let wanted = plane.bgp.advertise.service_ranges.contains(prefix) && !own.labels.contains_key(EXCLUDED);
    wanted.then(|| whole(own, prefix, Audience::External))
}

fn whole(own: &Node, prefix: &Prefix, audience: Audience) -> Value {
    next_hop(own, prefix.family(), "these addresses").map_or_else(Value::Wrong, |hop| {
        Value::Announce([(*prefix, Some(Announcement { audience, ..Announcement::via(hop) }))].into())
    })
}

fn next_hop(own: &Node, family: Family, what: &str) -> Result<IpAddr, String> {
    own.address(family).ok_or_else(|| {
        format!("this node has no {family} address in its status, so others have no way to {what}")
    })
}

/// The Services whose announcement depends on whether `addresses` are in the kernel.
pub(super) fn touched(plane: &Advertise, index: &Index, addresses: &BTreeSet<IpAddr>) -> BTreeSet<Key> {
    if addresses.is_empty() {
        return BTreeSet::new();
    }
    let concerned = |service: &Service| {
        let wanted = Wanted::of(&plane.bgp.advertise, service);
        wanted.addresses(service).any(|address| addresses.contains(&address))
    };
    let services = index.services().values().filter(|service| concerned(service));
    services.map(|service| Key::Service(service.name.clone())).collect()
}

/// The virtual addresses of a Service that are to be announced, and those of them that are now: that this node serves with
/// an endpoint that takes new connections, by the traffic policy of each, and has in its kernel.
pub(super) fn service(plane: &Advertise, index: &Index, own: &Node, name: &ObjectName) -> Option<Value> {
    let service = index.services().get(name)?;
    let wanted = Wanted::of(&plane.bgp.advertise, service);
    if !wanted.any() || own.labels.contains_key(EXCLUDED) {
        return None;
    }
    let served = served(plane, index, service, &wanted);
    let in_force = |address: &IpAddr| plane.programmed_by.is_none() || index.is_in_force(address);
    let of_families = served.iter().filter(|(address, _)| plane.families.contains(&Family::of(**address)));
    let addresses = of_families.map(|(address, ready)| (*address, *ready && in_force(address)));
    (!served.is_empty()).then(|| announcements(own, service, addresses))
}

/// The addresses that may be programmed here, and whether an endpoint behind them takes new connections.
fn served(plane: &Advertise, index: &Index, service: &Service, wanted: &Wanted) -> BTreeMap<IpAddr, bool> {
    let mut served = BTreeMap::new();
    let mut add = |address, ready| *served.entry(address).or_insert(false) |= ready;
    let key = ServiceKey::Service(service.name.clone());
    if let Some(ServiceValue::Service(wish)) = plane.services.desired(index, &key) {
        for one in wish.virtuals.iter().filter(|one| wanted.origin(one.origin) && !one.gate().private) {
            // The node's own addresses are known to others as such.
            if let At::Virtual(address) = one.at {
                add(address, takes_connections(one));
            }
        }
    }
    let key = dsr::Key::Service(service.name.clone());
    if let Some(dsr::Value::Service(wish)) = plane.direct.desired(index, &key) {
        let kinds: BTreeSet<IpAddr> = wanted.addresses(service).collect();
        for (address, ready) in wish.serving().filter(|(address, _)| kinds.contains(address)) {
            add(address, ready);
        }
    }
    served
}

/// An address to which this node has no next hop is left out: those of the other family do not depend on it.
fn announcements(own: &Node, service: &Service, addresses: impl Iterator<Item = (IpAddr, bool)>) -> Value {
    let communities = match communities(service) {
        Ok(communities) => communities,
        Err(reason) => return Value::Wrong(reason),
    };
    let (mut all, mut problems) = (Announcements::new(), Vec::new());
    for (address, now) in addresses {
        let announcement = next_hop(own, Family::of(address), &address.to_string()).map(|next_hop| {
            let (audience, communities) = (Audience::External, communities.clone());
            Announcement { audience, communities, ..Announcement::via(next_hop) }
        });
        let announcement = announcement.map_err(|reason| problems.push(reason)).ok();
        all.insert(Prefix::host(address), announcement.filter(|_| now));
    }
    if problems.is_empty() { Value::Announce(all) } else { Value::Partly(all, problems.join("; ")) }
}

fn communities(service: &Service) -> Result<Communities, String> {
    let mut communities = Communities::default();
    let list = service.annotations.get(COMMUNITIES).map_or("", String::as_str);
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        parse_communities(item, &mut communities).map_err(|reason| {
            format!("annotation {COMMUNITIES}: {reason}. Without it the addresses would be announced as they must not be, so they are not")
        })?;
    }
    Ok(communities)
}

fn takes_connections(one: &VirtualService) -> bool {
    one.backends.by_socket.values().any(|backend| backend.weight > 0)
}

/// Which addresses of a Service are to be announced.
struct Wanted {
    cluster: bool,
    external: bool,
    balancer: bool,
}

impl Wanted {
    fn of(flags: &AdvertiseConfig, service: &Service) -> Self {
        // As kube-router: what cannot be read is false.
        let or =
            |key: &str, flag: bool| service.annotations.get(key).map_or(flag, |text| is_true(text.trim()));
        Self {
            cluster: or(CLUSTER, flags.cluster_ips),
            external: or(EXTERNAL, flags.external_ips),
            balancer: or(BALANCER, flags.load_balancer_ips),
        }
    }

    fn any(&self) -> bool {
        self.cluster || self.external || self.balancer
    }

    /// The addresses of the kinds that are to be announced.
    fn addresses(&self, service: &Service) -> impl Iterator<Item = IpAddr> {
        let kinds = [
            (self.cluster, &service.cluster_ips),
            (self.balancer, &service.load_balancer_ips),
            (self.external, &service.external_ips),
        ];
        kinds.into_iter().filter(|(wanted, _)| *wanted).flat_map(|(_, addresses)| addresses.iter().copied())
    }

    fn origin(&self, origin: Origin) -> bool {
        match origin {
            Origin::Cluster => self.cluster,
            Origin::External => self.external,
            Origin::Balancer => self.balancer,
            Origin::NodePort => false,
        }
    }
}

/// The spellings of Go's `ParseBool`.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}
