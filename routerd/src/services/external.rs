//! Which external addresses of a Service are taken.
//!
//! Whoever may write a Service could otherwise draw any address's traffic to this node (CVE-2020-8554), so an address
//! must lie in the ranges the administrator gave. A node's own address is never taken: that would cut the nodes off from
//! each other, or open one's host ports.

use std::net::IpAddr;

use prefix::{Family, Prefix};

use super::{Settings, endpoints};
use crate::cluster::Index;
use crate::cluster::objects::{Node, Service, ServiceKind};

const SKIP_LOAD_BALANCER: &str = "kube-router.io/service.skiplbips";

/// The external addresses of a Service that may be programmed.
#[derive(Debug, Default)]
pub(super) struct External {
    /// Of its load balancer.
    pub(super) balancers: Vec<IpAddr>,
    /// Of `spec.externalIPs`, without those of its load balancer.
    pub(super) others: Vec<IpAddr>,
}

/// External and load balancer addresses of `service` that may be programmed, and what is wrong with the others.
pub(super) fn addresses(
    settings: &Settings,
    index: &Index,
    service: &Service,
    problems: &mut Vec<String>,
) -> External {
    let mut check = |field: &str, flag: &str, ranges: &[Prefix], addresses: &[IpAddr]| {
        let mut taken = Vec::new();
        for address in addresses.iter().filter(|address| !settings.is_off(Family::of(**address))) {
            match refusal(settings, index, (flag, ranges), *address) {
                None if taken.contains(address) => {}
                None => taken.push(*address),
                Some(reason) => problems.push(format!("{field}: {address} is not programmed: {reason}")),
            }
        }
        taken
    };
    let mut others = check(
        "spec.externalIPs",
        "--service-external-ip-range",
        &settings.external_ranges,
        &service.external_ips,
    );
    let skipped = service.annotations.contains_key(SKIP_LOAD_BALANCER);
    let balancers = if service.kind == ServiceKind::LoadBalancer && !skipped {
        check(
            "status.loadBalancer.ingress",
            "--loadbalancer-ip-range",
            &settings.load_balancer_ranges,
            &service.load_balancer_ips,
        )
    } else {
        Vec::new()
    };
    // The stricter of the two: a load balancer's address may have source ranges.
    others.retain(|address| !balancers.contains(address));
    External { balancers, others }
}

fn refusal(
    settings: &Settings,
    index: &Index,
    (flag, ranges): (&str, &[Prefix]),
    address: IpAddr,
) -> Option<String> {
    if let Some(why) = endpoints::unusable(address) {
        return Some(why.to_owned());
    }
    if let Some(node) = node_of(index, address) {
        return Some(format!("it is an address of Node {}", node.name));
    }
    if settings.any_external_address {
        return None;
    }
    if let Some(range) = settings.cluster_ranges.iter().find(|range| range.contains(address)) {
        return Some(format!("it lies in the range {range} of cluster addresses"));
    }
    if let Some((node, range)) = pod_range(index, address) {
        return Some(format!("it lies in the range {range} of the pods of Node {node}"));
    }
    if ranges.is_empty() {
        return Some(format!("no range for such addresses is given ({flag})"));
    }
    (!ranges.iter().any(|range| range.contains(address)))
        .then(|| format!("it lies in no range that {flag} allows"))
}

/// The node that has `address`.
pub(super) fn node_of(index: &Index, address: IpAddr) -> Option<&Node> {
    let mut nodes = index.nodes().values();
    nodes.find(|node| node.addresses().any(|own| own == address)).map(AsRef::as_ref)
}

fn pod_range(index: &Index, address: IpAddr) -> Option<(&str, Prefix)> {
    index.nodes().values().find_map(|node| {
        let range = node.pod_cidrs.iter().find(|range| range.contains(address))?;
        Some((node.name.as_str(), *range))
    })
}

/// True if an external address of `service` is one of `node`, or lies among those of its pods.
pub(super) fn concerns(node: &Node, service: &Service) -> bool {
    service.external_ips.iter().chain(&service.load_balancer_ips).any(|address| {
        node.addresses().any(|own| own == *address)
            || node.pod_cidrs.iter().any(|range| range.contains(*address))
    })
}
