//! Ports that policies call by name.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::direction::Direction;
use super::objects::{PolicyPort, PortMatch, Protocol};

/// Whose ports of a name count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortScope {
    /// Ports of this node's pods: ingress rules look at where the packet goes, which is such a pod.
    Node,
    /// Ports of all pods: egress rules.
    Cluster,
}

impl PortScope {
    /// Whose ports count in rules of `direction`.
    pub fn of(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => PortScope::Node,
            Direction::Egress => PortScope::Cluster,
        }
    }

    /// The direction of the rules that it is of.
    pub fn direction(self) -> Direction {
        match self {
            PortScope::Node => Direction::Ingress,
            PortScope::Cluster => Direction::Egress,
        }
    }
}

/// A port by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// Whose ports count.
    pub scope: PortScope,
    /// The protocol that goes with it.
    pub protocol: Protocol,
    /// The name.
    pub name: String,
}

impl NamedPort {
    /// The named port of a rule's entry; `None` for numbers.
    pub fn of_entry(scope: PortScope, entry: &PolicyPort) -> Option<Self> {
        match &entry.port {
            PortMatch::Name(name) => Some(Self { scope, protocol: entry.protocol, name: name.clone() }),
            _ => None,
        }
    }
}

impl fmt::Display for NamedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.scope {
            PortScope::Node => "of this node's pods",
            PortScope::Cluster => "of all pods",
        };
        write!(f, "port {} ({}) {whose}", self.name, self.protocol)
    }
}

/// The ports that a rule calls by name, of one scope and at least one. Rules that name the same share it; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPorts(Arc<BTreeSet<NamedPort>>);

impl NamedPorts {
    /// Those of a rule's list; `None` if all of it are numbers.
    pub fn of_list(scope: PortScope, list: &[PolicyPort]) -> Option<Self> {
        let names: BTreeSet<_> = list.iter().filter_map(|entry| NamedPort::of_entry(scope, entry)).collect();
        (!names.is_empty()).then(|| Self(Arc::new(names)))
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &NamedPort> {
        self.0.iter()
    }

    /// Whose ports count.
    pub fn scope(&self) -> PortScope {
        self.0.first().map_or(PortScope::Node, |port| port.scope)
    }
}

impl fmt::Display for NamedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.each().map(ToString::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}
