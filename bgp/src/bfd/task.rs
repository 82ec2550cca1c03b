//! The task that owns the sessions.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prefix::Family;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::packet::Control;
use super::session::{Change, Session};
use super::socket::{self, Received};
use super::{BfdConfig, BfdEvent, BfdStatus, Command};
use crate::chance::Chance;
use crate::clock::{Clock, sleep_until};

/// Packets that wait to be looked at. More are lost, as packets are.
const QUEUE: usize = 1024;
/// How long a port that cannot be bound is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// What a receiver tells.
enum News {
    /// A packet came to this port.
    Packet(u16, Received),
    /// It receives, or why not.
    State(Port, Option<String>),
}

type Port = (Family, u16);

struct Receiver {
    task: AbortHandle,
    error: Option<String>,
}

struct Neighbour {
    session: Session,
    config: BfdConfig,
    local: Option<IpAddr>,
    discriminator: u32,
    sender: Option<std::net::UdpSocket>,
    ups: u64,
    error: Option<String>,
}

pub(super) struct Task<C> {
    clock: C,
    chance: Chance,
    neighbours: BTreeMap<IpAddr, Neighbour>,
    receivers: BTreeMap<Port, Receiver>,
    events: mpsc::Sender<BfdEvent>,
    status: watch::Sender<BTreeMap<IpAddr, BfdStatus>>,
    news_sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

impl<C: Clock> Task<C> {
    pub(super) fn new(
        clock: C,
        events: mpsc::Sender<BfdEvent>,
        status: watch::Sender<BTreeMap<IpAddr, BfdStatus>>,
    ) -> Self {
        let (news_sender, news) = mpsc::channel(QUEUE);
        Self {
            clock,
            chance: Chance::default(),
            neighbours: BTreeMap::new(),
            receivers: BTreeMap::new(),
            events,
            status,
            news_sender,
            news,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let wake = self.neighbours.values().filter_map(|one| one.session.wake()).min();
            tokio::select! {
                // Packets that have come before a detection time ran out, count.
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(news) = self.news.recv() => self.news(news).await,
                () = sleep_until(&self.clock, wake) => self.tick().await,
            }
            self.publish();
        }
        for peer in self.neighbours.keys().copied().collect::<Vec<_>>() {
            self.remove(peer);
        }
        for receiver in self.receivers.values() {
            receiver.task.abort();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Set { peer, local, config } => self.set(peer.to_canonical(), local, config),
            Command::Remove(peer) => {
                self.remove(peer.to_canonical());
                self.close_unused();
            }
        }
    }

    fn set(&mut self, peer: IpAddr, local: Option<IpAddr>, config: BfdConfig) {
        let now = self.clock.now();
        if let Some(one) = self.neighbours.get_mut(&peer)
            && (one.local, one.config.port, one.config.multihop) == (local, config.port, config.multihop)
        {
            one.config = config;
            one.session.retime(config.timing, now);
            return;
        }
        self.remove(peer);
        let discriminator = self.free_discriminator();
        let session = Session::new(config.timing, discriminator, now);
        let neighbour =
            Neighbour { session, config, local, discriminator, sender: None, ups: 0, error: None };
        self.neighbours.insert(peer, neighbour);
        self.open((Family::of(peer), config.port));
        self.close_unused();
    }

    fn remove(&mut self, peer: IpAddr) {
        if let Some(mut one) = self.neighbours.remove(&peer) {
            let last = one.session.last_control();
            one.send(peer, &last, &mut self.chance);
        }
    }

    /// Any number that is not in use, and not 0 (RFC 5880 §6.8.1).
    fn free_discriminator(&mut self) -> u32 {
        loop {
            let [a, b, c, d, ..] = self.chance.number().to_be_bytes();
            let number = u32::from_be_bytes([a, b, c, d]);
            if number != 0 && self.neighbours.values().all(|one| one.discriminator != number) {
                return number;
            }
        }
    }

    fn open(&mut self, port: Port) {
        let (clock, news) = (self.clock.clone(), self.news_sender.clone());
        self.receivers.entry(port).or_insert_with(|| Receiver {
            task: tokio::spawn(receive(port, clock, news)).abort_handle(),
            error: None,
        });
    }

    fn close_unused(&mut self) {
        let used = |port: &Port| {
            self.neighbours.iter().any(|(peer, one)| (Family::of(*peer), one.config.port) == *port)
        };
        self.receivers.retain(|port, receiver| {
            let stays = used(port);
            if !stays {
                receiver.task.abort();
            }
            stays
        });
    }

