//! Nodes of the lab. Two kinds behind one seam: a User Mode Linux guest with a kernel of its own,
//! and name spaces of the running kernel for machines where that cannot run.

use std::net::Ipv4Addr;

use crate::net::node_address;

pub mod agent;
pub mod boot;
pub mod client;
mod execute;
pub mod host;
pub mod protocol;
pub mod terminal;
pub mod uml;

/// The kernel a node runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NodeKind {
    /// A Linux kernel of its own, running as a process.
    Uml,
    /// Name spaces of the running kernel.
    Host,
}

/// Which node a process belongs to, as passed down in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub index: u8,
    /// The node's kind.
    pub kind: NodeKind,
}

impl Place {
    /// The two kinds have names of their own: what is process 1 with the first is the init of a whole kernel.
    fn variable(kind: NodeKind) -> &'static str {
        match kind {
            NodeKind::Uml => "LAB_GUEST",
            NodeKind::Host => "LAB_NODE",
        }
    }

    /// Reads the node's number from the environment.
    pub fn from_environment(kind: NodeKind) -> Option<Self> {
        let index = std::env::var(Self::variable(kind)).ok()?.parse().ok()?;
        Some(Self { index, kind })
    }

    /// The environment that tells a child process where it is.
    pub fn environment(self) -> [(String, String); 1] {
        [(Self::variable(self.kind).into(), self.index.to_string())]
    }

    /// `node1` and so on.
    pub fn name(self) -> String {
        format!("node{}", self.index)
    }

    /// The node's address on the lab's segment.
    pub fn address(self) -> Ipv4Addr {
        node_address(self.index)
    }
}
