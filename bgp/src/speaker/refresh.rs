//! Routes that are told again (RFC 2918), and with marks where they begin and end (RFC 7313): what a peer has not repeated
//! between the two it no longer has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prefix::{Family, Prefix};

use super::core::Core;
use super::peer::{Session, view};
use crate::clock::Clock;
use crate::net::Network;
use crate::packet::Refresh;
use crate::rib::{Change, Exports, Imported};

/// What a peer that tells its routes again has not repeated yet. It is used as before until the peer is through: a choice
/// that changed there and back would reach the kernel.
#[derive(Debug, Default)]
pub(super) struct Repeating(BTreeMap<Family, BTreeSet<Prefix>>);

impl Repeating {
    /// Notes what the peer has told just now.
    pub(super) fn note(&mut self, imported: &Imported) {
        if self.0.is_empty() {
            return;
        }
        for prefix in imported.paths.iter().map(|(prefix, _)| prefix).chain(&imported.withdrawn) {
            if let Some(left) = self.0.get_mut(&prefix.family()) {
                left.remove(prefix);
            }
        }
    }
}

impl<N: Network, C: Clock> Core<N, C> {
    /// The peer wants our routes again, or tells us that it begins or ends to repeat its own.
    pub(super) fn refreshed(&mut self, address: IpAddr, family: Family, what: Refresh) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let agreed = |session: &&mut Session| session.agreed.families.contains(&family);
        let Some(session) = peer.session.as_mut().filter(agreed) else { return };
        let marked = session.agreed.enhanced_refresh;
        match what {
            Refresh::Request => {
                let mut out = std::mem::take(&mut session.out);
                let mut exports = Exports::new(view(&peer.config, session, &self.config, &self.clusters));
                out.refresh(family, marked, &self.rib, &mut exports);
                session.out = out;
            }
            Refresh::Begin | Refresh::End if !marked => {}
            // RFC 7313 §4: before the end of its first routes a peer that restarts gracefully has nothing to repeat.
            Refresh::Begin
                if session.agreed.graceful_restart.is_some() && !session.complete.contains(&family) => {}
            Refresh::Begin => {
                session.repeating.0.insert(family, self.rib.told_by(address, family));
            }
            Refresh::End => {
                let left = session.repeating.0.remove(&family).unwrap_or_default();
                self.not_repeated(address, left);
            }
        }
    }

    fn not_repeated(&mut self, address: IpAddr, left: BTreeSet<Prefix>) {
        let Some(source) = self.peers.get(&address).map(|peer| peer.source(self.config.asn)) else { return };
        if !left.is_empty() {
            tracing::info!(peer = %address, prefixes = left.len(), "routes that the peer has not repeated go");
        }
        let changed: Vec<Change> =
            left.into_iter().filter_map(|prefix| self.rib.remove(&prefix, source)).collect();
        self.touch(changed);
    }
}
