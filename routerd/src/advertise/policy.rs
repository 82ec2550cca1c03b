//! What this node believes and passes on.

use bgp::{PeerConfig, Policy, packet::Attributes};
use prefix::Prefix;

/// A node sends only what it originates. It takes everything but the default route, as kube-router does: a peer that
/// announces one by mistake must not draw all traffic of all nodes to itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodePolicy;

impl Policy for NodePolicy {
    fn import(&self, _: &PeerConfig, prefix: &Prefix, _: &mut Attributes) -> bool {
        !prefix.is_default()
    }

    fn export(&self, _: &PeerConfig, _: &Prefix, _: &mut Attributes, local: bool) -> bool {
        local
    }
}
