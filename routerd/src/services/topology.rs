//! Which endpoints are near enough, as the hints of EndpointSlices say (KEP-2433, KEP-3015).
//!
//! The EndpointSlice controller makes the hints of `spec.trafficDistribution` (PreferSameNode, PreferSameZone and its
//! older name PreferClose) and of the annotation `service.kubernetes.io/topology-mode`; whoever proxies obeys the hints
//! and nothing else, as kube-proxy does.

use crate::cluster::objects::{Endpoint, Node};

/// The label that says in which zone a node is.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The zone of a node.
pub(super) fn zone(node: &Node) -> Option<&str> {
    node.labels.get(ZONE).map(String::as_str)
}

/// How near an endpoint must be to get traffic from this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nearness<'a> {
    /// Wherever it is.
    Anywhere,
    /// Meant for the node of this name.
    Node(&'a str),
    /// Meant for the zone of this name.
    Zone(&'a str),
}

impl<'a> Nearness<'a> {
    /// What the hints of all ready endpoints ask for. They count only if every ready endpoint has them and one is meant
    /// for this node, or its zone: a part of them may be left from another time, and nobody would get the traffic.
    pub(super) fn of<'e>(
        ready: impl Iterator<Item = &'e Endpoint> + Clone,
        node: &'a str,
        zone: Option<&'a str>,
    ) -> Self {
        if is_agreed(ready.clone().map(Endpoint::node_hints), node) {
            return Self::Node(node);
        }
        match zone {
            Some(zone) if is_agreed(ready.map(Endpoint::zone_hints), zone) => Self::Zone(zone),
            _ => Self::Anywhere,
        }
    }

    /// True if `endpoint` is near enough.
    pub(super) fn takes(self, endpoint: &Endpoint) -> bool {
        let (hints, name) = match self {
            Self::Anywhere => return true,
            Self::Node(name) => (endpoint.node_hints(), name),
            Self::Zone(name) => (endpoint.zone_hints(), name),
        };
        hints.iter().any(|hint| hint == name)
    }
}

/// True if nobody is without hints, and somebody's name `name`.
fn is_agreed<'e>(mut hints: impl Iterator<Item = &'e [String]> + Clone, name: &str) -> bool {
    let named = hints.clone().flatten().any(|hint| hint == name);
    named && hints.all(|hints| !hints.is_empty())
}
