//! Which external addresses of a Service are taken.
//!
//! Whoever may write a Service could otherwise draw any address's traffic to this node (CVE-2020-8554), so an address
//! must lie in the ranges the administrator gave.

use std::net::IpAddr;

use prefix::Prefix;

use super::Settings;
use crate::cluster::objects::{Service, ServiceKind};

const SKIP_LOAD_BALANCER: &str = "kube-router.io/service.skiplbips";

/// External and load balancer addresses of `service` that may be programmed, and what is wrong with the others.
pub(super) fn addresses(settings: &Settings, service: &Service, problems: &mut Vec<String>) -> Vec<IpAddr> {
    let mut taken: Vec<IpAddr> = Vec::new();
    let mut check = |field: &str, flag: &str, ranges: &[Prefix], addresses: &[IpAddr]| {
        for address in addresses {
            match refusal(settings, flag, ranges, *address) {
                None if taken.contains(address) => {}
                None => taken.push(*address),
                Some(reason) => problems.push(format!("{field}: {address} is not programmed: {reason}")),
            }
        }
    };
    check(
        "spec.externalIPs",
        "--service-external-ip-range",
        &settings.external_ranges,
        &service.external_ips,
    );
    let skipped = service.annotations.contains_key(SKIP_LOAD_BALANCER);
    if service.kind == ServiceKind::LoadBalancer && !skipped {
        check(
            "status.loadBalancer.ingress",
            "--loadbalancer-ip-range",
            &settings.load_balancer_ranges,
            &service.load_balancer_ips,
        );
    }
    taken
}

fn refusal(settings: &Settings, flag: &str, ranges: &[Prefix], address: IpAddr) -> Option<String> {
    if settings.any_external_address {
        return None;
    }
    if let Some(range) = settings.cluster_ranges.iter().find(|range| range.contains(address)) {
        return Some(format!("it lies in the range {range} of cluster addresses"));
    }
    if ranges.is_empty() {
        return Some(format!("no range for such addresses is given ({flag})"));
    }
    (!ranges.iter().any(|range| range.contains(address)))
        .then(|| format!("it lies in no range that {flag} allows"))
}
