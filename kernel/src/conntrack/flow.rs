//! Flows as the kernel writes and reads them (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use prefix::Family;

use crate::netlink::{AttributeReader, Attributes};

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Bits that say which parts of a filter's tuple count (`CTA_FILTER_F_*`, `net/netfilter/nf_internals.h`).
const COUNTS_SOURCE: u32 = 1;
const COUNTS_DESTINATION: u32 = 1 << 1;
const COUNTS_PROTOCOL: u32 = 1 << 3;
const COUNTS_SOURCE_PORT: u32 = 1 << 4;
const COUNTS_DESTINATION_PORT: u32 = 1 << 5;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE_PORT: u16 = 2;
const PROTO_DESTINATION_PORT: u16 = 3;

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// IP protocol number.
    pub protocol: u8,
    /// Where packets come from; the port is 0 for protocols without ports.
    pub source: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
}

impl Tuple {
    /// The family of its addresses.
    pub fn family(&self) -> Family {
        Family::of(self.source.ip())
    }

    fn parse(reader: &AttributeReader<'_>) -> Option<Self> {
        let addresses = reader.find(TUPLE_IP)?.nested();
        let ports = reader.find(TUPLE_PROTO)?.nested();
        let port = |kind| ports.find(kind).and_then(|attribute| attribute.u16_be().ok()).unwrap_or(0);
        Some(Self {
            protocol: ports.find(PROTO_NUMBER)?.u8().ok()?,
            source: SocketAddr::new(address(&addresses, 1, 3)?, port(PROTO_SOURCE_PORT)),
            destination: SocketAddr::new(address(&addresses, 2, 4)?, port(PROTO_DESTINATION_PORT)),
        })
    }

    fn write(&self, out: &mut Attributes, kind: u16) {
        write_tuple(
            out,
            kind,
            Some(self.protocol),
            (Some(self.source.ip()), Some(self.source.port())),
            (Some(self.destination.ip()), Some(self.destination.port())),
        );
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "protocol {} {} to {}", self.protocol, self.source, self.destination)
    }
}

/// The address under the IPv4 or the IPv6 attribute number.
fn address(reader: &AttributeReader<'_>, v4: u16, v6: u16) -> Option<IpAddr> {
    if let Some(attribute) = reader.find(v4) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(attribute.payload).ok()?).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(reader.find(v6)?.payload).ok()?).into())
}

type End = (Option<IpAddr>, Option<u16>);

fn write_tuple(out: &mut Attributes, kind: u16, protocol: Option<u8>, source: End, destination: End) {
    out.nested(kind, |tuple| {
        tuple.nested(TUPLE_IP, |inner| {
            for (address, v4, v6) in [(source.0, 1, 3), (destination.0, 2, 4)] {
                match address {
                    Some(IpAddr::V4(address)) => inner.bytes(v4, &address.octets()),
                    Some(IpAddr::V6(address)) => inner.bytes(v6, &address.octets()),
                    None => continue,
                };
            }
        });
        tuple.nested(TUPLE_PROTO, |inner| {
            if let Some(protocol) = protocol {
                inner.u8(PROTO_NUMBER, protocol);
            }
            for (port, number) in [(source.1, PROTO_SOURCE_PORT), (destination.1, PROTO_DESTINATION_PORT)] {
                if let Some(port) = port {
                    inner.u16_be(number, port);
                }
            }
        });
    });
}

/// A tracked flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// As the first packet came.
    pub original: Tuple,
    /// As replies come: where addresses are rewritten, this is no mirror of the other.
    pub reply: Tuple,
    /// The kernel's number for it.
    pub id: u32,
    /// Its zone.
    pub zone: u16,
    /// Its connection mark.
    pub mark: u32,
}

impl Flow {
    /// Reads a flow; `None` for what has no tuples that are understood.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let reader = AttributeReader::new(payload.get(4..)?);
        let number = |kind| reader.find(kind).and_then(|attribute| attribute.u32_be().ok());
        Some(Self {
            original: Tuple::parse(&reader.find(TUPLE_ORIGINAL)?.nested())?,
            reply: Tuple::parse(&reader.find(TUPLE_REPLY)?.nested())?,
            id: number(ID).unwrap_or(0),
            zone: reader.find(ZONE).and_then(|attribute| attribute.u16_be().ok()).unwrap_or(0),
            mark: number(MARK).unwrap_or(0),
        })
    }

    /// The attributes that name it: its number too, so that a newer flow of the same tuple is not meant.
    pub(super) fn name(&self, out: &mut Attributes) {
        self.original.write(out, TUPLE_ORIGINAL);
        if self.zone != 0 {
            out.u16_be(ZONE, self.zone);
        }
        out.u32_be(ID, self.id);
    }
}

