//! What the speaker's task does with peers and their sessions.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use prefix::Family;
use tokio::sync::mpsc;

use super::core::Core;
use super::graceful::Kept;
use super::peer::{Peer, Record, Session, settings, way};
use super::refresh::Repeating;
use super::{ResetCause, session};
use crate::clock::Clock;
use crate::config::{PeerConfig, Start};
use crate::fsm::{Agreed, Down, Reset, State};
use crate::net::{Network, Passwords};
use crate::packet::Notification;
use crate::packet::notification::cease;
use crate::rib::AdjOut;

/// For how long after the start peers are told what it is.
const RESTART: Duration = Duration::from_mins(2);

impl<N: Network, C: Clock> Core<N, C> {
    pub(super) fn set_peer(&mut self, mut config: PeerConfig) {
        config.address = config.address.to_canonical();
        let address = config.address;
        if let Err(error) = config.check(self.config.asn) {
            tracing::error!(peer = %address, %error, "a BGP peer that cannot be is left out");
            return self.drop_peer(address, &Notification::new(cease::CODE, cease::DECONFIGURED));
        }
        match self.peers.get(&address) {
            Some(peer) if peer.config == config => {}
            Some(peer) if peer.config.same_session(&config) => self.change_rules(config),
            Some(_) => self.replace_peer(config),
            None => self.start_peer(config, Kept::default(), Record::default()),
        }
    }

    pub(super) fn start_peer(&mut self, config: PeerConfig, kept: Kept, record: Record) {
        self.next_number += 1;
        let now = self.clock.now();
        let (commands, command_queue) = mpsc::unbounded_channel();
        let wiring = session::Wiring {
            network: self.network.clone(),
            clock: self.clock.clone(),
            way: way(&config, self.config.asn),
            commands: command_queue,
            events: self.session_sender.clone(),
            number: self.next_number,
        };
        let over = record.established > 0 || now.saturating_sub(self.started) >= RESTART;
        let start = if over { Start::Past } else { self.config.start };
        let task = session::spawn(wiring, settings(&config, &self.config, start));
        let peer = Peer {
            number: self.next_number,
            commands,
            task,
            state: State::Idle,
            since: now,
            session: None,
            kept,
            record,
            config,
        };
        self.peers.insert(peer.config.address, peer);
        self.peers_changed();
    }

    pub(super) fn drop_peer(&mut self, address: IpAddr, notification: &Notification) {
        let address = address.to_canonical();
        if let Some(peer) = self.peers.remove(&address) {
            peer.tell(session::Command::Stop(Some(notification.clone())));
            self.forget(address);
            self.peers_changed();
        }
    }

    /// Works out anew what depends on all peers.
    fn peers_changed(&mut self) {
        let configs = || self.peers.values().map(|peer| &peer.config);
        self.clusters = configs().filter_map(|config| config.reflector_client).collect();
        let passwords: Passwords =
            configs().filter_map(|config| Some((config.address, config.password.clone()?))).collect();
        self.passwords.send_if_modified(|old| {
            let changed = *old != passwords;
            *old = passwords;
            changed
        });
    }

    pub(super) fn reset_peer(&mut self, address: IpAddr, cause: ResetCause, pause: Duration) {
        let (notification, reason) = match cause {
            ResetCause::BfdDown => {
                (Notification::new(cease::CODE, cease::BFD_DOWN), "BFD says it is gone".to_owned())
            }
            ResetCause::Administrator(text) => {
                (Notification::cease(cease::RESET, &text), format!("reset: {text}"))
            }
        };
        self.end_session(address, Reset { notification, reason, pause });
    }

    fn end_session(&mut self, address: IpAddr, reset: Reset) {
        if let Some(peer) = self.peers.get_mut(&address.to_canonical()) {
            if let Some(session) = &mut peer.session {
                session.ending = true;
            }
            peer.tell(session::Command::Reset(reset));
        }
    }

    pub(super) fn refresh_peer(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get(&address.to_canonical()) else { return };
        let Some(session) = peer.session.as_ref().filter(|session| session.agreed.route_refresh) else {
            return;
        };
        for family in &session.agreed.families {
            peer.tell(session::Command::Refresh(*family));
        }
    }

