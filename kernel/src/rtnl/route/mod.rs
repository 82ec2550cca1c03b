//! Routes: the typed route and what can be done with it.

mod codec;
mod display;
mod lookup;

pub use lookup::Way;

use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::route::RouteMessage;
use prefix::{Family, Prefix};

use super::codec::{bytes, decode_all, kinds};
use super::{Rtnl, Scope};
use crate::error::Result;
use crate::netlink::flags;

/// Well-known table numbers (`enum rt_class_t`).
pub mod table {
    /// The table asked last, where routes go that name none.
    pub const MAIN: u32 = 254;
    /// The kernel's own table of local addresses.
    pub const LOCAL: u32 = 255;
}

/// Well-known numbers of who made a route (`RTPROT_*`).
pub mod protocol {
    /// The kernel itself, as the route to a link's prefix.
    pub const KERNEL: u8 = 2;
    /// `ip route add` without more.
    pub const BOOT: u8 = 3;
    /// An administrator.
    pub const STATIC: u8 = 4;
}

/// What happens to a packet that a route matches (`RTN_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RouteKind {
    /// It is sent to a next hop or a link.
    #[default]
    Unicast,
    /// It is for this host.
    Local,
    /// It is dropped without a word.
    Blackhole,
    /// It is dropped and answered with "unreachable".
    Unreachable,
    /// It is dropped and answered with "prohibited".
    Prohibit,
    /// Another kind, by number (broadcast, multicast, anycast, throw, ...).
    Other(u8),
}

/// One way a route can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The router; `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The link's index; `None`: the kernel finds the one the gateway is on.
    pub link: Option<u32>,
    /// Its share among several next hops, 1 to 256.
    pub weight: u16,
    /// The gateway is taken to be on the link, whatever the link's prefixes are.
    pub on_link: bool,
}

impl NextHop {
    /// By a router that is on an attached link.
    pub fn via(gateway: IpAddr) -> Self {
        Self { gateway: Some(gateway), link: None, weight: 1, on_link: false }
    }

    /// Directly on a link.
    pub fn link(link: u32) -> Self {
        Self { gateway: None, link: Some(link), weight: 1, on_link: false }
    }
}

/// A route.
///
/// It is in a normal form, so that a route read back equals the one written: `scope` and `metric` are `None` where
/// they are what the kernel takes when nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where to.
    pub destination: Prefix,
    /// What happens.
    pub kind: RouteKind,
    /// The ways to go; several share the traffic (ECMP).
    pub next_hops: Vec<NextHop>,
    /// The table.
    pub table: u32,
    /// Who made it.
    pub protocol: u8,
    /// How far it reaches; `None`: as the rest of the route implies (link without gateway, host for local routes,
    /// universe else; IPv6 knows no scope).
    pub scope: Option<Scope>,
    /// Smaller wins; `None`: the family's default (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
    /// The source address for packets of this host.
    pub source: Option<IpAddr>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Largest TCP segment to announce, in bytes.
    pub advmss: Option<u32>,
}

impl Route {
    /// A unicast route in the main table with no next hop yet.
    pub fn new(destination: Prefix) -> Self {
        Self {
            destination,
            kind: RouteKind::Unicast,
            next_hops: Vec::new(),
            table: table::MAIN,
            protocol: protocol::BOOT,
            scope: None,
            metric: None,
            source: None,
            mtu: None,
            advmss: None,
        }
    }

    /// With one more next hop.
    #[must_use]
    pub fn next_hop(mut self, hop: NextHop) -> Self {
        self.next_hops.push(hop);
        self
    }

    /// With one more next hop, a router.
    #[must_use]
    pub fn via(self, gateway: IpAddr) -> Self {
        self.next_hop(NextHop::via(gateway))
    }

    /// With one more next hop, a link the destination is on.
    #[must_use]
    pub fn on_link(self, link: u32) -> Self {
        self.next_hop(NextHop::link(link))
    }

    /// In that table.
    #[must_use]
    pub fn table(mut self, table: u32) -> Self {
        self.table = table;
        self
    }

    /// Made by that protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// Of that kind.
    #[must_use]
    pub fn kind(mut self, kind: RouteKind) -> Self {
        self.kind = kind;
        self
    }

    /// With that source for packets of this host.
    #[must_use]
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Its family.
    pub fn family(&self) -> Family {
        self.destination.family()
    }
}

/// Which routes to list; `None` is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteFilter {
    /// Of that family.
    pub family: Option<Family>,
    /// In that table.
    pub table: Option<u32>,
    /// Made by that protocol.
    pub protocol: Option<u8>,
}

impl RouteFilter {
    fn matches(&self, route: &Route) -> bool {
        self.family.is_none_or(|family| family == route.family())
            && self.table.is_none_or(|table| table == route.table)
            && self.protocol.is_none_or(|protocol| protocol == route.protocol)
    }
}

impl Rtnl {
    /// The routes that `filter` takes. The kernel filters, so that a full table costs little if few are wanted.
    pub fn routes(&mut self, filter: &RouteFilter) -> Result<Vec<Route>> {
        let mut found = Vec::new();
        for family in Family::BOTH {
            if filter.family.is_none_or(|wanted| wanted == family) {
                found.extend(self.routes_of(family, filter)?);
            }
        }
        Ok(found)
    }

    fn routes_of(&mut self, family: Family, filter: &RouteFilter) -> Result<Vec<Route>> {
        let message = codec::filter_message(family, filter);
        let operation = format!("list {family} routes");
        let answers = match self.socket.dump(&operation, kinds::GET_ROUTE, &bytes(&message)) {
            // A table nobody has written to does not exist.
            Err(error) if filter.table.is_some() && error.is_not_found() => return Ok(Vec::new()),
            answers => answers?,
        };
        let mut found = decode_all(&answers, kinds::NEW_ROUTE, RouteMessage::parse, Route::from_message);
        // A kernel without IPv6 answers the question for its routes with those of IPv4.
        found.retain(|route| route.family() == family && filter.matches(route));
        Ok(found)
    }

    fn write_route(&mut self, verb: &str, route: &Route, kind: u16, how: u16) -> Result<()> {
        let bytes = bytes(&route.message());
        self.socket.request(&format!("{verb} route {route}"), kind, how, &bytes).map(drop)
    }

    /// Adds a route; one of the same destination, table and metric is an error with `is_exists()`.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        self.write_route("add", route, kinds::NEW_ROUTE, flags::CREATE | flags::EXCLUSIVE)
    }

    /// Adds a route behind those of the same destination, table and metric that go another way: the first one is used
    /// (IPv4), or all of them (IPv6, ECMP). One that goes the same way is an error with `is_exists()`.
    pub fn append_route(&mut self, route: &Route) -> Result<()> {
        self.write_route("append", route, kinds::NEW_ROUTE, flags::CREATE | flags::APPEND)
    }

    /// Writes a route over the one of the same destination, table and metric, or adds it. Traffic goes by the old
    /// or the new one and never by none.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        self.write_route("replace", route, kinds::NEW_ROUTE, flags::CREATE | flags::REPLACE)
    }

    /// Deletes a route; all that is said of it must match.
    pub fn delete_route(&mut self, route: &Route) -> Result<()> {
        self.write_route("delete", route, kinds::DELETE_ROUTE, 0)
    }
}