    async fn news(&mut self, news: News) {
        match news {
            News::Packet(port, packet) => self.packet(port, &packet).await,
            News::State(port, error) => {
                if let Some(receiver) = self.receivers.get_mut(&port) {
                    if let Some(error) = &error {
                        tracing::warn!(error, "BFD receiver");
                    }
                    receiver.error = error;
                }
            }
        }
    }

    /// RFC 5880 §6.8.6: a packet is of a session by our number in it, and at the beginning by its sender. Ours must always
    /// come from the neighbour that the number was given to.
    async fn packet(&mut self, port: u16, packet: &Received) {
        let control = match Control::decode(&packet.octets) {
            Ok(control) => control,
            Err(reason) => return tracing::debug!(from = %packet.from, %reason, "a BFD packet is dropped"),
        };
        let peer = packet.from.to_canonical();
        let Some(one) = self.neighbours.get_mut(&peer) else { return };
        let known = control.your_discriminator == 0 || control.your_discriminator == one.discriminator;
        let near = one.config.multihop || packet.ttl == Some(socket::TTL);
        if !known || !near || one.config.port != port {
            return tracing::debug!(%peer, known, near, port, "a BFD packet of another session is dropped");
        }
        let (answer, change) = one.session.receive(&control, self.clock.now(), self.chance.part());
        if let Some(answer) = answer {
            one.send(peer, &answer, &mut self.chance);
        }
        self.tell(peer, change).await;
    }

    async fn tick(&mut self) {
        let now = self.clock.now();
        let mut changes = Vec::new();
        for (peer, one) in &mut self.neighbours {
            let (control, change) = one.session.tick(now, self.chance.part());
            if let Some(control) = control {
                one.send(*peer, &control, &mut self.chance);
            }
            changes.push((*peer, change));
        }
        for (peer, change) in changes {
            self.tell(peer, change).await;
        }
    }

    async fn tell(&mut self, peer: IpAddr, change: Option<Change>) {
        let Some(change) = change else { return };
        if change == Change::Up
            && let Some(one) = self.neighbours.get_mut(&peer)
        {
            one.ups += 1;
        }
        tracing::info!(%peer, ?change, "BFD session");
        // Nobody who listens needs no events.
        let _ = self.events.send(BfdEvent { peer, change }).await;
    }

    fn publish(&self) {
        let status = |(peer, one): (&IpAddr, &Neighbour)| {
            let receiver = self.receivers.get(&(Family::of(*peer), one.config.port));
            let error = receiver.and_then(|receiver| receiver.error.clone()).or_else(|| one.error.clone());
            let status = BfdStatus {
                state: one.session.state(),
                diagnostic: one.session.diagnostic(),
                ups: one.ups,
                detection_time: one.session.detection_time(),
                interval: one.session.interval(),
                error,
            };
            (*peer, status)
        };
        let now: BTreeMap<_, _> = self.neighbours.iter().map(status).collect();
        self.status.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

impl Neighbour {
    /// A packet that cannot be sent is a lost packet: the other end notices. The address to send from may come later.
    fn send(&mut self, peer: IpAddr, control: &Control, chance: &mut Chance) {
        let outcome = self.try_send(peer, control, chance);
        if outcome.is_err() {
            self.sender = None;
        }
        self.error = outcome.err().map(|error| format!("cannot send to {peer}: {error}"));
    }

    fn try_send(&mut self, peer: IpAddr, control: &Control, chance: &mut Chance) -> io::Result<()> {
        let to = SocketAddr::new(peer, self.config.port);
        let sender = match self.sender.take() {
            Some(sender) => sender,
            None => socket::sender(self.local, to, chance.number())?,
        };
        let outcome = match sender.send(&control.encode()) {
            // What the network said of an earlier packet: the other end does not listen yet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        };
        self.sender = Some(sender);
        outcome
    }
}

/// Receives at a port for as long as the task is not aborted.
async fn receive<C: Clock>(port: Port, clock: C, news: mpsc::Sender<News>) {
    loop {
        let error = match socket::receiver(port.0, port.1) {
            Ok(socket) => {
                let _ = news.send(News::State(port, None)).await;
                receive_all(&socket, port.1, &news).await
            }
            Err(error) => error,
        };
        let text = format!(
            "cannot receive {} packets at UDP port {}: {error}; trying again every {RETRY:?}",
            port.0, port.1
        );
        if news.send(News::State(port, Some(text))).await.is_err() {
            return;
        }
        clock.sleep_until(clock.now() + RETRY).await;
    }
}

async fn receive_all(socket: &UdpSocket, port: u16, news: &mpsc::Sender<News>) -> io::Error {
    loop {
        match socket::receive(socket).await {
            // A full queue loses packets, as a full socket does.
            Ok(packet) => drop(news.try_send(News::Packet(port, packet))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(error) => return error,
        }
    }
}
