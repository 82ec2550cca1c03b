//! Objects as short as a test wants to say them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prefix::Family;

use super::super::desired::{Key, Services, Value, VirtualService, Wish};
use super::super::state::Tuple;
use super::super::{Settings, desired::At};
use crate::cluster::objects::{
    Endpoint, EndpointSlice, Hints, Node, ObjectName, Protocol, Service, ServicePort, SlicePort,
};
use crate::cluster::{Event, Index, Object};
use crate::runner::Plane;

pub(in crate::services) const NODE: &str = "n1";

pub(in crate::services) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(in crate::services) fn name(text: &str) -> ObjectName {
    ObjectName::new("default", text)
}

pub(in crate::services) fn node() -> Node {
    Node {
        name: NODE.into(),
        pod_cidrs: vec!["10.1.1.0/24".parse().unwrap(), "fd00:1:1::/64".parse().unwrap()],
        internal_addresses: vec![ip("192.0.2.11"), ip("2001:db8::11")],
        ..Node::default()
    }
}

pub(in crate::services) fn port(protocol: Protocol, number: u16, node_port: Option<u16>) -> ServicePort {
    ServicePort { name: "p".into(), protocol, port: number, node_port }
}

/// A ClusterIP Service with TCP port 80.
pub(in crate::services) fn service(text: &str, cluster_ip: &str) -> Service {
    Service {
        name: name(text),
        cluster_ips: vec![ip(cluster_ip)],
        ports: vec![port(Protocol::Tcp, 80, None)],
        ..Service::default()
    }
}

/// A ready endpoint on another node.
pub(in crate::services) fn ready(address: &str) -> Endpoint {
    Endpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some("n2".into()),
        hints: None,
    }
}

/// A ready endpoint elsewhere that is meant for these zones and nodes.
pub(super) fn hinted(address: &str, zones: &[&str], nodes: &[&str]) -> Endpoint {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let hints = Hints { zones: names(zones), nodes: names(nodes) };
    Endpoint { hints: Some(Box::new(hints)), ..ready(address) }
}

/// An endpoint that is about to end but still serves.
pub(in crate::services) fn ending(address: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..ready(address) }
}

/// The same on this node.
pub(in crate::services) fn here(endpoint: Endpoint) -> Endpoint {
    Endpoint { node: Some(NODE.into()), ..endpoint }
}

/// A slice of a Service that serves TCP and UDP at 8080 under the port name `p`.
pub(in crate::services) fn slice(service: &str, suffix: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let family = endpoints.first().map(|endpoint| endpoint.address);
    EndpointSlice {
        name: name(&format!("{service}-{suffix}")),
        service: Some(name(service)),
        family: family.map_or(Family::V4, Family::of),
        ports: [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .map(|protocol| SlicePort { name: "p".into(), protocol, number: Some(8080) })
            .to_vec(),
        endpoints,
    }
}

pub(in crate::services) fn index(objects: Vec<Object>) -> Index {
    let mut index = Index::new(NODE);
    index.apply(Event::Upsert(Object::Node(node())));
    for object in objects {
        index.apply(Event::Upsert(object));
    }
    index
}

/// What all of it should be, with these settings.
pub(super) fn desired_with(settings: Settings, index: &Index) -> BTreeMap<Key, Value> {
    let plane = Services::new(settings);
    plane.keys(index).into_iter().filter_map(|key| Some((key.clone(), plane.desired(index, &key)?))).collect()
}

pub(super) fn tuple(address: &str, protocol: u8, port: u16) -> Tuple {
    Tuple { address: ip(address), protocol, port }
}

/// What the Service `web` wants, with these settings.
pub(in crate::services) fn wish_with(settings: Settings, index: &Index) -> Wish {
    match Services::new(settings).desired(index, &Key::Service(name("web"))) {
        Some(Value::Service(wish)) => wish,
        other => panic!("no wish but {other:?}"),
    }
}

pub(in crate::services) fn wish(index: &Index) -> Wish {
    wish_with(Settings::default(), index)
}

/// The virtual service at that place and port.
pub(in crate::services) fn at(wish: &Wish, at: At, port: u16) -> &VirtualService {
    let found = wish.virtuals.iter().find(|found| found.at == at && found.port == port);
    found.unwrap_or_else(|| panic!("nothing at {at:?} port {port} in {wish:?}"))
}
