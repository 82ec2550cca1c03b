//! Neighbours: which Ethernet address answers to which IP address on a link.

use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as WireState,
};
use netlink_packet_route::route::RouteType;
use prefix::Family;

use super::codec::{address_family, bytes, decode_all, kinds};
use super::{MacAddress, Rtnl};
use crate::error::Result;
use crate::netlink::flags;

/// What the kernel knows about a neighbour (`NUD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Written by an administrator; never asked again.
    Permanent,
    /// Confirmed lately.
    Reachable,
    /// Known, to be confirmed when used.
    Stale,
    /// Did not answer.
    Failed,
    /// Another state, by number.
    Other(u16),
}

impl From<WireState> for NeighbourState {
    fn from(state: WireState) -> Self {
        match state {
            WireState::Permanent => Self::Permanent,
            WireState::Reachable => Self::Reachable,
            WireState::Stale => Self::Stale,
            WireState::Failed => Self::Failed,
            other => Self::Other(other.into()),
        }
    }
}

impl From<NeighbourState> for WireState {
    fn from(state: NeighbourState) -> Self {
        match state {
            NeighbourState::Permanent => Self::Permanent,
            NeighbourState::Reachable => Self::Reachable,
            NeighbourState::Stale => Self::Stale,
            NeighbourState::Failed => Self::Failed,
            NeighbourState::Other(number) => number.into(),
        }
    }
}

/// A neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's index.
    pub link: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its Ethernet address, once known.
    pub mac: Option<MacAddress>,
    /// What is known about it.
    pub state: NeighbourState,
}

impl Neighbour {
    fn from_message(message: NeighbourMessage) -> Option<Self> {
        let (mut address, mut mac) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(v4.into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(v6.into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = MacAddress::from_bytes(&bytes),
                _ => {}
            }
        }
        // Entries of proxy ARP promise to answer for others and are no neighbours.
        let proxy = message.header.flags.contains(NeighbourFlags::Proxy);
        let (link, state) = (message.header.ifindex, message.header.state.into());
        address.filter(|_| !proxy).map(|address| Self { link, address, mac, state })
    }

    fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = address_family(Family::of(self.address));
        message.header.ifindex = self.link;
        message.header.state = self.state.into();
        message.header.kind = RouteType::Unspec;
        message.attributes.push(NeighbourAttribute::Destination(self.address.into()));
        message.attributes.extend(self.mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())));
        message
    }
}

impl Rtnl {
    /// The neighbours on one link or on all, of one family or of both.
    pub fn neighbours(&mut self, link: Option<u32>, family: Option<Family>) -> Result<Vec<Neighbour>> {
        let mut message = NeighbourMessage::default();
        if let Some(family) = family {
            message.header.family = address_family(family);
        }
        message.attributes.extend(link.map(NeighbourAttribute::IfIndex));
        let answers = self.socket.dump("list neighbours", kinds::GET_NEIGHBOUR, &bytes(&message))?;
        let mut found =
            decode_all(&answers, kinds::NEW_NEIGHBOUR, NeighbourMessage::parse, Neighbour::from_message);
        found.retain(|one| {
            link.is_none_or(|link| link == one.link)
                && family.is_none_or(|family| family == Family::of(one.address))
        });
        Ok(found)
    }

    /// Writes a neighbour, whether or not it is there.
    pub fn replace_neighbour(&mut self, neighbour: &Neighbour) -> Result<()> {
        let Neighbour { link, address, mac, .. } = neighbour;
        let mac = mac.map_or_else(|| "nobody".to_owned(), |mac| mac.to_string());
        let operation = format!("set neighbour {address} at {mac} on link {link}");
        let bytes = bytes(&neighbour.message());
        self.socket
            .request(&operation, kinds::NEW_NEIGHBOUR, flags::CREATE | flags::REPLACE, &bytes)
            .map(drop)
    }

    /// Makes the kernel ask for `address` on a link, as if a packet waited for it (`NTF_USE`). It returns at once; the
    /// answer, or that none came, is what [`Rtnl::neighbours`] shows some time later. Filters for packets do not see it.
    pub fn ask_neighbour(&mut self, link: u32, address: IpAddr) -> Result<()> {
        let operation = format!("ask for neighbour {address} on link {link}");
        let mut message = Neighbour { link, address, mac: None, state: NeighbourState::Other(0) }.message();
        message.header.flags = NeighbourFlags::Use;
        self.socket
            .request(&operation, kinds::NEW_NEIGHBOUR, flags::CREATE | flags::REPLACE, &bytes(&message))
            .map(drop)
    }

    /// Forgets a neighbour.
    pub fn delete_neighbour(&mut self, link: u32, address: IpAddr) -> Result<()> {
        let operation = format!("delete neighbour {address} on link {link}");
        let neighbour = Neighbour { link, address, mac: None, state: NeighbourState::Other(0) };
        self.socket.request(&operation, kinds::DELETE_NEIGHBOUR, 0, &bytes(&neighbour.message())).map(drop)
    }
}
