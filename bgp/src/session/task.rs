//! The loop of a session.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use prefix::Family;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::jitter::Jitter;
use super::link::{Link, LinkId, News};
use super::{Command, Event};
use crate::clock::{Clock, sleep_until};
use crate::fsm::{self, Action, Fsm, Settings, Side, State, Timer};
use crate::net::{Network, Stream, Way};
use crate::packet::open::{encode_keepalive, encode_route_refresh};
use crate::packet::{Message, Refresh, Update};

/// How long the last messages of a stopped session may take.
const LINGER: Duration = Duration::from_secs(1);

/// Messages with routes that are handed on at once at most. It bounds what a session holds that waits for its turn.
const AT_ONCE: usize = 64;

/// What a session is connected to.
#[derive(Debug)]
pub struct Wiring<N: Network, C> {
    /// Where connections are made.
    pub network: N,
    /// The time.
    pub clock: C,
    /// How the peer is reached.
    pub way: Way,
    /// What the speaker says.
    pub commands: mpsc::UnboundedReceiver<Command<N::Stream>>,
    /// Where the speaker hears, with the number it gave this session.
    pub events: mpsc::Sender<(u64, Event)>,
    /// That number.
    pub number: u64,
}

/// Starts a session. It ends after [`Command::Stop`] or when its speaker is gone.
pub fn spawn<N: Network, C: Clock>(wiring: Wiring<N, C>, settings: Settings) -> JoinHandle<()> {
    let hold_time = settings.hold_time;
    let (news_sender, news) = mpsc::channel(2);
    let session = Session {
        wiring,
        hold_time,
        fsm: Fsm::new(settings),
        state: State::Idle,
        epoch: 0,
        timers: BTreeMap::new(),
        jitter: Jitter::default(),
        links: BTreeMap::new(),
        updates: Vec::new(),
        offered: None,
        attempt: None,
        writers: JoinSet::new(),
        next_id: 0,
        news_sender,
        news,
    };
    tokio::spawn(session.run())
}

/// The result of an attempt to connect, and what happens on connections.
enum Internal<S> {
    Link(LinkId, News),
    Connected(Result<S, fsm::Event>),
}

struct Session<N: Network, C> {
    wiring: Wiring<N, C>,
    hold_time: u16,
    fsm: Fsm,
    state: State,
    epoch: u64,
    timers: BTreeMap<Timer, Duration>,
    jitter: Jitter,
    links: BTreeMap<Side, Link>,
    /// Routes that have come and that the speaker has not been told of.
    updates: Vec<Update>,
    offered: Option<N::Stream>,
    attempt: Option<Attempt<N::Stream>>,
    writers: JoinSet<()>,
    next_id: LinkId,
    news_sender: mpsc::Sender<(LinkId, News)>,
    news: mpsc::Receiver<(LinkId, News)>,
}

/// A connection in the making.
struct Attempt<S> {
    result: tokio::sync::oneshot::Receiver<Result<S, fsm::Event>>,
    task: AbortHandle,
}

impl<N: Network, C: Clock> Session<N, C> {
    async fn run(mut self) {
        self.handle(fsm::Event::Start).await;
        loop {
            let deadline = self.timers.values().min().copied();
            tokio::select! {
                command = self.wiring.commands.recv() => match command {
                    Some(Command::Offer(stream)) => {
                        self.offered = Some(stream);
                        self.handle(fsm::Event::Offered).await;
                        self.offered = None;
                    }
                    Some(Command::Send(epoch, messages)) => self.send(epoch, messages),
                    Some(Command::Refresh(family)) => self.refresh(family),
                    Some(Command::Reset(reset)) => self.handle(fsm::Event::Reset(reset)).await,
                    Some(Command::Stop(notification)) => {
                        self.handle(fsm::Event::Stop(notification)).await;
                        break;
                    }
                    None => {
                        self.handle(fsm::Event::Stop(None)).await;
                        break;
                    }
                },
                internal = next_internal(&mut self.news, &mut self.attempt) => self.internal(internal).await,
                () = sleep_until(&self.wiring.clock, deadline) => self.expire().await,
            }
        }
        self.linger().await;
    }

    /// Waits until what was sent last is with the network.
    async fn linger(mut self) {
        self.links.clear();
        let writers = &mut self.writers;
        let all = async { while writers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LINGER, all).await;
    }

