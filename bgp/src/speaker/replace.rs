//! Another configuration of a peer that is there: by new rules for its session, or by a new session.

use prefix::Prefix;

use super::core::Core;
use super::graceful::Kept;
use super::peer::{Peer, view};
use super::session;
use crate::clock::Clock;
use crate::config::{PeerConfig, Start};
use crate::net::Network;
use crate::packet::Notification;
use crate::packet::notification::cease;
use crate::rib::Exports;

impl<N: Network, C: Clock> Core<N, C> {
    /// New rules for a running session.
    pub(super) fn change_rules(&mut self, config: PeerConfig) {
        let address = config.address;
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let old = std::mem::replace(&mut peer.config, config);
        if old.export != peer.config.export
            && let Some(session) = &mut peer.session
        {
            let mut out = std::mem::take(&mut session.out);
            let mut before = Exports::new(view(&old, session, &self.config, &self.clusters));
            let mut after = Exports::new(view(&peer.config, session, &self.config, &self.clusters));
            out.rules_changed(&self.rib, &mut before, &mut after);
            session.out = out;
        }
        self.judge_anew(&old);
        self.check_limit(address);
    }

    /// Judges what a peer told, which was `old`, by the rules that it has now.
    fn judge_anew(&mut self, old: &PeerConfig) {
        let Some(peer) = self.peers.get(&old.address).filter(|peer| peer.config.import != old.import) else {
            return;
        };
        let rules = peer.config.import.clone();
        let own = |prefix: &Prefix| self.originated.contains(prefix) || self.protected.contains(prefix);
        let changed = self.rib.judge(old.address, |prefix| rules.judge(prefix, own(prefix)));
        self.touch(changed);
    }

    /// A new session in place of the old one. Where graceful restart was agreed, it is one to both ends: ours keeps what the peer
    /// told, and the peer what we told, because the old session ends without a word. A NOTIFICATION would end that (RFC 4724 §4)
    /// unless both want it otherwise (RFC 8538).
    pub(super) fn replace_peer(&mut self, config: PeerConfig) {
        let address = config.address;
        let Some(peer) = self.peers.remove(&address) else { return };
        let text = "the configuration of this session has changed";
        let notification = Notification::cease(cease::CONFIGURATION_CHANGE, text);
        let kept = if is_restart(&peer, &config) {
            peer.tell(session::Command::Stop(Some(notification).filter(|_| survives(&peer))));
            self.keep_over(&peer, &config)
        } else {
            peer.tell(session::Command::Stop(Some(notification)));
            self.forget(address)
        };
        self.start_peer(config, kept, peer.record);
        self.judge_anew(&peer.config);
    }

    /// Keeps the routes of a peer whose session we end, or of one that is away already, for a session made by `config`.
    fn keep_over<S>(&mut self, peer: &Peer<S>, config: &PeerConfig) -> Kept {
        let mut kept = match &peer.session {
            Some(session) => self.keep(config.address, &session.agreed, false).by_us(&session.agreed),
            None => peer.kept.clone(),
        };
        kept.only(&config.families);
        let changed = self.rib.sweep(config.address, &kept.others());
        self.touch(changed);
        kept
    }
}

/// True if a session made by `config` may go on with the routes of the one that the peer has: both ends have promised to keep them
/// over its end, and the peer is to us what it was.
fn is_restart<S>(peer: &Peer<S>, config: &PeerConfig) -> bool {
    let old = &peer.config;
    let agreed = peer.session.as_ref().is_none_or(|session| session.agreed.graceful_restart.is_some());
    let wanted = old.graceful_restart.is_some() && config.graceful_restart.is_some();
    let same = (old.asn, old.reflector_client) == (config.asn, config.reflector_client);
    agreed && wanted && same
}

/// True if the peer's session is up and its end by a NOTIFICATION costs neither end a route.
fn survives<S>(peer: &Peer<S>) -> bool {
    let ours = peer.config.capabilities(Start::Past);
    peer.session.as_ref().is_some_and(|session| session.agreed.survives_notifications(&ours))
}
