//! NetworkPolicies. One that is wrong anywhere admits nobody: its directions stay, its rules go.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use prefix::Prefix;
use serde::Deserialize;
use serde_json::Value;

use super::selector::WireSelector;
use super::{Converted, Kind, Object, Problems, Wire, nullable, object_name, tcp};
use crate::cluster::objects::{
    Labels, NetworkPolicy, ObjectName, PolicyPeer, PolicyPort, PolicyRule, PortMatch,
};
use crate::cluster::selector::Selector;

/// A NetworkPolicy.
#[derive(Debug, Clone, Resource, Deserialize)]
#[resource(inherit = ApiPolicy)]
pub struct WirePolicy {
    metadata: ObjectMeta,
    // Read in `convert`: one policy with a field of a wrong type must not hold up the list that it is in.
    #[serde(default)]
    spec: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "nullable")]
    pod_selector: WireSelector,
    policy_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "nullable")]
    ingress: Vec<Rule>,
    #[serde(default, deserialize_with = "nullable")]
    egress: Vec<Rule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Rule {
    // Ingress rules have `from`, egress rules have `to`; the wrong one must not go unseen, as it would admit everybody.
    #[serde(default, deserialize_with = "nullable")]
    from: Vec<Peer>,
    #[serde(default, deserialize_with = "nullable")]
    to: Vec<Peer>,
    #[serde(default, deserialize_with = "nullable")]
    ports: Vec<PortEntry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    pod_selector: Option<WireSelector>,
    namespace_selector: Option<WireSelector>,
    ip_block: Option<Block>,
}

