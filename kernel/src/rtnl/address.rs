//! Addresses of links.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::Parseable;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use prefix::{Family, Prefix};

use super::codec::{address_family, bytes, decode_all, ip_family, kinds};
use super::{Rtnl, Scope};
use crate::error::Result;
use crate::netlink::flags;

/// An address of a link, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the on-link prefix in bits.
    pub prefix_length: u8,
    /// Its scope.
    pub scope: Scope,
    /// The IPv4 broadcast address, if one is set.
    pub broadcast: Option<Ipv4Addr>,
    /// It never expires.
    pub permanent: bool,
    /// Duplicate address detection goes on; it cannot be used yet.
    pub tentative: bool,
    /// Somebody else on the link has it.
    pub duplicate: bool,
    /// Its prefix makes no route.
    pub no_prefix_route: bool,
}

impl Address {
    /// The prefix that is on the link.
    pub fn prefix(&self) -> Option<Prefix> {
        Prefix::new(self.address, self.prefix_length).ok()
    }

    /// The address in a message; `None` if it is not IP.
    pub(crate) fn from_message(message: AddressMessage) -> Option<Self> {
        ip_family(message.header.family)?;
        let (mut local, mut remote, mut broadcast) = (None, None, None);
        // The header has room for the first eight flags only; the attribute, if there, has all.
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(address) => local = Some(address),
                AddressAttribute::Address(address) => remote = Some(address),
                AddressAttribute::Broadcast(address) => broadcast = Some(address),
                AddressAttribute::Flags(all) => flags = all,
                _ => {}
            }
        }
        Some(Self {
            link: message.header.index,
            // On a point-to-point link `IFA_ADDRESS` is the other end; IPv6 mostly has no `IFA_LOCAL`.
            address: local.or(remote)?,
            prefix_length: message.header.prefix_len,
            scope: u8::from(message.header.scope).into(),
            broadcast,
            permanent: flags.contains(AddressFlags::Permanent),
            tentative: flags.contains(AddressFlags::Tentative),
            duplicate: flags.contains(AddressFlags::Dadfailed),
            no_prefix_route: flags.contains(AddressFlags::Noprefixroute),
        })
    }
}

/// An address to give to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewAddress {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the on-link prefix in bits.
    pub prefix_length: u8,
    /// Its scope; `None` is host for loopback addresses and universe for all others.
    pub scope: Option<Scope>,
    /// The IPv4 broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Do not ask the link whether somebody else has it (IPv6): it can be used at once.
    pub no_dad: bool,
    /// Make no route to its prefix.
    pub no_prefix_route: bool,
}

impl NewAddress {
    /// An address with nothing special.
    pub fn new(link: u32, address: IpAddr, prefix_length: u8) -> Self {
        Self {
            link,
            address,
            prefix_length,
            scope: None,
            broadcast: None,
            no_dad: false,
            no_prefix_route: false,
        }
    }

    pub(super) fn message(&self) -> AddressMessage {
        let mut message = key_message(self.link, self.address, self.prefix_length);
        let scope =
            self.scope.unwrap_or(if self.address.is_loopback() { Scope::Host } else { Scope::Universe });
        message.header.scope = u8::from(scope).into();
        message.attributes.extend(self.broadcast.map(AddressAttribute::Broadcast));
        let mut flags = AddressFlags::empty();
        flags.set(AddressFlags::Nodad, self.no_dad && self.address.is_ipv6());
        flags.set(AddressFlags::Noprefixroute, self.no_prefix_route);
        if !flags.is_empty() {
            message.header.flags = AddressHeaderFlags::from_bits_retain(flags.bits().to_le_bytes()[0]);
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        message
    }
}

impl fmt::Display for NewAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on link {}", self.address, self.prefix_length, self.link)
    }
}

pub(super) fn key_message(link: u32, address: IpAddr, prefix_length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = address_family(Family::of(address));
    message.header.index = link;
    message.header.prefix_len = prefix_length;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

impl Rtnl {
    /// The addresses of one link or of all, of one family or of both.
    pub fn addresses(&mut self, link: Option<u32>, family: Option<Family>) -> Result<Vec<Address>> {
        let mut message = AddressMessage::default();
        if let Some(family) = family {
            message.header.family = address_family(family);
        }
        message.header.index = link.unwrap_or(0);
        let answers = match self.socket.dump("list addresses", kinds::GET_ADDRESS, &bytes(&message)) {
            // A strict kernel knows that the link asked for is not there.
            Err(error) if link.is_some() && error.is_not_found() => return Ok(Vec::new()),
            answers => answers?,
        };
        let mut found =
            decode_all(&answers, kinds::NEW_ADDRESS, AddressMessage::parse, Address::from_message);
        // Kernels before 4.20 ignore the filter.
        found.retain(|address| {
            link.is_none_or(|link| link == address.link)
                && family.is_none_or(|family| family == Family::of(address.address))
        });
        Ok(found)
    }

    /// Gives an address to a link; one that is there already is an error with `is_exists()`.
    pub fn add_address(&mut self, address: &NewAddress) -> Result<()> {
        let operation = format!("add address {address}");
        let bytes = bytes(&address.message());
        self.socket
            .request(&operation, kinds::NEW_ADDRESS, flags::CREATE | flags::EXCLUSIVE, &bytes)
            .map(drop)
    }

    /// Gives an address to a link, or changes flags and lifetime of the one that is there.
    pub fn replace_address(&mut self, address: &NewAddress) -> Result<()> {
        let operation = format!("set address {address}");
        let bytes = bytes(&address.message());
        self.socket.request(&operation, kinds::NEW_ADDRESS, flags::CREATE | flags::REPLACE, &bytes).map(drop)
    }

    /// Takes an address from a link.
    pub fn delete_address(&mut self, link: u32, address: IpAddr, prefix_length: u8) -> Result<()> {
        let operation = format!("delete address {address}/{prefix_length} of link {link}");
        let message = key_message(link, address, prefix_length);
        self.socket.request(&operation, kinds::DELETE_ADDRESS, 0, &bytes(&message)).map(drop)
    }
}
