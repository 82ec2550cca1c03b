//! A watch on links, addresses, routes and rules of one namespace.
//!
//! What it says is a hint: the kernel drops messages when the reader is slow. Then comes [`Event::Resync`], and the
//! reader lists everything anew; so nobody has to believe that a stream of changes is complete.
//!
//! It does not tell of what tens of thousands of virtual addresses bring with them and nobody waits for: that an IPv4 address
//! of link scope without a subnet is new, and that a host has a new route in the table `local`. That they go is told.

#[cfg(test)]
mod recorded;

use std::time::Duration;

use netlink_packet_core::Parseable;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use nix::errno::Errno;

use crate::error::Result;
use crate::netlink::{Is, Message, Protocol, Socket};
use crate::netns::NetNs;
use crate::rtnl::{Address, Link, Route, Rule, decode_event, kinds};

/// Multicast groups (`enum rtnetlink_groups`).
mod groups {
    pub(super) const LINK: u32 = 1;
    pub(super) const IPV4_ADDRESS: u32 = 5;
    pub(super) const IPV4_ROUTE: u32 = 7;
    pub(super) const IPV4_RULE: u32 = 8;
    pub(super) const IPV6_ADDRESS: u32 = 9;
    pub(super) const IPV6_ROUTE: u32 = 11;
    pub(super) const IPV6_RULE: u32 = 19;
    pub(super) const ALL: [u32; 7] =
        [LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE, IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE];
}

/// Room for messages that wait to be read. A node that gets 50,000 routes at once sends about 5 MB.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;

/// As they stand in messages (`linux/socket.h`, `linux/rtnetlink.h`).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const SCOPE_GLOBAL: u8 = 0;
const TABLE_LOCAL: u8 = 255;

/// New addresses without a subnet that are no source for anybody outside: family, length of the prefix and scope in
/// `struct ifaddrmsg`, which follows the header.
const NEW_VIRTUAL_ADDRESS: [Is; 4] =
    [Is::Kind(kinds::NEW_ADDRESS), Is::Octet(16, AF_INET), Is::Octet(17, 32), Is::NotOctet(19, SCOPE_GLOBAL)];
/// New routes of a host in the table `local`: family, length of the destination and table in `struct rtmsg`.
const NEW_LOCAL_HOST: [Is; 4] =
    [Is::Kind(kinds::NEW_ROUTE), Is::Octet(16, AF_INET), Is::Octet(17, 32), Is::Octet(20, TABLE_LOCAL)];
const NEW_LOCAL_HOST_6: [Is; 4] =
    [Is::Kind(kinds::NEW_ROUTE), Is::Octet(16, AF_INET6), Is::Octet(17, 128), Is::Octet(20, TABLE_LOCAL)];

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link is new or has changed.
    Link(Link),
    /// A link is gone; this is what it was.
    LinkGone(Link),
    /// An address is new or has changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route is new or has changed.
    Route(Route),
    /// A route is gone. Routes that go because their link went are *not* told one by one for IPv4.
    RouteGone(Route),
    /// A rule is new.
    Rule(Rule),
    /// A rule is gone.
    RuleGone(Rule),
    /// Messages were lost: read everything anew.
    Resync,
}

/// A watch on one namespace. One thread owns it and asks for [`Monitor::next`].
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Watches the calling thread's namespace. From now on nothing is missed, so list *after* opening.
    pub fn open() -> Result<Self> {
        Self::with_buffer(RECEIVE_BUFFER)
    }

    /// Watches another namespace.
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        namespace.run_in(Self::open)?
    }

    /// Watches with room for `bytes` of messages that wait.
    pub fn with_buffer(bytes: usize) -> Result<Self> {
        let socket = Socket::open(Protocol::Route)?;
        if let Err(error) = socket.grow_buffers(bytes) {
            // Less room only means more frequent re-syncs.
            tracing::debug!(%error, "the monitor keeps the default buffer");
        }
        let mut monitor = Self { socket };
        monitor.ignore(&[]);
        for group in groups::ALL {
            monitor.socket.join(group)?;
        }
        Ok(monitor)
    }

    /// Is not told of new routes of this protocol (`RTPROT_*`), but for default ones: the caller makes them itself, and there may be half a
    /// million. That they go is told.
    #[must_use]
    pub fn without_routes_of(self, protocol: u8) -> Self {
        // Length of the destination and protocol in `struct rtmsg`.
        self.ignore(&[&[Is::Kind(kinds::NEW_ROUTE), Is::Octet(21, protocol), Is::NotOctet(17, 0)]]);
        self
    }

    /// Is not told of what nobody waits for, nor of `more`.
    fn ignore(&self, more: &[&[Is]]) {
        let rules = [&[&NEW_VIRTUAL_ADDRESS[..], &NEW_LOCAL_HOST, &NEW_LOCAL_HOST_6], more].concat();
        if let Err(error) = self.socket.ignore(&rules) {
            // Then it is told of more than anybody needs.
            tracing::debug!(%error, "the monitor is told of everything");
        }
    }

    /// Waits at most `timeout` for changes. Nothing changed: an empty list.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<Event>> {
        if !self.socket.wait(timeout)? {
            return Ok(Vec::new());
        }
        match self.socket.receive("read changes of links, addresses, routes and rules") {
            Ok(messages) => Ok(messages.iter().filter_map(event).collect()),
            Err(error) if error.errno == Errno::ENOBUFS => Ok(vec![Event::Resync]),
            // What cannot be read may have told anything.
            Err(error) if error.errno == Errno::EBADMSG => Ok(vec![Event::Resync]),
            Err(error) => Err(error),
        }
    }
}

/// The event in a message; `None` for what is none of ours or not understood.
fn event(message: &Message) -> Option<Event> {
    match message.kind {
        // A bridge's word about its ports comes as the same message, and is no link: "gone" then means "no port any
        // more".
        kinds::NEW_LINK => Link::read(message).map(Event::Link),
        kinds::DELETE_LINK => Link::read(message).map(Event::LinkGone),
        kinds::NEW_ADDRESS => address(message).map(Event::Address),
        kinds::DELETE_ADDRESS => address(message).map(Event::AddressGone),
        kinds::NEW_ROUTE => route(message).map(Event::Route),
        kinds::DELETE_ROUTE => route(message).map(Event::RouteGone),
        kinds::NEW_RULE => rule(message).map(Event::Rule),
        kinds::DELETE_RULE => rule(message).map(Event::RuleGone),
        _ => None,
    }
}

fn address(message: &Message) -> Option<Address> {
    decode_event(message, AddressMessage::parse).and_then(Address::from_message)
}

fn route(message: &Message) -> Option<Route> {
    decode_event(message, RouteMessage::parse).and_then(Route::from_message)
}

fn rule(message: &Message) -> Option<Rule> {
    decode_event(message, RuleMessage::parse).and_then(Rule::from_message)
}