    async fn internal(&mut self, internal: Internal<N::Stream>) {
        match internal {
            Internal::Connected(Ok(stream)) => {
                self.open(Side::Outgoing, stream);
                self.handle(fsm::Event::Connected).await;
            }
            Internal::Connected(Err(failure)) => self.handle(failure).await,
            Internal::Link(id, news) => {
                if let Some(side) = self.side(id) {
                    self.news(id, side, news).await;
                }
            }
        }
    }

    fn side(&self, id: LinkId) -> Option<Side> {
        self.links.iter().find(|(_, link)| link.id == id).map(|(side, _)| *side)
    }

    /// Takes in all whole messages.
    async fn received(&mut self, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.values_mut().find(|link| link.id == id) else { return };
        let mut framer = std::mem::take(&mut link.framer);
        framer.push(bytes);
        // A message may close the connection.
        while let Some(side) = self.side(id) {
            let event = match framer.take() {
                Ok(Some(frame)) => match Message::decode(frame, self.fsm.context(side)) {
                    Ok(message) => fsm::Event::Received(side, message),
                    Err(notification) => fsm::Event::Invalid(side, notification),
                },
                Ok(None) => break,
                Err(notification) => {
                    self.handle(fsm::Event::Invalid(side, notification)).await;
                    break;
                }
            };
            self.handle(event).await;
            if self.updates.len() >= AT_ONCE {
                self.hand_over().await;
            }
        }
        self.hand_over().await;
        framer.trim();
        if let Some(link) = self.links.values_mut().find(|link| link.id == id) {
            link.framer = framer;
        }
    }

    async fn news(&mut self, id: LinkId, side: Side, news: News) {
        let event = match news {
            News::Received(bytes) => return self.received(id, &bytes).await,
            News::Lost(reason) => fsm::Event::Lost(side, reason),
            News::Written => return self.tell(Event::Written).await,
        };
        self.handle(event).await;
    }

    async fn expire(&mut self) {
        let now = self.wiring.clock.now();
        let due: Vec<Timer> =
            self.timers.iter().filter(|(_, deadline)| **deadline <= now).map(|(timer, _)| *timer).collect();
        for timer in due {
            // An earlier one of the list may have stopped it.
            let Some(deadline) = self.timers.get_mut(&timer).filter(|deadline| **deadline <= now) else {
                continue;
            };
            if let Some((stalled, reprieve)) =
                patience(timer).filter(|(stalled, _)| now > *deadline + *stalled)
            {
                tracing::debug!(?timer, ?stalled, "this process did not run when it should have");
                *deadline = now + reprieve;
                continue;
            }
            self.timers.remove(&timer);
            self.handle(fsm::Event::Expired(timer)).await;
        }
    }

    async fn handle(&mut self, event: fsm::Event) {
        for action in self.fsm.handle(event) {
            self.act(action).await;
        }
        if self.state != self.fsm.state() {
            self.state = self.fsm.state();
            self.tell(Event::State(self.state)).await;
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect(),
            Action::CancelConnect => self.cancel(),
            Action::Accept => {
                if let Some(stream) = self.offered.take() {
                    if let Err(error) = stream.limit(self.wiring.way.distance) {
                        tracing::warn!(peer = %self.wiring.way.peer, %error, "cannot set the TTL of a connection");
                    }
                    self.open(Side::Incoming, stream);
                }
            }
            Action::Refuse => self.offered = None,
            Action::SendOpen(side, open) => self.write(side, open.encode()),
            Action::SendKeepalive(side) => self.write(side, encode_keepalive()),
            Action::SendNotification(side, notification) => self.write(side, notification.encode()),
            Action::Close(side) => drop(self.links.remove(&side)),
            Action::Arm(timer, after) => self.arm(timer, after),
            Action::Disarm(timer) => drop(self.timers.remove(&timer)),
            Action::Up(side, agreed) => {
                let local_address = self.links.get(&side).and_then(|link| link.local_address);
                self.epoch += 1;
                self.tell(Event::Up { epoch: self.epoch, agreed, local_address }).await;
            }
            Action::Down(down) => self.tell(Event::Down(down)).await,
            Action::Deliver(update) => self.updates.push(*update),
            Action::Refresh(family, what) => self.tell(Event::Refresh(family, what)).await,
            Action::Report(reason) => self.tell(Event::Report(reason)).await,
        }
    }

