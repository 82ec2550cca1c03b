//! EndpointSlices.

use k8s_openapi::api::discovery::v1::EndpointSlice as ApiSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use prefix::Family;
use serde::Deserialize;

use super::{Converted, Kind, Object, Problems, Wire, nullable, object_name, tcp};
use crate::cluster::objects::{Endpoint, EndpointSlice, Hints, ObjectName, SlicePort, Word};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// What is marked so has no virtual address that anybody could balance.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// An EndpointSlice.
#[derive(Debug, Clone, Resource, Deserialize)]
#[resource(inherit = ApiSlice)]
#[serde(rename_all = "camelCase")]
pub struct WireSlice {
    metadata: ObjectMeta,
    address_type: String,
    #[serde(default, deserialize_with = "nullable")]
    ports: Vec<PortEntry>,
    #[serde(default, deserialize_with = "nullable")]
    endpoints: Vec<WireEndpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct PortEntry {
    name: Option<String>,
    #[serde(default = "tcp")]
    protocol: String,
    port: Option<i32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEndpoint {
    #[serde(default, deserialize_with = "nullable")]
    addresses: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    conditions: Conditions,
    node_name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    hints: WireHints,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHints {
    #[serde(default, deserialize_with = "nullable")]
    for_zones: Vec<Hint>,
    #[serde(default, deserialize_with = "nullable")]
    for_nodes: Vec<Hint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Hint {
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl Wire for WireSlice {
    const KIND: Kind = Kind::EndpointSlice;

    fn convert(self) -> Converted {
        let mut problems = Problems::default();
        let family = match self.address_type.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            // Names are for who resolves names.
            "FQDN" => return problems.without_object(),
            other => {
                problems
                    .add("addressType", format!("{other:?} is neither IPv4 nor IPv6; the slice is ignored"));
                return problems.without_object();
            }
        };
        let name = object_name(&self.metadata);
        let labels = self.metadata.labels.as_ref().filter(|labels| !labels.contains_key(HEADLESS));
        let service = labels.and_then(|labels| labels.get(SERVICE_LABEL));
        let service = service.map(|service| ObjectName::new(&name.namespace, service));
        let endpoints = self.endpoints.into_iter().enumerate();
        let endpoints = endpoints.filter_map(|(index, wire)| endpoint(index, wire, &mut problems));
        // They would keep the room that they took as they were written.
        let mut endpoints: Vec<Endpoint> = endpoints.collect();
        endpoints.shrink_to_fit();
        let ports = ports(&self.ports, &mut problems);
        problems.with(Object::EndpointSlice(EndpointSlice { name, service, family, ports, endpoints }))
    }
}

/// Addresses of the other family stay: the Service that must do without them says so.
fn endpoint(index: usize, wire: WireEndpoint, problems: &mut Problems) -> Option<Endpoint> {
    let field = format!("endpoints[{index}].addresses");
    let addresses = problems.addresses(&field, &wire.addresses);
    let Some(address) = addresses.into_iter().next() else {
        if wire.addresses.is_empty() {
            problems.add(field, "is empty; the endpoint is ignored");
        }
        return None;
    };
    let conditions = &wire.conditions;
    let ready = conditions.ready.unwrap_or(true);
    Some(Endpoint {
        address,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node: wire.node_name.map(Word::from),
        hints: hints(wire.hints),
    })
}

/// Most endpoints have none, and there are many endpoints.
fn hints(wire: WireHints) -> Option<Box<Hints>> {
    let names = |hints: Vec<Hint>| hints.into_iter().map(|hint| hint.name).collect();
    let hints = Hints { zones: names(wire.for_zones), nodes: names(wire.for_nodes) };
    (hints != Hints::default()).then(|| Box::new(hints))
}

fn ports(ports: &[PortEntry], problems: &mut Problems) -> Vec<SlicePort> {
    let mut good = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        // Without a number it is said that all ports are meant, which no Service can use.
        let number = match port.port.filter(|number| *number != 0) {
            Some(number) => match problems.port(|| format!("ports[{index}].port"), number) {
                None => continue,
                port => port,
            },
            None => None,
        };
        match port.protocol.parse() {
            Ok(protocol) => good.push(SlicePort {
                name: port.name.as_deref().unwrap_or_default().into(),
                protocol,
                number,
            }),
            Err(message) => {
                problems.add(format!("ports[{index}].protocol"), format!("{message}; the port is ignored"));
            }
        }
    }
    good
}
