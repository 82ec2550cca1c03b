//! What the speaker's task does with routes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::core::Core;
use super::peer::view;
use super::session;
use crate::clock::Clock;
use crate::config::Announcement;
use crate::net::Network;
use crate::packet::{Attributes, Update};
use crate::policy::Verdict;
use crate::rib::{Change, Common, Exports, Local, Path, Source, import};

impl<N: Network, C: Clock> Core<N, C> {
    pub(super) fn announce(&mut self, prefix: Prefix, announcement: Announcement) {
        let attributes = Attributes {
            local_pref: announcement.local_pref,
            med: announcement.med,
            communities: announcement.communities.standard,
            large_communities: announcement.communities.large,
            extended_communities: announcement.communities.extended,
            ..Attributes::default()
        };
        let common = Common {
            source: Source::Local,
            router_id: self.config.router_id,
            next_hop: announcement.next_hop,
            attributes,
            client: None,
            local: Local { audience: announcement.audience, prepend: announcement.prepend },
        };
        let put = self.rib.put(prefix, Path::new(Arc::new(common)));
        let judged = if self.originated.insert(prefix) { self.judge(&prefix) } else { None };
        self.touch(put.into_iter().chain(judged));
    }

    pub(super) fn withdraw(&mut self, prefix: Prefix) {
        if !self.originated.remove(&prefix) {
            return;
        }
        let judged = self.judge(&prefix);
        let removed = self.rib.remove(&prefix, Source::Local);
        self.touch(judged.into_iter().chain(removed));
    }

    /// This prefix is ours although we may not announce it, or is no more.
    pub(super) fn protect(&mut self, prefix: Prefix, ours: bool) {
        let is_new = if ours { self.protected.insert(prefix) } else { self.protected.remove(&prefix) };
        if is_new {
            let judged = self.judge(&prefix);
            self.touch(judged);
        }
    }

    /// Judges what peers tell of `prefix` anew.
    fn judge(&mut self, prefix: &Prefix) -> Option<Change> {
        let own = self.originated.contains(prefix) || self.protected.contains(prefix);
        let verdict = |peer: IpAddr| {
            let peer = self.peers.get(&peer);
            peer.map_or(Verdict::Taken, |peer| peer.config.import.judge(prefix, own))
        };
        self.rib.judge_prefix(prefix, verdict)
    }

    pub(super) fn complete_view(&mut self) {
        if std::mem::replace(&mut self.view_complete, true) {
            return;
        }
        for session in self.peers.values_mut().filter_map(|peer| peer.session.as_mut()) {
            for family in &session.agreed.families {
                session.out.finish(*family);
            }
        }
    }

    /// The choice for these prefixes has changed: peers may have to hear of it. A prefix that is there more than once has its changes in
    /// their order.
    pub(super) fn touch(&mut self, changes: impl IntoIterator<Item = Change>) {
        let mut sessions: Vec<_> = self
            .peers
            .values_mut()
            .filter_map(|peer| Some((peer.config.export.learnt, &mut peer.session.as_mut()?.out)))
            .collect();
        for change in changes {
            // Nobody but those who are told what others tell hears of a route that was and is not ours.
            let ours = |path: &Path| path.common.source == Source::Local;
            let ours = change.before.as_ref().is_some_and(ours) || self.originated.contains(&change.prefix);
            for (learnt, out) in &mut sessions {
                if ours || *learnt {
                    out.touch(&change);
                }
            }
        }
    }

    /// Brings all peers up to date that are not busy.
    pub(super) fn flush(&mut self) {
        for peer in self.peers.values_mut() {
            let Some(mut session) = peer.session.take_if(|session| !session.out.is_idle()) else { continue };
            let mut out = std::mem::take(&mut session.out);
            let mut exports = Exports::new(view(&peer.config, &session, &self.config, &self.clusters));
            if let Some(messages) = out.batch(&self.rib, &mut exports) {
                peer.tell(session::Command::Send(session.epoch, messages));
            }
            session.out = out;
            peer.session = Some(session);
        }
    }

    /// Takes in what a peer told, in this order.
    pub(super) fn updates(&mut self, address: IpAddr, updates: Vec<Update>) {
        let mut changed = Vec::new();
        for update in updates {
            self.update(address, update, &mut changed);
            self.check_limit(address);
        }
        self.touch(changed);
    }

    /// Takes an update in, and adds what has changed by it.
    fn update(&mut self, address: IpAddr, mut update: Update, changed: &mut Vec<Change>) {
        let now = self.clock.now();
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(session) = peer.session.as_mut().filter(|session| !session.ending) else { return };
        let (end_of_rib, faults) = (update.end_of_rib, std::mem::take(&mut update.faults));
        if let Some(family) = end_of_rib {
            session.complete.insert(family);
            peer.kept.end_of_rib(family);
        }
        let own = |prefix: &Prefix| self.originated.contains(prefix) || self.protected.contains(prefix);
        let imported = import(&view(&peer.config, session, &self.config, &self.clusters), update, own);
        session.repeating.note(&imported);
        peer.record.updates += 1;
        peer.record.last_update = Some(now);
        if let Some(fault) = faults.iter().chain(&imported.refused).next_back() {
            tracing::debug!(peer = %address, fault, "routes refused");
            peer.record.last_error = Some(fault.clone());
        }
        let source = peer.source(self.config.asn);
        for prefix in imported.withdrawn {
            changed.extend(self.rib.remove(&prefix, source));
        }
        for (prefix, path) in imported.paths {
            changed.extend(self.rib.put(prefix, path));
        }
        if let Some(family) = end_of_rib {
            changed.extend(self.rib.sweep(address, &BTreeSet::<Family>::from([family])));
        }
    }
}
