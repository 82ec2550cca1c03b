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
use crate::rib::{Common, Exports, Local, Path, Source, import};

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
        let mut changed = self.rib.put(prefix, Path::new(Arc::new(common)));
        if self.originated.insert(prefix) {
            changed |= self.judge(&prefix);
        }
        if changed {
            self.touch([prefix]);
        }
    }

    pub(super) fn withdraw(&mut self, prefix: Prefix) {
        if !self.originated.remove(&prefix) {
            return;
        }
        let judged = self.judge(&prefix);
        if self.rib.remove(&prefix, Source::Local) || judged {
            self.touch([prefix]);
        }
    }

    /// This prefix is ours although we may not announce it, or is no more.
    pub(super) fn protect(&mut self, prefix: Prefix, ours: bool) {
        let is_new = if ours { self.protected.insert(prefix) } else { self.protected.remove(&prefix) };
        if is_new && self.judge(&prefix) {
            self.touch([prefix]);
        }
    }

    /// Judges what peers tell of `prefix` anew; true if the choice has changed.
    fn judge(&mut self, prefix: &Prefix) -> bool {
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

    /// The choice for these prefixes has changed: peers and the consumer may have to hear of it.
    pub(super) fn touch(&mut self, prefixes: impl IntoIterator<Item = Prefix>) {
        let prefixes: Vec<Prefix> = prefixes.into_iter().collect();
        let any_ours = prefixes.iter().any(|prefix| self.originated.contains(prefix));
        for peer in self.peers.values_mut() {
            let Some(session) = &mut peer.session else { continue };
            if peer.config.export.learnt {
                session.out.touch_each(&prefixes);
            } else if any_ours || session.out.count().all() > 0 {
                // What was ours before it may have been told as such.
                for prefix in &prefixes {
                    if self.originated.contains(prefix) || session.out.knows(prefix) {
                        session.out.touch(*prefix);
                    }
                }
            }
        }
        self.untold.extend(prefixes);
    }

    /// Brings all peers up to date that are not busy.
    pub(super) fn flush(&mut self) {
        for peer in self.peers.values_mut() {
            let Some(mut session) = peer.session.take_if(|session| !session.out.is_idle()) else { continue };
            let mut out = std::mem::take(&mut session.out);
            let view = view(&peer.config, &session, &self.config, &self.clusters);
            let mut exports = Exports::default();
            let batch = out.batch(
                session.agreed.context,
                |prefix| self.rib.best(prefix).cloned(),
                |prefix, path| exports.export(&view, prefix, path),
            );
            if let Some(batch) = batch {
                peer.tell(session::Command::Send(session.epoch, batch));
            }
            session.out = out;
            peer.session = Some(session);
        }
    }

    /// Takes in what a peer told, in this order.
    pub(super) fn updates(&mut self, address: IpAddr, updates: &[Update]) {
        let mut changed = Vec::new();
        for update in updates {
            changed.append(&mut self.update(address, update));
            self.check_limit(address);
        }
        self.touch(changed);
    }

    /// Takes an update in; the prefixes whose choice has changed.
    fn update(&mut self, address: IpAddr, update: &Update) -> Vec<Prefix> {
        let now = self.clock.now();
        let Some(peer) = self.peers.get_mut(&address) else { return Vec::new() };
        let Some(session) = peer.session.as_mut().filter(|session| !session.ending) else {
            return Vec::new();
        };
        if let Some(family) = update.end_of_rib {
            session.complete.insert(family);
            peer.kept.end_of_rib(family);
        }
        let own = |prefix: &Prefix| self.originated.contains(prefix) || self.protected.contains(prefix);
        let imported = import(&view(&peer.config, session, &self.config, &self.clusters), update, own);
        session.repeating.note(&imported);
        peer.record.updates += 1;
        peer.record.last_update = Some(now);
        if let Some(fault) = update.faults.iter().chain(&imported.refused).next_back() {
            tracing::debug!(peer = %address, fault, "routes refused");
            peer.record.last_error = Some(fault.clone());
        }
        let source = peer.source(self.config.asn);
        let mut changed = Vec::new();
        for prefix in imported.withdrawn {
            if self.rib.remove(&prefix, source) {
                changed.push(prefix);
            }
        }
        for (prefix, path) in imported.paths {
            if self.rib.put(prefix, path) {
                changed.push(prefix);
            }
        }
        if let Some(family) = update.end_of_rib {
            changed.extend(self.rib.sweep(address, &BTreeSet::<Family>::from([family])));
        }
        changed
    }
}
