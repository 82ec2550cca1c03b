//! The objects of a cluster, and the addresses that answer.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::bench::api::{Api, Kind};
use crate::bench::world::{NODE_ADDRESS, SERVER, World, ip, nft, on};

/// The node under test.
pub(super) const NODE: &str = "node1";
/// The addresses of its pods.
pub(super) const PODS: &str = "10.244.0.0/16";
/// The addresses of Services.
pub(super) const SERVICES: &str = "10.96.0.0/12";
/// The addresses of endpoints that answer, all of them in the namespace of the server.
const ENDPOINTS: Ipv4Addr = Ipv4Addr::new(10, 245, 0, 0);
/// How many there are.
const MOST: usize = 1 << 16;
/// Of those that do not: the server refuses at once.
const DEAD_RANGE: &str = "10.246.0.0/16";
const DEAD: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 246, 0, 1), Ipv4Addr::new(10, 246, 0, 2)];

/// The port of Services, and that of endpoints.
const PORT: u16 = 80;
pub(super) const TARGET: u16 = 8080;
/// How many endpoints an EndpointSlice has, as the controller's.
pub(super) const SLICE: usize = 100;

/// Where the API server is asked for by pods.
pub(super) const KUBERNETES: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 1), PORT);
/// The Service one of whose endpoints changes.
pub(super) const FLIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 20), PORT);
/// The Service with many endpoints.
pub(super) const MANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 30), PORT);

/// Makes a node whose server answers on all addresses of endpoints.
pub(super) fn world(name: &str) -> Result<World> {
    let world = World::new(name)?;
    let ranges = [format!("{ENDPOINTS}/16"), DEAD_RANGE.to_owned()];
    on(&world.server(), || {
        nft("add table ip dead")?;
        nft("add chain ip dead input { type filter hook input priority 0; }")?;
        nft(&format!(
            "add rule ip dead input ip daddr {DEAD_RANGE} tcp dport {TARGET} reject with tcp reset"
        ))?;
        ranges.iter().try_for_each(|range| ip(&format!("route add local {range} dev lo")))
    })?;
    world.inside(|| {
        ranges.iter().try_for_each(|range| ip(&format!("route add {range} via {SERVER} dev server onlink")))
    })?;
    Ok(world)
}

/// The address of a Service by its number.
pub(super) fn vip(number: usize) -> SocketAddrV4 {
    SocketAddrV4::new(plus(Ipv4Addr::new(10, 97, 0, 0), number), PORT)
}

/// An endpoint by its number.
pub(super) fn endpoint(number: usize) -> Ipv4Addr {
    plus(ENDPOINTS, number % MOST)
}

fn plus(first: Ipv4Addr, number: usize) -> Ipv4Addr {
    (u32::from(first) + u32::try_from(number).unwrap_or(0)).into()
}

/// A node, the API server's Service, the one that changes, and so many of two endpoints.
pub(super) fn cluster(services: usize) -> Result<Vec<(Kind, Value)>> {
    ensure!(2 * services < MOST, "there are addresses for {} Services", MOST / 2 - 1);
    let mut objects = vec![node()];
    objects.extend(["default", "bench", "kube-system"].map(|name| {
        (
            Kind::Namespace,
            json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}),
        )
    }));
    objects.extend([
        service("default", "kubernetes", KUBERNETES),
        slice("default", "kubernetes", 0, &[endpoint(MOST - 1)]),
    ]);
    objects.extend([service("bench", "flip", FLIP), flip(false)]);
    objects.extend((0..services).flat_map(|number| {
        let name = format!("s{number}");
        let endpoints = [endpoint(2 * number), endpoint(2 * number + 1)];
        [service("bench", &name, vip(number)), slice("bench", &name, 0, &endpoints)]
    }));
    Ok(objects)
}

/// The EndpointSlice of the Service that changes: none of its two endpoints answers, or one does.
pub(super) fn flip(answers: bool) -> (Kind, Value) {
    slice("bench", "flip", 0, &[DEAD[0], if answers { endpoint(MOST - 2) } else { DEAD[1] }])
}

/// The Service with so many endpoints, which the cluster has beside the others.
pub(super) fn many(endpoints: usize) -> Result<Vec<(Kind, Value)>> {
    ensure!(endpoints + 1000 < MOST, "there are addresses for {} endpoints", MOST - 1001);
    let mut objects = vec![service("bench", "many", MANY)];
    objects.extend((0..endpoints.div_ceil(SLICE)).map(|number| slice_of_many(endpoints, number, 0)));
    Ok(objects)
}

/// One slice of the many, the first `replaced` of whose endpoints are others than at first.
pub(super) fn slice_of_many(endpoints: usize, number: usize, replaced: usize) -> (Kind, Value) {
    let first = number * SLICE;
    let own = first..(first + SLICE).min(endpoints);
    let address =
        |number: usize| endpoint(if number < first + replaced { endpoints + number } else { number });
    slice("bench", "many", number, &own.map(address).collect::<Vec<_>>())
}

/// Tells the API server of several objects.
pub(super) fn put(api: &Api, (kind, object): (Kind, Value)) -> Result<()> {
    api.put(kind, object)
}

fn node() -> (Kind, Value) {
    let object = json!({
        "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}},
        "spec": {"podCIDR": PODS, "podCIDRs": [PODS]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS.to_string()}, {"type": "Hostname", "address": NODE}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    (Kind::Node, object)
}

fn service(namespace: &str, name: &str, address: SocketAddrV4) -> (Kind, Value) {
    let object = json!({
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}")},
        "spec": {
            "type": "ClusterIP", "clusterIP": address.ip().to_string(), "clusterIPs": [address.ip().to_string()],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "ports": [{"name": "http", "protocol": "TCP", "port": address.port(), "targetPort": TARGET}],
        },
        "status": {"loadBalancer": {}},
    });
    (Kind::Service, object)
}

fn slice(namespace: &str, service: &str, number: usize, addresses: &[Ipv4Addr]) -> (Kind, Value) {
    let endpoint = |address: &Ipv4Addr| {
        json!({
            "addresses": [address.to_string()], "nodeName": "node2",
            "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    let object = json!({
        "metadata": {
            "name": format!("{service}-{number}"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "bench"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": TARGET}],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
    });
    (Kind::EndpointSlice, object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(object: &Value) -> Vec<&str> {
        let endpoints = object["endpoints"].as_array().unwrap();
        endpoints.iter().map(|endpoint| endpoint["addresses"][0].as_str().unwrap()).collect()
    }

    #[test]
    fn a_roll_replaces_one_endpoint_after_the_other_by_new_ones() {
        let (before, after) = (slice_of_many(250, 1, 0).1, slice_of_many(250, 1, 1).1);
        let (before, after) = (addresses(&before), addresses(&after));
        assert_eq!((before.len(), before[0], after[0]), (100, "10.245.0.100", "10.245.1.94"));
        assert_eq!(before[1..], after[1..]);
        assert_eq!(addresses(&slice_of_many(250, 2, 0).1).len(), 50);
    }

    #[test]
    fn a_flip_makes_one_of_two_endpoints_answer() {
        assert_eq!(addresses(&flip(false).1), ["10.246.0.1", "10.246.0.2"]);
        assert_eq!(addresses(&flip(true).1), ["10.246.0.1", "10.245.255.254"]);
    }

    #[test]
    fn more_services_than_addresses_are_refused() {
        assert!(cluster(40_000).is_err());
    }
}
