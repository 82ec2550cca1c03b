//! The task that owns all peers and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prefix::{Family, Prefix};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::peer::{Peer, Session, settings, view};
use super::show::{self, Told};
use super::status::{ListenerStatus, RibEntry, SpeakerStatus};
use super::{Command, RibEvent, Shutdown, graceful, listen};
use crate::clock::{Clock, sleep_until};
use crate::config::{Announcement, PeerConfig, SpeakerConfig};
use crate::fsm::{Agreed, Down, State};
use crate::net::Network;
use crate::packet::notification::cease;
use crate::packet::{Attributes, Notification, Update};
use crate::rib::{AdjOut, Path, Rib, Source, export, import};
use crate::session;

/// How long sessions may take to end at a shutdown.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

pub(super) struct Core<N: Network, C> {
    config: SpeakerConfig,
    network: N,
    clock: C,
    peers: BTreeMap<IpAddr, Peer<N::Stream>>,
    rib: Rib,
    originated: BTreeSet<Prefix>,
    view_complete: bool,
    listeners: Vec<ListenerStatus>,
    listen_tasks: Vec<AbortHandle>,
    refused: u64,
    last_refused: Option<IpAddr>,
    next_number: u64,
    events: mpsc::Sender<RibEvent>,
    untold: BTreeSet<Prefix>,
    told: BTreeMap<Prefix, Told>,
    session_sender: mpsc::Sender<(u64, session::Event)>,
    session_events: mpsc::Receiver<(u64, session::Event)>,
    listen_news: mpsc::Receiver<listen::News<N::Stream>>,
}