    /// Ends the session with a peer that tells more than it may.
    pub(super) fn check_limit(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get(&address) else { return };
        let Some(limit) = peer.config.prefix_limit.filter(|_| peer.session.is_some()) else { return };
        let count = self.rib.count_of(address);
        let Some(family) = Family::BOTH.into_iter().find(|family| count.of(*family) > limit.most) else {
            return;
        };
        let reason = format!(
            "the peer told {} {family} prefixes, allowed are {}; it stays away for {:?}",
            count.of(family),
            limit.most,
            limit.pause
        );
        tracing::warn!(peer = %address, reason, "BGP prefix limit");
        let notification = Notification::too_many(family, limit.most);
        self.end_session(address, Reset { notification, reason, pause: limit.pause });
    }

    pub(super) fn session_event(&mut self, number: u64, event: session::Event) {
        // An event of a session that was replaced or removed has no meaning any more.
        let found = self.peers.iter_mut().find(|(_, peer)| peer.number == number);
        let Some((address, peer)) = found.map(|(address, peer)| (*address, peer)) else { return };
        match event {
            session::Event::State(state) => peer.state = state,
            session::Event::Report(reason) => {
                tracing::info!(peer = %address, reason, "BGP session");
                peer.record.last_error = Some(reason);
            }
            session::Event::Written => {
                if let Some(session) = &mut peer.session {
                    session.out.written();
                }
            }
            session::Event::Refresh(family, what) => self.refreshed(address, family, what),
            session::Event::Up { epoch, agreed, local_address } => {
                self.up(address, epoch, *agreed, local_address);
            }
            session::Event::Down(down) => self.down(address, &down),
            session::Event::Updates(updates) => self.updates(address, updates),
        }
    }

    fn up(&mut self, address: IpAddr, epoch: u64, agreed: Agreed, local_address: Option<IpAddr>) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        tracing::info!(peer = %address, hold_time = agreed.hold_time, "BGP session established");
        let now = self.clock.now();
        // Without transit only what we originate can be of interest.
        let mut out = if peer.config.export.learnt {
            AdjOut::new(self.rib.prefixes())
        } else {
            AdjOut::new(self.originated.iter())
        };
        if self.view_complete {
            agreed.families.iter().for_each(|family| out.finish(*family));
        }
        peer.since = now;
        peer.record.established += 1;
        let restart = peer.config.graceful_restart.unwrap_or_default();
        let time = Duration::from_secs(restart.stale_time.into());
        let void = peer.kept.peer_is_back(&agreed, now, time);
        peer.session = Some(Session {
            epoch,
            agreed,
            local_address,
            out,
            complete: BTreeSet::new(),
            repeating: Repeating::default(),
            ending: false,
        });
        let changed = self.rib.sweep(address, &void);
        self.touch(changed);
    }

    fn down(&mut self, address: IpAddr, down: &Down) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        tracing::info!(peer = %address, reason = down.reason, retain = down.retain, "BGP session down");
        peer.since = self.clock.now();
        peer.record.lost += 1;
        let session = peer.session.take();
        let again = !peer.kept.is_by_us();
        let kept = match session.filter(|_| down.retain) {
            Some(session) => self.keep(address, &session.agreed, again),
            None => self.forget(address),
        };
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.kept = kept;
        }
    }

    /// Keeps of a peer's routes what it has promised to come back to. `again` says that those which are still to be repeated
    /// were kept over an end of its own doing, too.
    pub(super) fn keep(&mut self, address: IpAddr, agreed: &Agreed, again: bool) -> Kept {
        let kept = Kept::after(agreed, self.clock.now());
        let mut changed = Vec::new();
        if again && agreed.long_lived.is_empty() {
            // RFC 4724 §4.2: what it has not even repeated after its last restart is not kept again.
            changed.extend(self.rib.sweep(address, &Family::BOTH.into()));
        }
        changed.extend(self.rib.mark_stale(address));
        changed.extend(self.rib.sweep(address, &kept.others()));
        self.touch(changed);
        kept
    }

    /// Forgets a peer's routes.
    pub(super) fn forget(&mut self, address: IpAddr) -> Kept {
        let changed = self.rib.remove_peer(address);
        self.touch(changed);
        Kept::default()
    }

    pub(super) fn sweep_overdue(&mut self) {
        let now = self.clock.now();
        let mut changed = Vec::new();
        for (address, peer) in &mut self.peers {
            let due = peer.kept.expire(now);
            if !due.sweep.is_empty() {
                changed.extend(self.rib.sweep(*address, &due.sweep));
            }
            if !due.long_lived.is_empty() {
                changed.extend(self.rib.mark_long_lived(*address, &due.long_lived));
            }
        }
        self.touch(changed);
    }
}
