//! Speakers, raw peers and waiting, for the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use prefix::{Family, Prefix};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::clock::{ManualClock, SystemClock};
use crate::config::{Announcement, PeerConfig, SpeakerConfig};
use crate::fsm::State;
use crate::net::memory::{Memory, MemoryStream};
use crate::net::{Distance, Network, Way};
use crate::packet::frame::Framer;
use crate::packet::{Attributes, Capabilities, Context, Message, Open, RestartCapability, encode_update};
use crate::policy::ExportRules;
use crate::{PeerStatus, RibEvent, Speaker, SpeakerHandle};

pub(super) const ASN: u32 = 64512;
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

pub(super) fn v6(last: u8) -> IpAddr {
    format!("2001:db8::{last}").parse().unwrap()
}

pub(super) fn net(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// Waits for what must come; real time only guards against waiting for ever.
pub(super) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let wait = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let Ok(value) = tokio::time::timeout(PATIENCE, wait).await else {
        panic!("never came: {what}");
    };
    value
}

/// A speaker and what it told its consumer.
pub(super) struct Host {
    pub(super) handle: SpeakerHandle,
    events: mpsc::Receiver<Vec<RibEvent>>,
    routes: BTreeMap<Prefix, Vec<IpAddr>>,
    /// What was withdrawn at any time.
    lost: BTreeSet<Prefix>,
}

pub(super) fn config(last: u8) -> SpeakerConfig {
    let listen = vec![SocketAddr::new(ip(last), 179)];
    SpeakerConfig { listen, ..SpeakerConfig::new(ASN, Ipv4Addr::new(192, 0, 2, last)) }
}

impl Host {
    pub(super) fn start(network: &Memory, config: SpeakerConfig) -> Self {
        let host = network.host(IpAddr::V4(config.router_id));
        Self::of(Speaker::start_with(config, host, SystemClock::default()).unwrap())
    }

    pub(super) fn start_at(network: &Memory, config: SpeakerConfig, clock: &ManualClock) -> Self {
        let host = network.host(IpAddr::V4(config.router_id));
        Self::of(Speaker::start_with(config, host, clock.clone()).unwrap())
    }

    fn of((handle, events): (SpeakerHandle, mpsc::Receiver<Vec<RibEvent>>)) -> Self {
        Self { handle, events, routes: BTreeMap::new(), lost: BTreeSet::new() }
    }

    pub(super) async fn peer(&self, last: u8) {
        self.handle.set_peer(PeerConfig::new(ip(last), ASN)).await.unwrap();
    }

    /// Makes `last` a peer that is told everything.
    pub(super) async fn transit_peer(&self, last: u8, asn: u32) {
        let config = PeerConfig { export: ExportRules::transit(), ..PeerConfig::new(ip(last), asn) };
        self.handle.set_peer(config).await.unwrap();
    }

    pub(super) async fn announce(&self, prefix: &str, next_hop: IpAddr) {
        self.handle.announce(net(prefix), Announcement::via(next_hop)).await.unwrap();
    }

    pub(super) async fn status_of(&self, last: u8) -> PeerStatus {
        let status = self.handle.status().await.unwrap();
        status.peers.into_iter().find(|peer| peer.address == ip(last)).expect("the peer is configured")
    }

    pub(super) async fn established(&self, last: u8) {
        eventually("an established session", || async {
            (self.status_of(last).await.state == State::Established).then_some(())
        })
        .await;
    }

    /// The routes the consumer knows of.
    pub(super) fn routes(&mut self) -> &BTreeMap<Prefix, Vec<IpAddr>> {
        let told = std::iter::from_fn(|| self.events.try_recv().ok());
        for RibEvent { prefix, next_hops, .. } in told.flatten() {
            if next_hops.is_empty() {
                self.routes.remove(&prefix);
                self.lost.insert(prefix);
            } else {
                self.routes.insert(prefix, next_hops.to_vec());
            }
        }
        &self.routes
    }

    /// The routes the consumer was told to be gone, whatever came later.
    pub(super) fn lost(&mut self) -> &BTreeSet<Prefix> {
        self.routes();
        &self.lost
    }

