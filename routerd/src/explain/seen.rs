//! Whom a backend sees. Pure.
//!
//! A node that balances puts its own address in the place of a client's where the backend is on another node, so that
//! replies come back to it; those of its own pods stay (`services/program.rs`). Its own kernel judges before that, the
//! backend's node after it.

use std::net::IpAddr;

use prefix::Family;

use super::dialled::Target;
use super::ends::{Party, Resolver, Who};

/// What flags say of the sources of what Services balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// `--masquerade-all`: those of the node's own pods do not stay either.
    pub all: bool,
    /// `--run-router=false`: the address is that of the device which the packet leaves by, which nobody here knows.
    pub by_device: bool,
}

impl Resolver<'_> {
    /// Whom the backend `to` sees, if not `from` itself.
    pub(super) fn seen(
        &self,
        target: &Target<'_>,
        from: &Party,
        to: &Party,
        notes: &mut Vec<String>,
    ) -> Option<Party> {
        let masquerade = self.masquerade?;
        let known = target.node().or(from.who.node());
        let node = known.unwrap_or(self.index.node_name());
        if target.keeps_sources(from.who.node(), node) {
            return None;
        }
        if known.is_none() {
            note(
                notes,
                format!(
                    "{from} reaches {target} through whichever node its network chooses; the answer is for {node}, and another one puts its own address in the place of the client's",
                    from = from.address
                ),
            );
        }
        let stays = !masquerade.all && self.is_pod_of(from, node);
        if to.who.node() == Some(node) || stays {
            return None;
        }
        let address = self.index.nodes().get(node)?.address(Family::of(from.address))?;
        if address == from.address {
            return None;
        }
        let device = if masquerade.by_device {
            "; with --run-router=false it is that of the device which the packet leaves by, which may be another"
        } else {
            ""
        };
        note(
            notes,
            format!(
                "backends of {target} on other nodes than {node} see its address {address} and not {}, so that is what their policies judge{device}",
                from.address
            ),
        );
        Some(Party { who: Who::Node(node.to_owned()), address })
    }

    /// True if the sender is a pod of the node, or has an address of its pod networks.
    fn is_pod_of(&self, from: &Party, node: &str) -> bool {
        let in_range = |address: IpAddr| {
            let node = self.index.nodes().get(node);
            node.is_some_and(|node| node.pod_cidrs.iter().any(|cidr| cidr.contains(address)))
        };
        matches!(&from.who, Who::Pod(_, Some(of)) if of == node) || in_range(from.address)
    }
}

fn note(notes: &mut Vec<String>, text: String) {
    if !notes.contains(&text) {
        notes.push(text);
    }
}
