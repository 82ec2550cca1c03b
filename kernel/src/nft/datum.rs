//! Typed values: what keys and data of sets are made of and what rules compare with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for an interface name in a key (`IFNAMSIZ`).
const NAME_LENGTH: usize = 16;
/// Fields of a concatenation begin at a multiple of this (`NFT_REG32_SIZE`).
pub(super) const WORD: usize = 4;

/// The type of a value.
///
/// The numbers are those of `nft` (`include/datatype.h`); the kernel only keeps them, so that `nft list` can print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// An IPv4 address (`ipv4_addr`).
    Ip4,
    /// An IPv6 address (`ipv6_addr`).
    Ip6,
    /// A MAC address (`ether_addr`).
    Ether,
    /// The family of a packet (`nf_proto`).
    NfProto,
    /// An IP protocol number (`inet_proto`).
    Protocol,
    /// A TCP, UDP or SCTP port (`inet_service`).
    Port,
    /// A packet or connection mark (`mark`), in host order.
    Mark,
    /// An interface name (`ifname`), padded with zeros to 16 bytes.
    InterfaceName,
    /// An interface number (`iface_index`), in host order.
    InterfaceIndex,
    /// An ICMP type.
    IcmpType,
    /// An ICMPv6 type.
    Icmp6Type,
    /// State bits of a connection (`ct_state`), in host order.
    CtState,
    /// Status bits of a connection (`ct_status`), in host order.
    CtStatus,
    /// The direction of a packet in its connection (`ct_dir`): 0 original, 1 reply.
    CtDirection,
    /// Unicast, broadcast, multicast (`pkt_type`).
    PacketType,
    /// What the routing table says of an address (`fib_addrtype`), in host order.
    AddressType,
    /// A 32-bit number in host order (`integer`), as a number generator gives.
    Number,
    /// An Ethernet protocol number (`ether_type`).
    EtherType,
}

impl DataType {
    const ALL: [DataType; 18] = [
        DataType::Ip4,
        DataType::Ip6,
        DataType::Ether,
        DataType::NfProto,
        DataType::Protocol,
        DataType::Port,
        DataType::Mark,
        DataType::InterfaceName,
        DataType::InterfaceIndex,
        DataType::IcmpType,
        DataType::Icmp6Type,
        DataType::CtState,
        DataType::CtStatus,
        DataType::CtDirection,
        DataType::PacketType,
        DataType::AddressType,
        DataType::Number,
        DataType::EtherType,
    ];

    /// The type for addresses of `family`.
    pub fn address(family: prefix::Family) -> Self {
        match family {
            prefix::Family::V4 => DataType::Ip4,
            prefix::Family::V6 => DataType::Ip6,
        }
    }

    pub(super) fn number(self) -> u32 {
        match self {
            DataType::NfProto => 2,
            DataType::Number => 4,
            DataType::Ip4 => 7,
            DataType::Ip6 => 8,
            DataType::Ether => 9,
            DataType::EtherType => 10,
            DataType::Protocol => 12,
            DataType::Port => 13,
            DataType::IcmpType => 14,
            DataType::Mark => 19,
            DataType::InterfaceIndex => 20,
            DataType::CtState => 26,
            DataType::CtDirection => 27,
            DataType::CtStatus => 28,
            DataType::Icmp6Type => 29,
            DataType::PacketType => 31,
            DataType::AddressType => 38,
            DataType::InterfaceName => 41,
        }
    }

    /// Length in bytes.
    pub fn length(self) -> usize {
        match self {
            DataType::Ip6 | DataType::InterfaceName => NAME_LENGTH,
            DataType::Ether => 6,
            DataType::Port | DataType::EtherType => 2,
            DataType::NfProto
            | DataType::Protocol
            | DataType::IcmpType
            | DataType::Icmp6Type
            | DataType::CtDirection
            | DataType::PacketType => 1,
            _ => 4,
        }
    }

    /// True if the bytes are in network order, so that they compare as the numbers do.
    pub(super) fn is_ordered(self) -> bool {
        !matches!(
            self,
            DataType::Mark
                | DataType::InterfaceIndex
                | DataType::InterfaceName
                | DataType::CtState
                | DataType::CtStatus
                | DataType::AddressType
                | DataType::Number
        )
    }

    /// `nft`'s number of a concatenation: six bits a field (`concat_type_alloc`).
    pub(super) fn concatenation(types: &[DataType]) -> u32 {
        types.iter().fold(0, |number, kind| number << 6 | kind.number())
    }

    /// The fields of a concatenation's number; `None` if one is unknown here.
    pub(super) fn split(mut number: u32) -> Option<Vec<DataType>> {
        let mut types = Vec::new();
        while number != 0 {
            types.insert(0, Self::ALL.into_iter().find(|kind| kind.number() == number & 0x3f)?);
            number >>= 6;
        }
        Some(types)
    }

