//! The seam for policy: what is taken from a peer, what is sent to it.

use prefix::Prefix;

use crate::config::PeerConfig;
use crate::packet::Attributes;

/// Decides about routes. It must not block, and the same question must have the same answer for as long as a speaker
/// lives: decisions are not asked for again.
pub trait Policy: Send + Sync + 'static {
    /// Takes, changes or refuses (`false`) a route from `peer`.
    fn import(&self, peer: &PeerConfig, prefix: &Prefix, attributes: &mut Attributes) -> bool {
        let _ = (peer, prefix, attributes);
        true
    }

    /// Lets pass, changes or holds back (`false`) a route to `peer`. `local` says whether we originate it. The rules
    /// of BGP itself (nothing learnt inside the AS goes to others inside it, and so on) come on top.
    fn export(&self, peer: &PeerConfig, prefix: &Prefix, attributes: &mut Attributes, local: bool) -> bool;
}

/// Takes everything and sends only what we originate: right for a node, which is no transit.
#[derive(Debug, Clone, Copy)]
pub struct LocalRoutes;

impl Policy for LocalRoutes {
    fn export(&self, _: &PeerConfig, _: &Prefix, _: &mut Attributes, local: bool) -> bool {
        local
    }
}

/// Takes and sends everything: a router.
#[derive(Debug, Clone, Copy)]
pub struct Transit;

impl Policy for Transit {
    fn export(&self, _: &PeerConfig, _: &Prefix, _: &mut Attributes, _: bool) -> bool {
        true
    }
}
