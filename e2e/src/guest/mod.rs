//! Nodes of the lab. Two kinds behind one seam: a User Mode Linux guest with a kernel of its own,
//! and name spaces of the running kernel for machines where that cannot run.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::net::Segment;

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

/// What a node has beside the usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// A disk of its own for the folders that a machine keeps over a power cut. Needs a kernel of its own.
    pub disk: bool,
    /// An IPv6 address beside the IPv4 one.
    pub dual_stack: bool,
}

/// Which node a process belongs to, as passed down in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub index: u8,
    /// The node's kind.
    pub kind: NodeKind,
    /// What it has beside the usual.
    pub extras: Extras,
    /// The network that it is on.
    pub segment: Segment,
}

/// Names the extras to a node's processes, as words separated by commas.
const EXTRAS: &str = "LAB_EXTRAS";
/// Names the segment to them.
const SEGMENT: &str = "LAB_SEGMENT";

impl Extras {
    fn words(self) -> String {
        let words = [(self.disk, "disk"), (self.dual_stack, "dual-stack")];
        words.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
    }

    fn from_words(text: &str) -> Self {
        let has = |wanted: &str| text.split(',').any(|word| word == wanted);
        Self { disk: has("disk"), dual_stack: has("dual-stack") }
    }
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
        let extras = Extras::from_words(&std::env::var(EXTRAS).unwrap_or_default());
        let segment = Segment::from_word(&std::env::var(SEGMENT).ok()?).ok()?;
        Some(Self { index, kind, extras, segment })
    }

    /// The environment that tells a child process where it is.
    pub fn environment(self) -> [(String, String); 3] {
        [
            (Self::variable(self.kind).into(), self.index.to_string()),
            (EXTRAS.into(), self.extras.words()),
            (SEGMENT.into(), self.segment.word().into()),
        ]
    }

    /// `node1` and so on.
    pub fn name(self) -> String {
        format!("node{}", self.index)
    }

    /// The node's address on its segment.
    pub fn address(self) -> Ipv4Addr {
        self.segment.address(self.index)
    }

    /// The node's IPv6 address there, if it has one.
    pub fn address6(self) -> Option<Ipv6Addr> {
        self.extras.dual_stack.then(|| self.segment.address6(self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extras_survive_the_way_through_the_environment() {
        for extras in [Extras::default(), Extras { disk: true, dual_stack: true }] {
            assert_eq!(Extras::from_words(&extras.words()), extras);
        }
        let (extras, segment) = (Extras::default(), Segment::Near);
        let place = Place { index: 2, kind: NodeKind::Uml, extras, segment };
        assert_eq!(place.address6(), None);
    }
}
