//! A NetworkPolicy as its document says.

use serde_json::Value;

use super::block::Block;
use super::selector::Selector;
use super::{Transport, list, text};

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) namespace: String,
    pub(super) pods: Selector,
    /// `None`: the policy does not isolate in this direction.
    pub(super) ingress: Option<Vec<Rule>>,
    pub(super) egress: Option<Vec<Rule>>,
}

/// "Matches traffic that matches both ports and from" (or `to`).
#[derive(Debug)]
pub(super) struct Rule {
    /// "If this field is empty or missing, this rule matches all."
    pub(super) peers: Vec<Peer>,
    /// Likewise.
    pub(super) ports: Vec<PortEntry>,
}

#[derive(Debug)]
pub(super) enum Peer {
    Block { cidr: Block, except: Vec<Block> },
    Pods { namespaces: Option<Selector>, pods: Option<Selector> },
}

#[derive(Debug)]
pub(super) struct PortEntry {
    pub(super) protocol: Transport,
    pub(super) port: Port,
}

#[derive(Debug)]
pub(super) enum Port {
    /// "If this field is not provided, this matches all port names and numbers."
    Any,
    Numbers(u16, u16),
    Named(String),
}

impl Policy {
    pub(super) fn read(document: &Value) -> Self {
        let spec = document.get("spec").unwrap_or(&Value::Null);
        let pods = Selector::read(spec.get("podSelector").unwrap_or(&Value::Null));
        let types: Vec<&str> = list(spec.get("policyTypes")).iter().filter_map(Value::as_str).collect();
        let known = types.iter().all(|word| matches!(*word, "Ingress" | "Egress"));
        // "If this field is not specified, it will default based on the existence of ingress or egress rules; policies
        // that contain an egress section are assumed to affect egress, and all policies (whether or not they contain an
        // ingress section) are assumed to affect ingress."
        let has = |word: &str, default: bool| {
            !known || if types.is_empty() { default } else { types.contains(&word) }
        };
        let ingress = has("Ingress", true);
        let egress = has("Egress", !list(spec.get("egress")).is_empty());
        let both = || Some((rules(spec, "ingress", "from")?, rules(spec, "egress", "to")?));
        let valid = known && pods.is_valid();
        let (from, to) = valid.then(both).flatten().unwrap_or_default();
        Self {
            namespace: text(document, "/metadata/namespace").to_owned(),
            pods,
            ingress: ingress.then_some(from),
            egress: egress.then_some(to),
        }
    }
}

/// The rules of a direction; `None` if the API would refuse any part of them.
fn rules(spec: &Value, direction: &str, peers: &str) -> Option<Vec<Rule>> {
    list(spec.get(direction)).iter().map(|rule| Rule::read(rule, peers)).collect()
}

impl Rule {
    fn read(rule: &Value, peers: &str) -> Option<Self> {
        let wrong = if peers == "from" { "to" } else { "from" };
        if !list(rule.get(wrong)).is_empty() {
            return None;
        }
        let peers = list(rule.get(peers)).iter().map(Peer::read).collect::<Option<_>>()?;
        let ports = list(rule.get("ports")).iter().map(PortEntry::read).collect::<Option<_>>()?;
        Some(Self { peers, ports })
    }
}

impl Peer {
    fn read(peer: &Value) -> Option<Self> {
        let selector = |name: &str| peer.get(name).map(Selector::read);
        let (namespaces, pods) = (selector("namespaceSelector"), selector("podSelector"));
        let Some(block) = peer.get("ipBlock") else {
            let valid = [&namespaces, &pods].into_iter().flatten().all(Selector::is_valid);
            let somebody = namespaces.is_some() || pods.is_some();
            return (valid && somebody).then_some(Peer::Pods { namespaces, pods });
        };
        // "If this field is set then neither of the other fields can be."
        if namespaces.is_some() || pods.is_some() {
            return None;
        }
        let cidr = Block::parse(text(block, "/cidr"))?;
        let except = list(block.get("except")).iter();
        let except: Vec<Block> = except.map(|part| Block::parse(part.as_str()?)).collect::<Option<_>>()?;
        // "Except values will be rejected if they are outside the cidr range"
        except.iter().all(|part| cidr.is_wider_than(part)).then_some(Peer::Block { cidr, except })
    }
}

impl PortEntry {
    fn read(entry: &Value) -> Option<Self> {
        let number = |value: &Value| u16::try_from(value.as_u64()?).ok().filter(|number| *number > 0);
        let end = entry.get("endPort");
        let port = match entry.get("port") {
            // "This field cannot be defined if the port field is not defined or if the port field is defined as a named
            // (string) port."
            None => end.is_none().then_some(Port::Any)?,
            Some(Value::String(name)) => {
                (end.is_none() && !name.is_empty()).then(|| Port::Named(name.clone()))?
            }
            Some(first) => {
                let first = number(first)?;
                // "The endPort must be equal or greater than port."
                let last = end.map_or(Some(first), number).filter(|last| *last >= first)?;
                Port::Numbers(first, last)
            }
        };
        Some(Self { protocol: Transport::read(entry.get("protocol"))?, port })
    }
}