    fn read(self, bytes: &[u8]) -> Option<Datum> {
        Some(match self {
            DataType::Ip4 => Datum::Ip4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            DataType::Ip6 => Datum::Ip6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            DataType::Ether => Datum::Ether(bytes.try_into().ok()?),
            DataType::InterfaceName => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                Datum::Name(String::from_utf8_lossy(&bytes[..end]).into_owned())
            }
            DataType::Port | DataType::EtherType => Datum::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
            _ if self.length() == 1 => Datum::Byte(*bytes.first()?),
            _ => Datum::Number(u32::from_ne_bytes(bytes.try_into().ok()?)),
        })
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    /// An IPv4 address.
    Ip4(Ipv4Addr),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// A MAC address.
    Ether([u8; 6]),
    /// A protocol, ICMP type, family, direction.
    Byte(u8),
    /// A port or Ethernet type: 16 bits in network order.
    Port(u16),
    /// A mark, interface number, state: 32 bits in host order.
    Number(u32),
    /// An interface name; what is longer than 15 bytes is cut.
    Name(String),
}

impl Datum {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Datum::Ip4(address) => out.extend_from_slice(&address.octets()),
            Datum::Ip6(address) => out.extend_from_slice(&address.octets()),
            Datum::Ether(address) => out.extend_from_slice(address),
            Datum::Byte(value) => out.push(*value),
            Datum::Port(value) => out.extend_from_slice(&value.to_be_bytes()),
            Datum::Number(value) => out.extend_from_slice(&value.to_ne_bytes()),
            Datum::Name(name) => {
                let end = out.len() + NAME_LENGTH;
                out.extend(name.bytes().take(NAME_LENGTH - 1));
                out.resize(end, 0);
            }
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(NAME_LENGTH);
        self.write(&mut out);
        out
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Ip4(address) => address.fmt(f),
            Datum::Ip6(address) => address.fmt(f),
            Datum::Ether(bytes) => {
                let text: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                f.write_str(&text.join(":"))
            }
            Datum::Byte(value) => value.fmt(f),
            Datum::Port(value) => value.fmt(f),
            Datum::Number(value) => write!(f, "{value:#x}"),
            Datum::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// A value of one field, or a concatenation of several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<Datum>);

impl Key {
    /// The bytes as they stand in registers and sets: fields of a concatenation are padded to 32 bits each.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * WORD);
        for datum in &self.0 {
            datum.write(&mut out);
            if self.0.len() > 1 {
                out.resize(out.len().next_multiple_of(WORD), 0);
            }
        }
        out
    }

    /// The value of `types` in `bytes`; `None` if the length does not fit.
    pub(super) fn read(types: &[DataType], bytes: &[u8]) -> Option<Self> {
        let mut fields = Vec::with_capacity(types.len());
        let mut at = 0;
        for kind in types {
            fields.push(kind.read(bytes.get(at..at + kind.length())?)?);
            at = (at + kind.length()).next_multiple_of(WORD);
        }
        Some(Self(fields))
    }

    /// Bytes that a value of `types` takes.
    pub(super) fn length(types: &[DataType]) -> usize {
        match types {
            [one] => one.length(),
            _ => types.iter().map(|kind| kind.length().next_multiple_of(WORD)).sum(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, datum) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" . ")?;
            }
            datum.fmt(f)?;
        }
        Ok(())
    }
}

macro_rules! datum_from {
    ($($from:ty => $build:expr),* $(,)?) => {
        $(impl From<$from> for Datum {
            fn from(value: $from) -> Self {
                $build(value)
            }
        })*
    };
}

datum_from! {
    Ipv4Addr => Datum::Ip4,
    Ipv6Addr => Datum::Ip6,
    [u8; 6] => Datum::Ether,
    u8 => Datum::Byte,
    u16 => Datum::Port,
    u32 => Datum::Number,
    String => Datum::Name,
    &str => |name: &str| Datum::Name(name.to_owned()),
}

impl From<IpAddr> for Datum {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Datum::Ip4(address),
            IpAddr::V6(address) => Datum::Ip6(address),
        }
    }
}

impl<T: Into<Datum>> From<T> for Key {
    fn from(value: T) -> Self {
        Key(vec![value.into()])
    }
}

impl<A: Into<Datum>, B: Into<Datum>> From<(A, B)> for Key {
    fn from((a, b): (A, B)) -> Self {
        Key(vec![a.into(), b.into()])
    }
}

impl<A: Into<Datum>, B: Into<Datum>, C: Into<Datum>> From<(A, B, C)> for Key {
    fn from((a, b, c): (A, B, C)) -> Self {
        Key(vec![a.into(), b.into(), c.into()])
    }
}

impl<A: Into<Datum>, B: Into<Datum>, C: Into<Datum>, D: Into<Datum>> From<(A, B, C, D)> for Key {
    fn from((a, b, c, d): (A, B, C, D)) -> Self {
        Key(vec![a.into(), b.into(), c.into(), d.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concatenation_pads_every_field() {
        let key = Key::from((Ipv4Addr::new(10, 0, 0, 1), 6u8, 80u16));
        assert_eq!(key.bytes(), [10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0]);
        let types = [DataType::Ip4, DataType::Protocol, DataType::Port];
        assert_eq!(Key::read(&types, &key.bytes()).unwrap(), key);
        assert_eq!(Key::length(&types), 12);
        assert_eq!(DataType::split(DataType::concatenation(&types)).unwrap(), types);
        assert_eq!(key.to_string(), "10.0.0.1 . 6 . 80");
    }

    #[test]
    fn one_field_is_not_padded_and_short_bytes_are_refused() {
        assert_eq!(Key::from(443u16).bytes(), [1, 187]);
        assert_eq!(Key::read(&[DataType::Ip6], &[0; 4]), None);
        assert_eq!(Key::from("a-name-that-is-too-long").bytes().len(), 16);
    }
}
