//! The task that owns all peers and routes: its state and its loop. What it does with peers, sessions and routes is in
//! the files beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use prefix::Prefix;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::peer::Peer;
use super::show;
use super::status::{ListenerStatus, SpeakerStatus};
use super::{Command, Shutdown, listen};
use crate::clock::{Clock, sleep_until};
use crate::config::SpeakerConfig;
use crate::net::{Network, Passwords};
use crate::packet::Notification;
use crate::packet::notification::cease;
use crate::rib::{Rib, RibEvent};
use crate::session;

/// How long sessions may take to end at a shutdown.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);
/// What is taken in of one kind before peers are brought up to date: the more at once, the fewer messages.
const AT_ONCE: usize = 16;

/// A listening address and its task.
pub(super) struct Listening {
    task: AbortHandle,
    status: ListenerStatus,
}

pub(super) struct Core<N: Network, C> {
    pub(super) config: SpeakerConfig,
    pub(super) network: N,
    pub(super) clock: C,
    pub(super) started: Duration,
    pub(super) peers: BTreeMap<IpAddr, Peer<N::Stream>>,
    /// The clusters of our clients.
    pub(super) clusters: BTreeSet<Ipv4Addr>,
    pub(super) rib: Rib,
    pub(super) originated: BTreeSet<Prefix>,
    /// What no peer may tell us although we do not originate it now.
    pub(super) protected: BTreeSet<Prefix>,
    pub(super) view_complete: bool,
    pub(super) passwords: watch::Sender<Passwords>,
    pub(super) next_number: u64,
    pub(super) session_sender: mpsc::Sender<(u64, session::Event)>,
    listeners: BTreeMap<SocketAddr, Listening>,
    refused: u64,
    last_refused: Option<IpAddr>,
    events: mpsc::Sender<Vec<RibEvent>>,
    session_events: mpsc::Receiver<(u64, session::Event)>,
    listen_sender: mpsc::Sender<listen::News<N::Stream>>,
    listen_news: mpsc::Receiver<listen::News<N::Stream>>,
}

impl<N: Network, C: Clock> Core<N, C> {
    pub(super) fn new(
        config: SpeakerConfig,
        network: N,
        clock: C,
        events: mpsc::Sender<Vec<RibEvent>>,
    ) -> Self {
        let (session_sender, session_events) = mpsc::channel(AT_ONCE);
        let (listen_sender, listen_news) = mpsc::channel(64);
        let listen = config.listen.clone();
        let mut core = Self {
            config,
            network,
            started: clock.now(),
            clock,
            peers: BTreeMap::new(),
            clusters: BTreeSet::new(),
            rib: Rib::default(),
            originated: BTreeSet::new(),
            protected: BTreeSet::new(),
            view_complete: false,
            passwords: watch::Sender::default(),
            next_number: 0,
            session_sender,
            listeners: BTreeMap::new(),
            refused: 0,
            last_refused: None,
            events,
            session_events,
            listen_sender,
            listen_news,
        };
        core.listen(&listen);
        core
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let deadline = self.peers.values().filter_map(|peer| peer.kept.deadline()).min();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Shutdown(how, answer)) => {
                        self.shutdown(how).await;
                        let _ = answer.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                    None => return self.shutdown(Shutdown::Cease("the speaker ends".to_owned())).await,
                },
                Some((number, event)) = self.session_events.recv() => self.sessions(number, event),
                Some(news) = self.listen_news.recv() => self.listen_news(news),
                () = room(&self.events), if self.rib.has_news() => {}
                () = sleep_until(&self.clock, deadline) => self.sweep_overdue(),
            }
            self.flush();
            self.tell();
        }
    }

    /// Takes in what sessions say, and what waits behind it.
    fn sessions(&mut self, number: u64, event: session::Event) {
        self.session_event(number, event);
        for _ in 1..AT_ONCE {
            if self.rib.has_much_news() {
                return;
            }
            let Ok((number, event)) = self.session_events.try_recv() else { return };
            self.session_event(number, event);
        }
    }

    /// Tells the consumer what it does not know, as far as there is room.
    fn tell(&mut self) {
        while self.rib.has_news() {
            match self.events.try_reserve() {
                Ok(permit) => permit.send(self.rib.news()),
                Err(TrySendError::Full(())) => return,
                Err(TrySendError::Closed(())) => self.rib.nobody_listens(),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::SetPeer(config) => self.set_peer(*config),
            Command::RemovePeer(address) => {
                let text = "this peer is no longer configured";
                self.drop_peer(address, &Notification::cease(cease::DECONFIGURED, text));
            }
            Command::ResetPeer(address, cause, pause) => self.reset_peer(address, cause, pause),
            Command::RefreshPeer(address) => self.refresh_peer(address),
            Command::Announce(prefix, announcement) => self.announce(prefix, announcement),
            Command::Withdraw(prefix) => self.withdraw(prefix),
            Command::Protect(prefix, ours) => self.protect(prefix, ours),
            Command::ViewComplete => self.complete_view(),
            Command::Listen(addresses) => self.listen(&addresses),
            // An asker that has gone needs no answer.
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Rib(answer) => {
                let all = self.rib.prefixes().map(|prefix| show::entry(&self.rib, *prefix));
                drop(answer.send(all.collect()));
            }
            Command::Route(prefix, answer) => {
                let there = !self.rib.paths(&prefix).is_empty();
                drop(answer.send(there.then(|| show::entry(&self.rib, prefix))));
            }
            Command::Advertised(address, answer) => {
                let peer = self.peers.get(&address.to_canonical());
                drop(
                    answer.send(
                        peer.map(|peer| show::advertised(peer, &self.rib, &self.config, &self.clusters)),
                    ),
                );
            }
            Command::Shutdown(..) => {}
        }
    }

    /// Listens at these addresses and no others; a listener that is wanted still is left alone.
    fn listen(&mut self, addresses: &[SocketAddr]) {
        self.listeners.retain(|address, listening| {
            let wanted = addresses.contains(address);
            if !wanted {
                listening.task.abort();
            }
            wanted
        });
        for address in addresses {
            if self.listeners.contains_key(address) {
                continue;
            }
            let listen = listen::Listen {
                address: *address,
                network: self.network.clone(),
                clock: self.clock.clone(),
                passwords: self.passwords.subscribe(),
                news: self.listen_sender.clone(),
            };
            let status = ListenerStatus { address: *address, listening: false, error: None };
            self.listeners.insert(*address, Listening { task: listen.spawn(), status });
        }
    }

    fn listen_news(&mut self, news: listen::News<N::Stream>) {
        match news {
            listen::News::State { address, listening, error } => {
                if let Some(listener) = self.listeners.get_mut(&address) {
                    if let Some(error) = error.as_ref().filter(|_| listener.status.error != error) {
                        tracing::warn!(error, "BGP listener");
                    }
                    listener.status = ListenerStatus { address, listening, error };
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
        for listener in self.listeners.values() {
            listener.task.abort();
        }
        let notification = match how {
            Shutdown::Cease(text) => Some(Notification::cease(cease::SHUTDOWN, &text)),
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
            listeners: self.listeners.values().map(|one| one.status.clone()).collect(),
            refused_connections: self.refused,
            last_refused: self.last_refused,
            peers: peers.collect(),
            originated: self.originated.len(),
            prefixes: self.rib.count(),
        }
    }
}

/// Waits until the consumer has room for a batch, or is gone.
async fn room(events: &mpsc::Sender<Vec<RibEvent>>) {
    let _ = events.reserve().await;
}
