//! Our side: the speaker and what it has chosen.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bgp::fsm::State;
use bgp::{
    Announcement, Communities, PeerConfig, PeerStatus, RibEvent, RibPath, Shutdown, Speaker, SpeakerConfig,
    SpeakerHandle,
};
use prefix::Prefix;
use tokio::sync::mpsc;

use super::{ASN, Setup, v4, v6, wait_for};

/// A speaker at one of our addresses.
pub struct Ours {
    pub runtime: tokio::runtime::Runtime,
    pub handle: SpeakerHandle,
    events: mpsc::Receiver<Vec<RibEvent>>,
    routes: BTreeMap<Prefix, Vec<IpAddr>>,
}

impl Ours {
    /// To be called inside of the namespace, whose threads inherit it. It originates `10.<last>.0.0/24` and
    /// `fd00:<last>::/64`.
    pub fn start(last: u8) -> Self {
        Self::with(SpeakerConfig {
            listen: vec![SocketAddr::new(v4(last), 179), SocketAddr::new(v6(last), 179)],
            ..SpeakerConfig::new(ASN, format!("192.0.2.{last}").parse().unwrap())
        })
    }

    pub fn with(config: SpeakerConfig) -> Self {
        let last = config.router_id.octets()[3];
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (handle, events) = {
            let _inside = runtime.enter();
            Speaker::start(config).unwrap()
        };
        let ours = Self { runtime, handle, events, routes: BTreeMap::new() };
        let communities = Communities {
            standard: vec![ASN << 16 | 7],
            large: vec![(ASN, 7, 8)],
            extended: vec![[0, 2, 0xfc, 0, 0, 0, 0, 9]],
        };
        ours.announce(
            &format!("10.{last}.0.0/24"),
            Announcement { communities, ..Announcement::via(v4(last)) },
        );
        ours.announce(&format!("fd00:{last}::/64"), Announcement::via(v6(last)));
        ours.handle.blocking().view_complete().unwrap();
        ours
    }

    pub fn announce(&self, prefix: &str, announcement: Announcement) {
        self.handle.blocking().announce(prefix.parse().unwrap(), announcement).unwrap();
    }

    pub fn set_peer(&self, peer: PeerConfig) {
        peer.check(ASN).unwrap();
        self.handle.blocking().set_peer(peer).unwrap();
    }

    pub fn status(&self, setup: &Setup) -> PeerStatus {
        let status = self.handle.blocking().status().unwrap();
        status.peers.into_iter().find(|peer| peer.address == setup.address()).unwrap()
    }

    pub fn established(&self, setup: &Setup) {
        wait_for(&format!("a session with {:?}", setup.kind), || {
            self.status(setup).state == State::Established
        });
    }

    /// The paths to a prefix, the best first.
    pub fn paths(&self, prefix: &str) -> Vec<RibPath> {
        let route = self.handle.route(prefix.parse().unwrap());
        self.runtime.block_on(route).unwrap().map(|entry| entry.paths).unwrap_or_default()
    }

    /// Takes in what the speaker has told.
    pub fn routes(&mut self) -> &BTreeMap<Prefix, Vec<IpAddr>> {
        let told = std::iter::from_fn(|| self.events.try_recv().ok());
        for RibEvent { prefix, next_hops, .. } in told.flatten() {
            if next_hops.is_empty() {
                self.routes.remove(&prefix);
            } else {
                self.routes.insert(prefix, next_hops.to_vec());
            }
        }
        &self.routes
    }

    /// Waits until exactly these prefixes have a way, with these next hops.
    pub fn has(&mut self, expected: &[(String, Vec<IpAddr>)]) {
        let expected: BTreeMap<Prefix, Vec<IpAddr>> =
            expected.iter().map(|(prefix, hops)| (prefix.parse().unwrap(), hops.clone())).collect();
        let start = std::time::Instant::now();
        while *self.routes() != expected {
            assert!(
                start.elapsed() < Duration::from_mins(1),
                "has {:?} and not {expected:?}: {:#?}",
                self.routes,
                self.handle.blocking().status()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn shutdown(self, how: Shutdown) {
        self.runtime.block_on(self.handle.shutdown(how)).unwrap();
    }
}
