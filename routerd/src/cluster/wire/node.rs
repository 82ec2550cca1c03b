//! Nodes and namespaces.

use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Node as ApiNode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use prefix::Prefix;
use serde::Deserialize;

use super::{Converted, Kind, Object, Problems, Wire, nullable};
use crate::cluster::objects::{Labels, Namespace, Node};

/// kube-router's annotation that overrides `spec.podCIDRs`.
const POD_CIDRS: &str = "kube-router.io/pod-cidrs";
/// The older one, for a single prefix.
const POD_CIDR: &str = "kube-router.io/pod-cidr";
/// The taint that the cluster autoscaler gives a node before it takes it away; load balancers are then to leave it too.
const ABOUT_TO_GO: &str = "ToBeDeletedByClusterAutoscaler";
/// What the kubelet's message of the condition `Ready` holds once the machine is being shut down
/// (`nodeshutdown`, KEP-2000).
const SHUTTING_DOWN: &str = "node is shutting down";
/// The label by which policies name a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A node.
#[derive(Debug, Clone, Resource, Deserialize)]
#[resource(inherit = ApiNode)]
pub struct WireNode {
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec,
    #[serde(default, deserialize_with = "nullable")]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs", default, deserialize_with = "nullable")]
    pod_cidrs: Vec<String>,
    #[serde(rename = "providerID", default, deserialize_with = "nullable")]
    provider_id: String,
    #[serde(default, deserialize_with = "nullable")]
    taints: Vec<Taint>,
    #[serde(default, deserialize_with = "nullable")]
    unschedulable: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Taint {
    key: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "nullable")]
    addresses: Vec<Address>,
    #[serde(default, deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    message: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl Wire for WireNode {
    const KIND: Kind = Kind::Node;

    fn convert(self) -> Converted {
        let mut problems = Problems::default();
        let annotations: Labels = self.metadata.annotations.unwrap_or_default();
        let pod_cidrs = pod_cidrs(&annotations, &self.spec, &mut problems);
        let tainted = self.spec.taints.iter().any(|taint| taint.key == ABOUT_TO_GO);
        let leaving = tainted || self.metadata.deletion_timestamp.is_some();
        let mut internal_addresses = Vec::new();
        let mut external_addresses = Vec::new();
        for (index, entry) in self.status.addresses.iter().enumerate() {
            let list = match entry.kind.as_str() {
                "InternalIP" => &mut internal_addresses,
                "ExternalIP" => &mut external_addresses,
                _ => continue,
            };
            match entry.address.parse() {
                Ok(address) => list.push(address),
                Err(_) => problems.add(
                    format!("status.addresses[{index}].address"),
                    format!("{:?} is not an IP address; ignored", entry.address),
                ),
            }
        }
        problems.with(Object::Node(Node {
            name: self.metadata.name.unwrap_or_default(),
            labels: self.metadata.labels.unwrap_or_default(),
            annotations,
            pod_cidrs,
            internal_addresses,
            external_addresses,
            provider_id: self.spec.provider_id,
            leaving,
            unschedulable: self.spec.unschedulable,
            shutting_down: is_shutting_down(&self.status),
        }))
    }
}

fn is_shutting_down(status: &Status) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    ready.is_some_and(|ready| ready.message.contains(SHUTTING_DOWN))
}

fn pod_cidrs(annotations: &Labels, spec: &Spec, problems: &mut Problems) -> Vec<Prefix> {
    let annotated = [POD_CIDRS, POD_CIDR].into_iter().find_map(|key| Some((key, annotations.get(key)?)));
    let (field, texts): (String, Vec<&str>) = match annotated {
        Some((key, list)) => (format!("metadata.annotations[{key}]"), list.split(',').collect()),
        None if spec.pod_cidrs.is_empty() => {
            ("spec.podCIDR".into(), spec.pod_cidr.as_deref().into_iter().collect())
        }
        None => ("spec.podCIDRs".into(), spec.pod_cidrs.iter().map(String::as_str).collect()),
    };
    let mut prefixes = Vec::new();
    for text in texts.into_iter().map(str::trim).filter(|text| !text.is_empty()) {
        match text.parse() {
            Ok(prefix) => prefixes.push(prefix),
            Err(_) => problems.add(field.clone(), format!("{text:?} is not a prefix; ignored")),
        }
    }
    prefixes
}

/// A namespace.
#[derive(Debug, Clone, Resource, Deserialize)]
#[resource(inherit = ApiNamespace)]
pub struct WireNamespace {
    metadata: ObjectMeta,
}

impl Wire for WireNamespace {
    const KIND: Kind = Kind::Namespace;

    fn convert(self) -> Converted {
        let name = self.metadata.name.unwrap_or_default();
        Problems::default()
            .with(Object::Namespace(namespace(&name, self.metadata.labels.unwrap_or_default())))
    }
}

/// The namespace `name` with `labels` and the label that the API server gives every namespace.
pub(in crate::cluster) fn namespace(name: &str, mut labels: Labels) -> Namespace {
    labels.insert(NAME_LABEL.to_owned(), name.to_owned());
    Namespace { name: name.to_owned(), labels }
}
