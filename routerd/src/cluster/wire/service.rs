//! Services.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service as ApiService;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use prefix::Prefix;
use serde::Deserialize;

use super::{Converted, Kind, Object, Problems, Wire, nullable, object_name, tcp};
use crate::cluster::objects::{Balancing, Service, ServiceKind, ServicePort};

/// The API's default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;

/// Where its load balancer addresses stand.
const INGRESS: &str = "status.loadBalancer.ingress";

/// A Service.
#[derive(Debug, Clone, Resource, Deserialize)]
#[resource(inherit = ApiService)]
pub struct WireService {
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec,
    #[serde(default, deserialize_with = "nullable")]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs", default, deserialize_with = "nullable")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs", default, deserialize_with = "nullable")]
    external_ips: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    ports: Vec<PortEntry>,
    session_affinity: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    session_affinity_config: AffinityConfig,
    internal_traffic_policy: Option<String>,
    external_traffic_policy: Option<String>,
    health_check_node_port: Option<i32>,
    ip_family_policy: Option<String>,
    load_balancer_class: Option<String>,
    #[serde(rename = "loadBalancerIP", default, deserialize_with = "nullable")]
    load_balancer_ip: String,
    #[serde(default, deserialize_with = "nullable")]
    load_balancer_source_ranges: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortEntry {
    name: Option<String>,
    #[serde(default = "tcp")]
    protocol: String,
    port: i32,
    node_port: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP", default, deserialize_with = "nullable")]
    client_ip: ClientIp,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, deserialize_with = "nullable")]
    load_balancer: LoadBalancer,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct LoadBalancer {
    #[serde(default, deserialize_with = "nullable")]
    ingress: Vec<Ingress>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ingress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

impl Wire for WireService {
    const KIND: Kind = Kind::Service;

    fn convert(self) -> Converted {
        let mut problems = Problems::default();
        let spec = self.spec;
        let kind = match spec.kind.as_deref().unwrap_or("ClusterIP") {
            "ClusterIP" => ServiceKind::ClusterIp,
            "NodePort" => ServiceKind::NodePort,
            "LoadBalancer" => ServiceKind::LoadBalancer,
            "ExternalName" => ServiceKind::ExternalName,
            other => {
                problems.add("spec.type", format!("{other:?} is not known; the Service is ignored"));
                return problems.without_object();
            }
        };
        // `ipMode: Proxy` says that the balancer sends to node ports; the address is not ours to serve (KEP-1860).
        let (proxied, balanced): (Vec<Ingress>, Vec<Ingress>) =
            (self.status.load_balancer.ingress.into_iter())
                .partition(|entry| entry.ip_mode.as_deref() == Some("Proxy"));
        let [proxied, balanced] = [&proxied, &balanced]
            .map(|ingress| problems.addresses(INGRESS, ingress.iter().filter_map(|entry| entry.ip.as_ref())));
        let seconds = affinity_seconds(&spec, &mut problems);
        let affine = spec.session_affinity.as_deref() == Some("ClientIP");
        problems_of_text(&spec, &mut problems);
        let requested = Some(&spec.load_balancer_ip).filter(|text| !text.is_empty());
        let balancing = Balancing {
            class: spec.load_balancer_class.clone(),
            requested: problems.addresses("spec.loadBalancerIP", requested).pop(),
            both_families: spec.ip_family_policy.as_deref() == Some("RequireDualStack"),
            proxied_ips: proxied,
        };
        let service = Service {
            name: object_name(&self.metadata),
            labels: self.metadata.labels.unwrap_or_default(),
            annotations: self.metadata.annotations.unwrap_or_default(),
            created: self.metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
            kind,
            cluster_ips: cluster_ips(&spec, kind, &mut problems),
            external_ips: problems.addresses("spec.externalIPs", &spec.external_ips),
            load_balancer_ips: balanced,
            source_ranges: source_ranges(&spec.load_balancer_source_ranges, &mut problems),
            ports: ports(&spec.ports, &mut problems),
            affinity_seconds: affine.then_some(seconds),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            health_check_node_port: optional_port(
                || "spec.healthCheckNodePort".into(),
                spec.health_check_node_port,
                &mut problems,
            ),
            balancing: (balancing != Balancing::default()).then(|| Box::new(balancing)),
        };
        problems.with(Object::Service(service))
    }
}

/// Words that are none of the API's; each then counts as its default.
fn problems_of_text(spec: &Spec, problems: &mut Problems) {
    for (field, value, allowed) in [
        ("spec.sessionAffinity", &spec.session_affinity, ["None", "ClientIP"]),
        ("spec.internalTrafficPolicy", &spec.internal_traffic_policy, ["Cluster", "Local"]),
        ("spec.externalTrafficPolicy", &spec.external_traffic_policy, ["Cluster", "Local"]),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty() && !allowed.contains(value)) {
            let [default, other] = allowed;
            problems.add(field, format!("{value:?} is neither {default} nor {other}; {default} is taken"));
        }
    }
}

fn affinity_seconds(spec: &Spec, problems: &mut Problems) -> u32 {
    let Some(seconds) = spec.session_affinity_config.client_ip.timeout_seconds else {
        return AFFINITY_SECONDS;
    };
    u32::try_from(seconds).unwrap_or_else(|_| {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        problems.add(field, format!("{seconds} is no time; {AFFINITY_SECONDS} is taken"));
        AFFINITY_SECONDS
    })
}

/// A port that may be left out, or written as 0.
fn optional_port(
    field: impl FnOnce() -> String,
    number: Option<i32>,
    problems: &mut Problems,
) -> Option<u16> {
    number.filter(|number| *number != 0).and_then(|number| problems.port(field, number))
}

/// One that is no prefix admits nobody, and if all are so nobody is admitted.
fn source_ranges(texts: &[String], problems: &mut Problems) -> Option<Vec<Prefix>> {
    let mut ranges = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.trim().parse() {
            Ok(range) => ranges.push(range),
            Err(_) => problems.add(
                format!("spec.loadBalancerSourceRanges[{index}]"),
                format!("{text:?} is not a prefix; it admits nobody"),
            ),
        }
    }
    (!texts.is_empty()).then_some(ranges)
}

fn cluster_ips(spec: &Spec, kind: ServiceKind, problems: &mut Problems) -> Vec<IpAddr> {
    if kind == ServiceKind::ExternalName {
        return Vec::new();
    }
    let (field, texts) = if spec.cluster_ips.is_empty() {
        ("spec.clusterIP", spec.cluster_ip.as_slice())
    } else {
        ("spec.clusterIPs", spec.cluster_ips.as_slice())
    };
    if texts.iter().all(String::is_empty) {
        problems.add(
            "spec.clusterIP",
            "the Service has none, and only an API server gives one; write an address or None",
        );
    }
    problems.addresses(field, texts.iter().filter(|text| !text.is_empty() && *text != "None"))
}

fn ports(ports: &[PortEntry], problems: &mut Problems) -> Vec<ServicePort> {
    let mut good = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let Some(number) = problems.port(|| format!("{field}.port"), port.port) else { continue };
        match port.protocol.parse() {
            Ok(protocol) => good.push(ServicePort {
                name: port.name.as_deref().unwrap_or_default().into(),
                protocol,
                port: number,
                node_port: optional_port(|| format!("{field}.nodePort"), port.node_port, problems),
            }),
            Err(message) => {
                problems.add(format!("{field}.protocol"), format!("{message}; the port is ignored"));
            }
        }
    }
    good
}
