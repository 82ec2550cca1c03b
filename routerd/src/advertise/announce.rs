//! What the speaker announces: this node's pods, and the virtual addresses of Services that it serves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp::{Announcement, Audience, Communities};
use prefix::{Family, Prefix};

use super::annotations::parse_communities;
use super::desired::Advertise;
use crate::cluster::Index;
use crate::cluster::objects::{Node, ObjectName, Service};
use crate::config::AdvertiseConfig;
use crate::runner::Plane as _;
use crate::services::desired::{At, Key as ServiceKey, Origin, Value as ServiceValue, VirtualService};

/// Of kube-router: `true` or `false` for one Service, whatever the flag says.
const CLUSTER: &str = "kube-router.io/service.advertise.clusterip";
const EXTERNAL: &str = "kube-router.io/service.advertise.externalip";
const BALANCER: &str = "kube-router.io/service.advertise.loadbalancerip";
/// Ours: communities of one Service's addresses, as the Node's annotation has them.
const COMMUNITIES: &str = "kube-router.io/service.bgp.communities";
/// Kubernetes' label of a node that load balancers are to leave alone (KEP-1143).
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

type Announcements = BTreeMap<Prefix, Announcement>;

/// A prefix of this node's pods, or of all ClusterIPs; `None` if it is neither (any longer).
pub(super) fn prefix(
    plane: &Advertise,
    own: &Node,
    prefix: &Prefix,
) -> Option<Result<Announcements, String>> {
    let settings = &plane.bgp.advertise;
    let audience = if own.pod_cidrs.contains(prefix) {
        if settings.pod_cidrs { Audience::Everybody } else { Audience::Internal }
    } else if settings.service_ranges.contains(prefix) && !own.labels.contains_key(EXCLUDED) {
        Audience::External
    } else {
        return None;
    };
    let next_hop = next_hop(own, prefix.family(), "these addresses");
    Some(next_hop.map(|hop| [(*prefix, Announcement { audience, ..Announcement::via(hop) })].into()))
}

fn next_hop(own: &Node, family: Family, what: &str) -> Result<IpAddr, String> {
    own.address(family).ok_or_else(|| {
        format!("this node has no {family} address in its status, so others have no way to {what}")
    })
}

/// The virtual addresses of a Service that are to be announced: those that this node serves with an endpoint that takes new
/// connections, by the traffic policy of each.
pub(super) fn service(
    plane: &Advertise,
    index: &Index,
    own: &Node,
    name: &ObjectName,
) -> Option<Result<Announcements, String>> {
    let service = index.services().get(name)?;
    let wanted = Wanted::of(&plane.bgp.advertise, service);
    if !wanted.any() || own.labels.contains_key(EXCLUDED) {
        return None;
    }
    let ServiceValue::Service(wish) = plane.services.desired(index, &ServiceKey::Service(name.clone()))?
    else {
        return None;
    };
    let served = wish.virtuals.iter().filter(|one| wanted.origin(one.origin) && takes_connections(one));
    let addresses = served.filter_map(|one| match one.at {
        At::Virtual(address) => Some(address),
        // The node's own addresses are known to others as such.
        At::Node(_) | At::EveryAddress(_) => None,
    });
    Some(announcements(plane, own, service, addresses))
}

fn announcements(
    plane: &Advertise,
    own: &Node,
    service: &Service,
    addresses: impl Iterator<Item = IpAddr>,
) -> Result<Announcements, String> {
    let communities = communities(service)?;
    let mut all = Announcements::new();
    for address in addresses.filter(|address| plane.families.contains(&Family::of(*address))) {
        let next_hop = next_hop(own, Family::of(address), "its address")?;
        let (audience, communities) = (Audience::External, communities.clone());
        let announcement = Announcement { audience, communities, ..Announcement::via(next_hop) };
        all.insert(Prefix::host(address), announcement);
    }
    Ok(all)
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
