//! The network of the bench: a router in a namespace, and beside it all of its peers in another one.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::bench::world::{ip, on};
use crate::guest::agent::{make_netns, remove_netns};

/// Where routers under test are.
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 255, 1);
/// The peer that is told what the others told.
pub(super) const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 99, 128, 1);

/// The two namespaces; removed with this value.
#[derive(Debug)]
pub(super) struct Wire {
    name: String,
}

impl Wire {
    /// Makes them, and a wire between them.
    pub(super) fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let wire = Self { name: format!("bgp{}", MADE.fetch_add(1, Ordering::Relaxed)) };
        make_netns(&wire.router())?;
        make_netns(&wire.peers())?;
        on(&wire.router(), || {
            ip("link set lo up")?;
            ip(&format!("link add cable type veth peer name cable netns {}", wire.peers()))?;
            ip(&format!("addr add {ROUTER}/16 dev cable"))?;
            ip("link set cable up")
        })?;
        on(&wire.peers(), || {
            ip("link set lo up")?;
            ip("addr add 10.99.255.254/16 dev cable")?;
            ip("link set cable up")?;
            // Every address below the router's is at this end.
            ip("route add local 10.99.0.0/17 dev lo")?;
            ip("route add local 10.99.128.0/24 dev lo")
        })?;
        Ok(wire)
    }

    /// The router's namespace.
    pub(super) fn router(&self) -> String {
        format!("{}-router", self.name)
    }

    /// The peers' namespace.
    pub(super) fn peers(&self) -> String {
        format!("{}-peers", self.name)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for netns in [self.router(), self.peers()] {
            // One that was never made is not there.
            let _gone = remove_netns(&netns);
        }
    }
}

/// The peer with this number.
pub(super) fn peer(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 99, 0, 1).to_bits() + number)
}
