//! Pods.

use k8s_openapi::api::core::v1::Pod as ApiPod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

use super::{Converted, Kind, Object, Problems, Wire, nullable, object_name, tcp};
use crate::cluster::objects::{ContainerPort, Pod};

/// Of a pod that the kubelet runs from a file of its node, the API server has a copy with a UID of its own. The one that
/// the kubelet uses, and gives to the runtime, stands here.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod.
#[derive(Debug, Clone, Resource, Deserialize)]
#[resource(inherit = ApiPod)]
pub struct WirePod {
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec,
    #[serde(default, deserialize_with = "nullable")]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    host_network: bool,
    #[serde(default, deserialize_with = "nullable")]
    containers: Vec<Container>,
    #[serde(default, deserialize_with = "nullable")]
    init_containers: Vec<Container>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    restart_policy: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    ports: Vec<PortEntry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortEntry {
    name: Option<String>,
    container_port: i32,
    #[serde(default = "tcp")]
    protocol: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs", default, deserialize_with = "nullable")]
    pod_ips: Vec<PodIp>,
}

#[derive(Debug, Clone, Deserialize)]
struct PodIp {
    ip: String,
}

impl Wire for WirePod {
    const KIND: Kind = Kind::Pod;

    fn convert(self) -> Converted {
        let mut problems = Problems::default();
        let addresses = if self.status.pod_ips.is_empty() {
            problems.addresses("status.podIP", self.status.pod_ip.iter().filter(|ip| !ip.is_empty()))
        } else {
            problems.addresses("status.podIPs", self.status.pod_ips.iter().map(|entry| &entry.ip))
        };
        let ports = ports(&self.spec, &mut problems);
        let finished = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        problems.with(Object::Pod(Pod {
            name: object_name(&self.metadata),
            node: self.spec.node_name.filter(|name| !name.is_empty()),
            host_network: self.spec.host_network,
            finished,
            drain_leaves: stays_in_a_drain(&self.metadata),
            addresses,
            ports,
            uid: uid(&self.metadata),
            labels: self.metadata.labels.unwrap_or_default(),
        }))
    }
}

fn uid(metadata: &ObjectMeta) -> String {
    let mirrored = metadata.annotations.as_ref().and_then(|annotations| annotations.get(MIRROR));
    mirrored.or(metadata.uid.as_ref()).cloned().unwrap_or_default()
}

fn stays_in_a_drain(metadata: &ObjectMeta) -> bool {
    let owners = metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|owner| owner.controller == Some(true) && matches!(&*owner.kind, "DaemonSet" | "Node"))
}

/// The named ports of containers and of sidecars; a policy can refer to no others by name.
fn ports(spec: &Spec, problems: &mut Problems) -> Vec<ContainerPort> {
    let containers = spec.containers.iter().map(|container| ("containers", container));
    let sidecars = spec.init_containers.iter().map(|container| ("initContainers", container));
    let sidecars = sidecars.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"));
    let mut named = Vec::new();
    for (list, container) in containers.chain(sidecars) {
        for port in &container.ports {
            let Some(name) = port.name.clone().filter(|name| !name.is_empty()) else { continue };
            let field = || format!("spec.{list}.ports[{name}].containerPort");
            let Some(number) = problems.port(field, port.container_port) else { continue };
            match port.protocol.parse() {
                Ok(protocol) => named.push(ContainerPort { name, protocol, number }),
                Err(message) => {
                    problems.add(format!("spec.{list}.ports[{name}]"), format!("{message}; ignored"));
                }
            }
        }
    }
    named
}