impl<N: Network, C: Clock> Core<N, C> {
    pub(super) fn new(config: SpeakerConfig, network: N, clock: C, events: mpsc::Sender<RibEvent>) -> Self {
        let (session_sender, session_events) = mpsc::channel(256);
        let (listen_sender, listen_news) = mpsc::channel(64);
        let spawn = |(place, address): (usize, &SocketAddr)| {
            listen::spawn(place, *address, network.clone(), clock.clone(), listen_sender.clone())
        };
        let listen_tasks = config.listen.iter().enumerate().map(spawn).collect();
        let not_yet =
            |address: &SocketAddr| ListenerStatus { address: *address, listening: false, error: None };
        Self {
            listeners: config.listen.iter().map(not_yet).collect(),
            config,
            network,
            clock,
            peers: BTreeMap::new(),
            rib: Rib::default(),
            originated: BTreeSet::new(),
            view_complete: false,
            listen_tasks,
            refused: 0,
            last_refused: None,
            next_number: 0,
            events,
            untold: BTreeSet::new(),
            told: BTreeMap::new(),
            session_sender,
            session_events,
            listen_news,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let deadline = self.peers.values().filter_map(|peer| peer.stale_until).min();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shutdown(how, answer)) => {
                        self.shutdown(how).await;
                        let _ = answer.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                    None => return self.shutdown(Shutdown::Cease).await,
                },
                Some((number, event)) = self.session_events.recv() => self.session_event(number, event),
                Some(news) = self.listen_news.recv() => self.listen_news(news),
                permit = self.events.clone().reserve_owned(), if !self.untold.is_empty() => {
                    let event = self.untold.pop_first().map(|prefix| show::tell(&self.rib, &mut self.told, prefix));
                    match (permit, event) {
                        (Ok(permit), Some(event)) => drop(permit.send(event)),
                        // Nobody listens.
                        _ => self.untold.clear(),
                    }
                },
                () = sleep_until(&self.clock, deadline) => self.sweep_overdue(),
            }
            self.flush();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::SetPeer(config) => self.set_peer(*config),
            Command::RemovePeer(address) => {
                self.drop_peer(address, &Notification::new(cease::CODE, cease::DECONFIGURED));
            }
            Command::Announce(prefix, announcement) => self.announce(prefix, announcement),
            Command::Withdraw(prefix) => {
                self.originated.remove(&prefix);
                if self.rib.remove(&prefix, Source::Local) {
                    self.touch([prefix]);
                }
            }
            Command::ViewComplete => self.complete_view(),
            // An asker that has gone needs no answer.
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Rib(answer) => drop(answer.send(self.dump())),
            Command::Shutdown(..) => {}
        }
    }

    fn set_peer(&mut self, mut config: PeerConfig) {
        config.address = config.address.to_canonical();
        if self.peers.get(&config.address).is_some_and(|peer| peer.config == config) {
            return;
        }
        self.drop_peer(config.address, &Notification::new(cease::CODE, cease::CONFIGURATION_CHANGE));
        self.next_number += 1;
        let (commands, command_queue) = mpsc::unbounded_channel();
        let wiring = session::Wiring {
            network: self.network.clone(),
            clock: self.clock.clone(),
            peer: SocketAddr::new(config.address, config.port),
            local_address: config.local_address,
            commands: command_queue,
            events: self.session_sender.clone(),
            number: self.next_number,
        };
        let task = session::spawn(wiring, settings(&config, &self.config));
        let peer = Peer {
            number: self.next_number,
            commands,
            task,
            state: State::Idle,
            since: self.clock.now(),
            session: None,
            stale_until: None,
            established: 0,
            updates: 0,
            last_error: None,
            config,
        };
        self.peers.insert(peer.config.address, peer);
    }

    fn drop_peer(&mut self, address: IpAddr, notification: &Notification) {
        let address = address.to_canonical();
        if let Some(peer) = self.peers.remove(&address) {
            peer.tell(session::Command::Stop(Some(notification.clone())));
            let changed = self.rib.remove_peer(address);
            self.touch(changed);
        }
    }

    fn announce(&mut self, prefix: Prefix, announcement: Announcement) {
        self.originated.insert(prefix);
        let attributes = Attributes {
            local_pref: announcement.local_pref,
            med: announcement.med,
            communities: announcement.communities,
            ..Attributes::default()
        };
        let path = Path {
            source: Source::Local,
            router_id: self.config.router_id,
            next_hop: announcement.next_hop,
            attributes: Arc::new(attributes),
            stale: false,
        };
        if self.rib.put(prefix, path) {
            self.touch([prefix]);
        }
    }

    fn complete_view(&mut self) {
        if std::mem::replace(&mut self.view_complete, true) {
            return;
        }
        for session in self.peers.values_mut().filter_map(|peer| peer.session.as_mut()) {
            for family in &session.agreed.families {
                session.out.finish(*family);
            }
        }
    }

    /// The choice for these prefixes has changed: all peers and the consumer may have to hear of it.
    fn touch(&mut self, prefixes: impl IntoIterator<Item = Prefix>) {
        for prefix in prefixes {
            for session in self.peers.values_mut().filter_map(|peer| peer.session.as_mut()) {
                session.out.touch(prefix);
            }
            if self.told.get(&prefix).cloned().unwrap_or_default() == show::choice(&self.rib, &prefix) {
                self.untold.remove(&prefix);
            } else {
                self.untold.insert(prefix);
            }
        }
    }

    /// Brings all peers up to date that are not busy.
    fn flush(&mut self) {
        let policy = Arc::clone(&self.config.policy);
        for peer in self.peers.values_mut() {
            let Some(mut session) = peer.session.take() else { continue };
            let mut out = std::mem::take(&mut session.out);
            let view = view(&peer.config, &session, &self.config);
            let batch = out.batch(session.agreed.context, |prefix| {
                export(&view, prefix, &self.rib.selected(prefix)?.best, &*policy)
            });
            if let Some(batch) = batch {
                peer.tell(session::Command::Send(session.epoch, batch));
            }
            session.out = out;
            peer.session = Some(session);
        }
    }

    fn session_event(&mut self, number: u64, event: session::Event) {
        // An event of a session that was replaced or removed has no meaning any more.
        let found = self.peers.iter_mut().find(|(_, peer)| peer.number == number);
        let Some((address, peer)) = found.map(|(address, peer)| (*address, peer)) else { return };
        match event {
            session::Event::State(state) => peer.state = state,
            session::Event::Report(reason) => {
                tracing::info!(peer = %address, reason, "BGP session");
                peer.last_error = Some(reason);
            }
            session::Event::Written => {
                if let Some(session) = &mut peer.session {
                    session.out.written();
                }
            }
            session::Event::Refresh(family) => {
                if let Some(session) = &mut peer.session {
                    session.out.refresh(family);
                }
            }
            session::Event::Up { epoch, agreed, local_address } => {
                self.up(address, epoch, *agreed, local_address);
            }
            session::Event::Down(down) => self.down(address, &down),
            session::Event::Update(update) => self.update(address, &update),
        }
    }

    fn up(&mut self, address: IpAddr, epoch: u64, agreed: Agreed, local_address: Option<IpAddr>) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        tracing::info!(peer = %address, hold_time = agreed.hold_time, "BGP session established");
        let now = self.clock.now();
        let mut out = AdjOut::default();
        for prefix in self.rib.prefixes() {
            out.touch(*prefix);
        }
        if self.view_complete {
            for family in &agreed.families {
                out.finish(*family);
            }
        }
        peer.since = now;
        peer.established += 1;
        peer.stale_until = peer.stale_until.map(|_| now + graceful::RESEND_TIME);
        let void = graceful::void(&agreed);
        peer.session = Some(Session { epoch, agreed, local_address, out });
        let changed = self.rib.sweep(address, &void);
        self.touch(changed);
    }

    fn down(&mut self, address: IpAddr, down: &Down) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        tracing::info!(peer = %address, reason = down.reason, retain = down.retain, "BGP session down");
        peer.since = self.clock.now();
        let session = peer.session.take();
        let kept = session.filter(|_| down.retain).and_then(|session| graceful::kept(&session.agreed));
        let changed = if let Some((families, time)) = kept {
            peer.stale_until = Some(peer.since + time);
            let gone = Family::BOTH.into_iter().filter(|family| !families.contains(family)).collect();
            let mut changed = self.rib.mark_stale(address);
            changed.extend(self.rib.sweep(address, &gone));
            changed
        } else {
            peer.stale_until = None;
            self.rib.remove_peer(address)
        };
        self.touch(changed);
    }

    fn update(&mut self, address: IpAddr, update: &Update) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(session) = &peer.session else { return };
        let imported = import(&view(&peer.config, session, &self.config), update, &*self.config.policy);
        peer.updates += 1;
        if let Some(fault) = update.faults.iter().chain(&imported.refused).next_back() {
            tracing::debug!(peer = %address, fault, "routes refused");
            peer.last_error = Some(fault.clone());
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
            changed.extend(self.rib.sweep(address, &[family].into()));
        }
        self.touch(changed);
    }

    fn sweep_overdue(&mut self) {
        let now = self.clock.now();
        let mut changed = Vec::new();
        for (address, peer) in &mut self.peers {
            if peer.stale_until.is_some_and(|until| until <= now) {
                peer.stale_until = None;
                changed.extend(self.rib.sweep(*address, &Family::BOTH.into()));
            }
        }
        self.touch(changed);
    }

    fn listen_news(&mut self, news: listen::News<N::Stream>) {
        match news {
            listen::News::State(place, error) => {
                if let Some(listener) = self.listeners.get_mut(place) {
                    if let Some(error) = error.as_ref().filter(|_| listener.error != error) {
                        tracing::warn!(error, "BGP listener");
                    }
                    listener.listening = error.is_none();
                    listener.error = error;
                }
            }
            listen::News::Accepted(stream, address) => {
                if let Some(peer) = self.peers.get(&address) {
                    peer.tell(session::Command::Offer(stream));
                } else {
                    tracing::debug!(%address, "a BGP connection of no peer is closed");
                    self.refused += 1;
                    self.last_refused = Some(address);
                }
            }
        }
    }

    async fn shutdown(&mut self, how: Shutdown) {
        for task in &self.listen_tasks {
            task.abort();
        }
        let notification = match how {
            Shutdown::Cease => Some(Notification::new(cease::CODE, cease::SHUTDOWN)),
            Shutdown::Quiet => None,
        };
        // A session that waits for room to tell its last news would otherwise wait for us.
        self.session_events.close();
        let peers = std::mem::take(&mut self.peers);
        for peer in peers.values() {
            peer.tell(session::Command::Stop(notification.clone()));
        }
        let ends = async {
            for peer in peers.into_values() {
                let _ = peer.task.await;
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN_TIME, ends).await;
    }

    fn status(&self) -> SpeakerStatus {
        let now = self.clock.now();
        let peers = self.peers.iter().map(|(address, peer)| show::peer(*address, peer, &self.rib, now));
        SpeakerStatus {
            asn: self.config.asn,
            router_id: self.config.router_id,
            listeners: self.listeners.clone(),
            refused_connections: self.refused,
            last_refused: self.last_refused,
            peers: peers.collect(),
            originated: self.originated.len(),
            prefixes: self.rib.prefixes().count(),
        }
    }

    fn dump(&self) -> Vec<RibEntry> {
        self.rib.prefixes().map(|prefix| show::entry(&self.rib, *prefix)).collect()
    }
}
