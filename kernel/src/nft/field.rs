//! What a rule can look at: fields of packets, connections and the routing table.

use super::datum::{DataType, Datum};
use super::expression::Expression;
use super::expression::kinds::{CtDirection, CtKey, FibFlags, FibResult, MetaKey, PayloadBase};
use super::register::Register;

/// A value of a packet that a rule compares or looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Its family, [`NFPROTO_IP4`] or [`NFPROTO_IP6`].
    NfProto,
    /// Its Ethernet protocol; what bridge tables tell families by.
    EtherType,
    /// Its transport protocol.
    L4Proto,
    /// Its mark.
    Mark,
    /// The name of the device it came in by.
    InputName,
    /// The name of the device it leaves by.
    OutputName,
    /// The number of the device it came in by.
    InputIndex,
    /// The number of the device it leaves by.
    OutputIndex,
    /// The name of the bridge it came in by; bridge tables.
    BridgeInputName,
    /// The name of the bridge it leaves by; bridge tables.
    BridgeOutputName,
    /// Unicast, broadcast, multicast.
    PacketType,
    /// Its IPv4 source.
    Ip4Source,
    /// Its IPv4 destination.
    Ip4Destination,
    /// Its IPv6 source.
    Ip6Source,
    /// Its IPv6 destination.
    Ip6Destination,
    /// Its TCP, UDP or SCTP source port. Say which protocol, or look it up together with [`Field::L4Proto`].
    SourcePort,
    /// Its TCP, UDP or SCTP destination port. Say which protocol, or look it up together with [`Field::L4Proto`].
    DestinationPort,
    /// Its ICMP type.
    IcmpType,
    /// Its ICMPv6 type.
    Icmp6Type,
    /// Its Ethernet source.
    EtherSource,
    /// The state of its connection.
    CtState,
    /// The status of its connection.
    CtStatus,
    /// The mark of its connection.
    CtMark,
    /// Its direction in the connection: 0 original, 1 reply.
    CtDirection,
    /// The destination port that the opener of its connection asked for.
    CtOriginalPort,
    /// The IPv4 destination that the opener of its connection asked for.
    CtOriginalIp4Destination,
    /// The IPv6 destination that the opener of its connection asked for.
    CtOriginalIp6Destination,
    /// What the routing table says of its source (`RTN_*`).
    SourceType,
    /// What the routing table says of its destination (`RTN_*`).
    DestinationType,
    /// A random number less than this.
    Random(u32),
    /// A number that counts up and begins anew at this.
    RoundRobin(u32),
}

/// `NFPROTO_IPV4`.
pub const NFPROTO_IP4: u8 = 2;
/// `NFPROTO_IPV6`.
pub const NFPROTO_IP6: u8 = 10;
/// `ETH_P_IP`, `ETH_P_IPV6`.
const ETHER_IP4: u16 = 0x0800;
const ETHER_IP6: u16 = 0x86dd;
/// `IPPROTO_ICMP`, `IPPROTO_ICMPV6`.
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// A condition without which a field's bytes mean something else.
pub(super) struct Premise {
    /// The conditions that make it true; the first one is what is added when none is there.
    pub(super) satisfied_by: Vec<(Field, Datum)>,
}

impl Premise {
    pub(super) fn family(family: prefix::Family) -> Self {
        let (number, ether) = match family {
            prefix::Family::V4 => (NFPROTO_IP4, ETHER_IP4),
            prefix::Family::V6 => (NFPROTO_IP6, ETHER_IP6),
        };
        Self { satisfied_by: vec![(Field::NfProto, number.into()), (Field::EtherType, ether.into())] }
    }

    pub(super) fn protocol(protocol: u8) -> Self {
        Self { satisfied_by: vec![(Field::L4Proto, protocol.into())] }
    }
}

impl Field {
    /// The type of its value.
    pub fn data_type(self) -> DataType {
        match self {
            Field::NfProto => DataType::NfProto,
            Field::EtherType => DataType::EtherType,
            Field::L4Proto => DataType::Protocol,
            Field::Mark | Field::CtMark => DataType::Mark,
            Field::InputName | Field::OutputName | Field::BridgeInputName | Field::BridgeOutputName => {
                DataType::InterfaceName
            }
            Field::InputIndex | Field::OutputIndex => DataType::InterfaceIndex,
            Field::PacketType => DataType::PacketType,
            Field::Ip4Source | Field::Ip4Destination | Field::CtOriginalIp4Destination => DataType::Ip4,
            Field::Ip6Source | Field::Ip6Destination | Field::CtOriginalIp6Destination => DataType::Ip6,
            Field::SourcePort | Field::DestinationPort | Field::CtOriginalPort => DataType::Port,
            Field::IcmpType => DataType::IcmpType,
            Field::Icmp6Type => DataType::Icmp6Type,
            Field::EtherSource => DataType::Ether,
            Field::CtState => DataType::CtState,
            Field::CtStatus => DataType::CtStatus,
            Field::CtDirection => DataType::CtDirection,
            Field::SourceType | Field::DestinationType => DataType::AddressType,
            Field::Random(_) | Field::RoundRobin(_) => DataType::Number,
        }
    }