    /// Tells the speaker what happened, after the routes that came before it.
    async fn tell(&mut self, event: Event) {
        self.hand_over().await;
        self.event(event).await;
    }

    /// Tells the speaker of the routes that have come.
    async fn hand_over(&mut self) {
        if !self.updates.is_empty() {
            let updates = std::mem::take(&mut self.updates);
            self.event(Event::Updates(updates)).await;
        }
    }

    async fn event(&self, event: Event) {
        // A speaker that is gone has dropped the commands, which ends the session.
        let _ = self.wiring.events.send((self.wiring.number, event)).await;
    }

    fn arm(&mut self, timer: Timer, after: Duration) {
        let after = match timer {
            Timer::Hold(_) | Timer::Crossing | Timer::Settle => after,
            Timer::Connect | Timer::Keepalive(_) => self.jitter.shorten(after),
        };
        self.timers.insert(timer, self.wiring.clock.now() + after);
    }

    fn connect(&mut self) {
        let network = self.wiring.network.clone();
        let way = self.wiring.way.clone();
        let (sender, result) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let result = network.connect(&way).await;
            let _ = sender.send(result.map_err(|error| failure(way.peer, &error)));
        });
        self.attempt = Some(Attempt { result, task: task.abort_handle() });
    }

    fn cancel(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.task.abort();
        }
    }

    fn open(&mut self, side: Side, stream: N::Stream) {
        if let Err(error) = stream.watch(self.hold_time) {
            tracing::warn!(peer = %self.wiring.way.peer, %error, "cannot set TCP options; a dead peer shows by the hold time alone");
        }
        self.next_id += 1;
        let clock = self.wiring.clock.clone();
        let (link, writer) = Link::open(stream, self.next_id, clock, self.news_sender.clone());
        self.writers.spawn(async move {
            let _ = writer.await;
        });
        // Finished writers of earlier connections.
        while self.writers.try_join_next().is_some() {}
        self.links.insert(side, link);
    }

    fn write(&self, side: Side, bytes: Vec<u8>) {
        if let Some(link) = self.links.get(&side) {
            link.send(bytes);
        }
    }

    /// Asks the peer for all of its routes again (RFC 2918).
    fn refresh(&self, family: Family) {
        if let Some(link) = self.links.values().next().filter(|_| self.state == State::Established) {
            link.send(encode_route_refresh(family, Refresh::Request));
        }
    }

    /// Sends routes; only on an established session there are any, and then there is one connection.
    fn send(&self, epoch: u64, messages: Vec<u8>) {
        if self.state != State::Established || epoch != self.epoch {
            return;
        }
        if let Some(link) = self.links.values().next() {
            link.send(messages);
            link.mark();
        }
    }
}

/// For a timer by which the peer's silence is judged: how late it must be noticed to show that this process did not run, so that what the
/// peer sent meanwhile waits to be read and its silence proves nothing yet; and how long there then is to read it.
fn patience(timer: Timer) -> Option<(Duration, Duration)> {
    match timer {
        Timer::Hold(_) => Some((Duration::from_millis(500), Duration::from_secs(1))),
        Timer::Crossing => Some((Duration::from_millis(30), Duration::from_millis(100))),
        Timer::Connect | Timer::Keepalive(_) | Timer::Settle => None,
    }
}

async fn next_internal<S>(
    news: &mut mpsc::Receiver<(LinkId, News)>,
    attempt: &mut Option<Attempt<S>>,
) -> Internal<S> {
    tokio::select! {
        result = connected(attempt) => result,
        Some((id, news)) = news.recv() => Internal::Link(id, news),
    }
}

async fn connected<S>(attempt: &mut Option<Attempt<S>>) -> Internal<S> {
    let Some(running) = attempt else { return std::future::pending().await };
    let result = (&mut running.result).await;
    *attempt = None;
    let broken = |_| Err(fsm::Event::ConnectFailed("the attempt to connect broke off".to_owned()));
    Internal::Connected(result.unwrap_or_else(broken))
}

fn failure(peer: SocketAddr, error: &io::Error) -> fsm::Event {
    let reason = format!("cannot connect to {peer}: {error}");
    match error.kind() {
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
            fsm::Event::Unanswered(reason)
        }
        _ => fsm::Event::ConnectFailed(reason),
    }
}