/// Which flows are meant. Fields that are `None` admit everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Their family.
    pub family: Family,
    /// Their IP protocol number.
    pub protocol: Option<u8>,
    /// The address the first packet came from.
    pub original_source: Option<IpAddr>,
    /// The address the first packet went to.
    pub original_destination: Option<IpAddr>,
    /// The port it went to.
    pub original_port: Option<u16>,
    /// The address replies come from.
    pub reply_source: Option<IpAddr>,
    /// The port they come from.
    pub reply_port: Option<u16>,
}

impl Filter {
    /// All flows of a family.
    pub fn family(family: Family) -> Self {
        Self {
            family,
            protocol: None,
            original_source: None,
            original_destination: None,
            original_port: None,
            reply_source: None,
            reply_port: None,
        }
    }

    /// All flows of a family and an IP protocol number.
    pub fn protocol(family: Family, protocol: u8) -> Self {
        Self { protocol: Some(protocol), ..Self::family(family) }
    }

    /// The flows that `address` has begun, and those that it answers.
    pub fn with(address: IpAddr) -> [Self; 2] {
        let all = Self::family(Family::of(address));
        [Self { original_source: Some(address), ..all }, Self { reply_source: Some(address), ..all }]
    }

    /// Only those whose first packet went to `socket`.
    #[must_use]
    pub fn to(mut self, socket: SocketAddr) -> Self {
        self.original_destination = Some(socket.ip());
        self.original_port = Some(socket.port());
        self
    }

    /// Only those whose replies come from `socket`.
    #[must_use]
    pub fn answered_by(mut self, socket: SocketAddr) -> Self {
        self.reply_source = Some(socket.ip());
        self.reply_port = Some(socket.port());
        self
    }

    /// True if `flow` is meant.
    pub fn admits(&self, flow: &Flow) -> bool {
        let fits = |wanted: Option<IpAddr>, found: SocketAddr| wanted.is_none_or(|ip| ip == found.ip());
        let port_fits =
            |wanted: Option<u16>, found: SocketAddr| wanted.is_none_or(|port| port == found.port());
        flow.original.family() == self.family
            && self.protocol.is_none_or(|protocol| flow.original.protocol == protocol)
            && fits(self.original_source, flow.original.source)
            && fits(self.original_destination, flow.original.destination)
            && port_fits(self.original_port, flow.original.destination)
            && fits(self.reply_source, flow.reply.source)
            && port_fits(self.reply_port, flow.reply.source)
    }

    /// True if the kernel's own filter admits exactly what this one does.
    ///
    /// Kernels up to 6.18 compare IPv6 addresses the wrong way round, and admit all flows but those that are meant
    /// (`ctnetlink_filter_match_tuple`).
    pub(super) fn is_safe_in_kernel(&self) -> bool {
        let addresses = [self.original_source, self.original_destination, self.reply_source];
        self.family == Family::V4 || addresses.iter().all(Option::is_none)
    }

    /// The kernel's own filter; if it is not safe, without the addresses.
    pub(super) fn attributes(&self) -> Attributes {
        let mut out = Attributes::new();
        let trusted = |address: Option<IpAddr>| address.filter(|_| self.is_safe_in_kernel());
        let original = (trusted(self.original_destination), self.original_port);
        let reply = (trusted(self.reply_source), self.reply_port);
        let client = (trusted(self.original_source), None);
        write_tuple(&mut out, TUPLE_ORIGINAL, self.protocol, client, original);
        write_tuple(&mut out, TUPLE_REPLY, self.protocol, reply, (None, None));
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let protocol = bit(self.protocol.is_some(), COUNTS_PROTOCOL);
        out.nested(FILTER, |filter| {
            filter
                .u32(
                    FILTER_ORIGINAL,
                    protocol
                        | bit(client.0.is_some(), COUNTS_SOURCE)
                        | bit(original.0.is_some(), COUNTS_DESTINATION)
                        | bit(original.1.is_some(), COUNTS_DESTINATION_PORT),
                )
                .u32(
                    FILTER_REPLY,
                    protocol
                        | bit(reply.0.is_some(), COUNTS_SOURCE)
                        | bit(reply.1.is_some(), COUNTS_SOURCE_PORT),
                );
        });
        out
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} flows", self.family)?;
        if let Some(protocol) = self.protocol {
            write!(f, " of protocol {protocol}")?;
        }
        if let Some(address) = self.original_source {
            write!(f, " from {address}")?;
        }
        if let (Some(address), Some(port)) = (self.original_destination, self.original_port) {
            write!(f, " to {}", SocketAddr::new(address, port))?;
        }
        match (self.reply_source, self.reply_port) {
            (Some(address), Some(port)) => write!(f, " answered by {}", SocketAddr::new(address, port))?,
            (Some(address), None) => write!(f, " answered by {address}")?,
            _ => {}
        }
        Ok(())
    }
}