    /// The source address of `family`.
    pub fn source(family: prefix::Family) -> Self {
        match family {
            prefix::Family::V4 => Field::Ip4Source,
            prefix::Family::V6 => Field::Ip6Source,
        }
    }

    /// The destination address of `family`.
    pub fn destination(family: prefix::Family) -> Self {
        match family {
            prefix::Family::V4 => Field::Ip4Destination,
            prefix::Family::V6 => Field::Ip6Destination,
        }
    }

    /// What must be known of a packet before the field can be read from it.
    pub(super) fn premises(self) -> Vec<Premise> {
        use prefix::Family::{V4, V6};
        match self {
            Field::Ip4Source | Field::Ip4Destination | Field::CtOriginalIp4Destination => {
                vec![Premise::family(V4)]
            }
            Field::Ip6Source | Field::Ip6Destination | Field::CtOriginalIp6Destination => {
                vec![Premise::family(V6)]
            }
            Field::IcmpType => vec![Premise::family(V4), Premise::protocol(ICMP)],
            Field::Icmp6Type => vec![Premise::family(V6), Premise::protocol(ICMP6)],
            _ => Vec::new(),
        }
    }

    /// The instruction that loads it.
    pub(super) fn load(self, to: Register) -> Expression {
        let meta = |key| Expression::Meta { key, to };
        let ct = |key, direction| Expression::Ct { key, direction, to };
        let payload = |base, offset, length| Expression::Payload { base, offset, length, to };
        let fib = |flags| Expression::Fib { result: FibResult::AddressType, flags, to };
        let original = Some(CtDirection::Original);
        match self {
            Field::NfProto => meta(MetaKey::NfProto),
            Field::EtherType => meta(MetaKey::Protocol),
            Field::L4Proto => meta(MetaKey::L4Proto),
            Field::Mark => meta(MetaKey::Mark),
            Field::InputName => meta(MetaKey::InputName),
            Field::OutputName => meta(MetaKey::OutputName),
            Field::InputIndex => meta(MetaKey::InputIndex),
            Field::OutputIndex => meta(MetaKey::OutputIndex),
            Field::BridgeInputName => meta(MetaKey::BridgeInputName),
            Field::BridgeOutputName => meta(MetaKey::BridgeOutputName),
            Field::PacketType => meta(MetaKey::PacketType),
            Field::Ip4Source => payload(PayloadBase::Network, 12, 4),
            Field::Ip4Destination => payload(PayloadBase::Network, 16, 4),
            Field::Ip6Source => payload(PayloadBase::Network, 8, 16),
            Field::Ip6Destination => payload(PayloadBase::Network, 24, 16),
            Field::SourcePort => payload(PayloadBase::Transport, 0, 2),
            Field::DestinationPort => payload(PayloadBase::Transport, 2, 2),
            Field::IcmpType | Field::Icmp6Type => payload(PayloadBase::Transport, 0, 1),
            Field::EtherSource => payload(PayloadBase::Link, 6, 6),
            Field::CtState => ct(CtKey::State, None),
            Field::CtStatus => ct(CtKey::Status, None),
            Field::CtMark => ct(CtKey::Mark, None),
            Field::CtDirection => ct(CtKey::Direction, None),
            Field::CtOriginalPort => ct(CtKey::DestinationPort, original),
            Field::CtOriginalIp4Destination => ct(CtKey::DestinationIp4, original),
            Field::CtOriginalIp6Destination => ct(CtKey::DestinationIp6, original),
            Field::SourceType => fib(FibFlags::SOURCE),
            Field::DestinationType => fib(FibFlags::DESTINATION),
            Field::Random(modulus) => Expression::NumberGenerator { random: true, modulus, to },
            Field::RoundRobin(modulus) => Expression::NumberGenerator { random: false, modulus, to },
        }
    }

    /// Registers it takes.
    pub(super) fn words(self) -> u8 {
        u8::try_from(self.data_type().length().div_ceil(super::datum::WORD)).unwrap_or(u8::MAX)
    }
}