#[derive(Debug, Clone, Deserialize)]
struct Block {
    cidr: String,
    #[serde(default, deserialize_with = "nullable")]
    except: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortEntry {
    #[serde(default = "tcp")]
    protocol: String,
    port: Option<NumberOrName>,
    end_port: Option<u16>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a port is a number from 1 to 65535 or a name")]
enum NumberOrName {
    Number(u16),
    Name(String),
}

impl Wire for WirePolicy {
    const KIND: Kind = Kind::NetworkPolicy;

    fn convert(self) -> Converted {
        let mut problems = Problems::default();
        let spec: Spec = match serde_path_to_error::deserialize::<_, Option<Spec>>(&self.spec) {
            Ok(spec) => spec.unwrap_or_default(),
            Err(error) => {
                problems.add(format!("spec.{}", error.path()), error.inner().to_string());
                return unreadable(object_name(&self.metadata), &self.spec, problems);
            }
        };
        let pods = spec.pod_selector.convert("spec.podSelector", &mut problems);
        let types = spec.policy_types.as_deref();
        let (has_ingress, has_egress) = directions(types, !spec.egress.is_empty(), &mut problems);
        let ingress = rules(&spec.ingress, "ingress", &mut problems);
        let egress = rules(&spec.egress, "egress", &mut problems);
        let invalid = (!problems.0.is_empty()).then(|| joined(&problems));
        let closed = invalid.is_some();
        let direction = |on: bool, rules| on.then_some(if closed { Vec::new() } else { rules });
        let policy = NetworkPolicy {
            name: object_name(&self.metadata),
            pods,
            ingress: direction(has_ingress, ingress),
            egress: direction(has_egress, egress),
            invalid,
        };
        problems.with(Object::NetworkPolicy(policy))
    }
}

fn joined(problems: &Problems) -> String {
    let texts: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The closed stand-in of a policy that cannot be read as a whole: the pods and directions that can be, and rather more
/// than fewer.
fn unreadable(name: ObjectName, spec: &Value, mut problems: Problems) -> Converted {
    let part = |key: &str| spec.get(key).unwrap_or(&Value::Null);
    let invalid = Some(joined(&problems));
    let pods = if let Ok(selector) = Option::<WireSelector>::deserialize(part("podSelector")) {
        selector.unwrap_or_default().convert("spec.podSelector", &mut problems)
    } else {
        let labels = part("podSelector").get("matchLabels").unwrap_or(&Value::Null);
        Selector::of_labels(&Labels::deserialize(labels).unwrap_or_default())
    };
    let has_egress_rules = match part("egress") {
        Value::Null => false,
        Value::Array(rules) => !rules.is_empty(),
        _ => true,
    };
    let (ingress, egress) = match Option::<Vec<String>>::deserialize(part("policyTypes")) {
        Ok(types) if spec.is_object() => directions(types.as_deref(), has_egress_rules, &mut problems),
        _ => (true, true),
    };
    let closed = |on: bool| on.then(Vec::new);
    let policy = NetworkPolicy { name, pods, ingress: closed(ingress), egress: closed(egress), invalid };
    problems.with(Object::NetworkPolicy(policy))
}

/// Which directions the policy isolates; without `policyTypes` as the API server would fill it in.
fn directions(types: Option<&[String]>, has_egress_rules: bool, problems: &mut Problems) -> (bool, bool) {
    let Some(types) = types else { return (true, has_egress_rules) };
    let mut both = false;
    for (index, word) in types.iter().enumerate() {
        if word != "Ingress" && word != "Egress" {
            problems
                .add(format!("spec.policyTypes[{index}]"), format!("{word:?} is neither Ingress nor Egress"));
            both = true;
        }
    }
    let has = |word: &str| both || types.iter().any(|one| one == word);
    if types.is_empty() {
        return (true, has_egress_rules);
    }
    (has("Ingress"), has("Egress"))
}

fn rules(rules: &[Rule], direction: &str, problems: &mut Problems) -> Vec<PolicyRule> {
    let mut converted = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.{direction}[{index}]");
        let (name, peers, wrong, others) = match direction {
            "ingress" => ("from", &rule.from, "to", &rule.to),
            _ => ("to", &rule.to, "from", &rule.from),
        };
        if !others.is_empty() {
            problems.add(format!("{field}.{wrong}"), format!("an {direction} rule has {name}"));
        }
        let peers = peers.iter().enumerate();
        let peers =
            peers.filter_map(|(at, peer)| peer.convert(&format!("{field}.{name}[{at}]"), problems)).collect();
        let ports = rule.ports.iter().enumerate();
        let ports =
            ports.filter_map(|(at, port)| port.convert(&format!("{field}.ports[{at}]"), problems)).collect();
        converted.push(PolicyRule { peers, ports });
    }
    converted
}

impl Peer {
    fn convert(&self, field: &str, problems: &mut Problems) -> Option<PolicyPeer> {
        match (&self.ip_block, &self.pod_selector, &self.namespace_selector) {
            (Some(block), None, None) => block.convert(&format!("{field}.ipBlock"), problems),
            (None, None, None) => {
                problems.add(field, "names nobody; it needs podSelector, namespaceSelector or ipBlock");
                None
            }
            (Some(_), ..) => {
                problems.add(field, "ipBlock goes with no selector");
                None
            }
            (None, pods, namespaces) => {
                let mut selector =
                    |wire: &WireSelector, name| wire.convert(&format!("{field}.{name}"), problems);
                Some(PolicyPeer::Pods {
                    namespaces: namespaces.as_ref().map(|wire| selector(wire, "namespaceSelector")),
                    pods: pods.as_ref().map_or_else(Selector::default, |wire| selector(wire, "podSelector")),
                })
            }
        }
    }
}

impl Block {
    fn convert(&self, field: &str, problems: &mut Problems) -> Option<PolicyPeer> {
        let cidr = prefix(&format!("{field}.cidr"), &self.cidr, problems)?;
        let mut except = Vec::new();
        for (index, text) in self.except.iter().enumerate() {
            let field = format!("{field}.except[{index}]");
            let Some(part) = prefix(&field, text, problems) else { continue };
            if !cidr.covers(&part) || cidr == part {
                problems.add(field, format!("{part} is not a part of {cidr}"));
            }
            except.push(part);
        }
        Some(PolicyPeer::Block { cidr, except })
    }
}

fn prefix(field: &str, text: &str, problems: &mut Problems) -> Option<Prefix> {
    let why = match decimal(text).map(|text| text.parse::<Prefix>()) {
        Some(Ok(prefix)) if !is_mapped(&prefix) => return Some(prefix),
        Some(Ok(_)) => "is an IPv4 prefix in the form of IPv6, which no packet has; write it as 10.0.0.0/8",
        _ => "is not a prefix as 10.0.0.0/8",
    };
    problems.add(field, format!("{text:?} {why}"));
    None
}

/// The prefix without leading zeros, which the API server takes for decimal numbers (`ParseCIDRSloppy`, KEP-4858);
/// `None` if there is no length.
fn decimal(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/')?;
    let part = |part: &str| match part.trim_start_matches('0') {
        "" => part.chars().take(1).collect(),
        rest => rest.to_owned(),
    };
    let parts: Vec<String> = address.split('.').map(part).collect();
    // Groups of IPv6 may have leading zeros.
    let address = if address.contains(':') { address.to_owned() } else { parts.join(".") };
    Some(format!("{address}/{length}"))
}

/// True of a part of `::ffff:0:0/96` (RFC 4291 section 2.5.5.2). The API server admits such.
fn is_mapped(prefix: &Prefix) -> bool {
    matches!(prefix.address(), IpAddr::V6(address) if prefix.length() >= 96 && address.to_ipv4_mapped().is_some())
}

impl PortEntry {
    fn convert(&self, field: &str, problems: &mut Problems) -> Option<PolicyPort> {
        let protocol = match self.protocol.parse() {
            Ok(protocol) => protocol,
            Err(message) => {
                problems.add(format!("{field}.protocol"), message);
                return None;
            }
        };
        let port = match (&self.port, self.end_port) {
            (None, None) => Ok(PortMatch::Any),
            (Some(NumberOrName::Number(first)), end) if *first != 0 => {
                let last = end.unwrap_or(*first);
                if last < *first { Err("endPort is below port") } else { Ok(PortMatch::Range(*first, last)) }
            }
            (Some(NumberOrName::Number(_)), _) => Err("0 is not a port"),
            (Some(NumberOrName::Name(name)), None) if !name.is_empty() => Ok(PortMatch::Name(name.clone())),
            (Some(NumberOrName::Name(_)), None) => Err("an empty name is not a port"),
            (_, Some(_)) => Err("endPort needs a number as port"),
        };
        port.map(|port| PolicyPort { protocol, port }).map_err(|message| problems.add(field, message)).ok()
    }
}