    /// Waits until the session with `last` has come up for the `times`th time.
    pub(super) async fn came_up(&self, last: u8, times: u64) {
        eventually("a session", || async { (self.status_of(last).await.established >= times).then_some(()) })
            .await;
    }

    pub(super) async fn has(&mut self, expected: &[(&str, &[IpAddr])]) {
        let expected: BTreeMap<Prefix, Vec<IpAddr>> =
            expected.iter().map(|(prefix, hops)| (net(prefix), hops.to_vec())).collect();
        let start = tokio::time::Instant::now();
        while *self.routes() != expected {
            let routes = &self.routes;
            assert!(start.elapsed() < PATIENCE, "has {routes:?} and not {expected:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A peer that does only what a test tells it.
pub(super) struct RawPeer {
    pub(super) stream: MemoryStream,
    framer: Framer,
}

impl RawPeer {
    pub(super) async fn connect(network: &Memory, from: u8, to: u8) -> Self {
        let host = network.host(ip(from));
        let peer = SocketAddr::new(ip(to), 179);
        let way = Way { peer, local: None, password: None, distance: Distance::default() };
        Self::over(eventually("a connection", || async { host.connect(&way).await.ok() }).await)
    }

    pub(super) fn over(stream: MemoryStream) -> Self {
        Self { stream, framer: Framer::default() }
    }

    /// Nothing comes for a while.
    pub(super) async fn silent(&mut self) {
        let mut octet = [0];
        let read = tokio::time::timeout(Duration::from_millis(50), self.stream.read(&mut octet));
        assert!(read.await.is_err(), "something came");
    }

    pub(super) fn open(last: u8, hold_time: u16, restart: Option<u16>) -> Open {
        Open {
            asn: ASN,
            hold_time,
            router_id: Ipv4Addr::new(192, 0, 2, last),
            capabilities: Capabilities {
                families: Family::BOTH.into(),
                four_octet_as: true,
                route_refresh: true,
                enhanced_refresh: true,
                graceful_restart: restart.map(|seconds| RestartCapability {
                    seconds,
                    families: vec![(Family::V4, true)],
                    ..RestartCapability::default()
                }),
                long_lived: Vec::new(),
                extended_next_hop: false,
            },
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let context = Context { four_octet_as: true, internal: true, ..Context::default() };
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.framer.take().unwrap() {
                return Some(Message::decode(frame, context).unwrap());
            }
            let wait = self.stream.read(&mut buffer);
            match tokio::time::timeout(PATIENCE, wait).await.expect("nothing came") {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.framer.push(&buffer[..length]),
            }
        }
    }

    /// Brings a session up as the side that says what it is told.
    pub(super) async fn establish(network: &Memory, from: u8, to: u8, open: &Open) -> Self {
        Self::greet(network, from, to, open).await.0
    }

    /// The same, with the OPEN that came.
    pub(super) async fn greet(network: &Memory, from: u8, to: u8, open: &Open) -> (Self, Open) {
        let mut peer = Self::connect(network, from, to).await;
        peer.send(&open.encode()).await;
        let Some(Message::Open(heard)) = peer.next().await else { panic!("no OPEN came") };
        assert_eq!(peer.next().await, Some(Message::Keepalive));
        peer.send(&crate::packet::open::encode_keepalive()).await;
        (peer, heard)
    }
}

/// A peer that waits to be connected to.
pub(super) fn passive(last: u8) -> PeerConfig {
    PeerConfig { passive: true, ..PeerConfig::new(ip(last), ASN) }
}

/// An UPDATE of a peer of our own AS.
pub(super) fn routes(prefixes: &[&str], next_hop: IpAddr) -> Vec<u8> {
    let context = Context { four_octet_as: true, ..Context::default() };
    let prefixes: Vec<_> = prefixes.iter().map(|text| net(text)).collect();
    let attributes = Attributes { local_pref: Some(100), ..Attributes::default() };
    encode_update(&attributes, next_hop, &prefixes, context).unwrap().remove(0)
}
