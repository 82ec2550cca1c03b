//! From instructions to attributes.

use prefix::Family;

use super::super::TableFamily;
use super::super::register::Register;
use super::super::wire::{data, expression as attribute};
use super::{Expression, LogTarget, Reject};
use crate::netlink::Attributes;

/// Attribute numbers, in the order of the kernel's enums.
pub(super) mod number {
    pub(crate) const META_TO: u16 = 1;
    pub(crate) const META_KEY: u16 = 2;
    pub(crate) const META_FROM: u16 = 3;
    pub(crate) const PAYLOAD_TO: u16 = 1;
    pub(crate) const PAYLOAD_BASE: u16 = 2;
    pub(crate) const PAYLOAD_OFFSET: u16 = 3;
    pub(crate) const PAYLOAD_LENGTH: u16 = 4;
    pub(crate) const CT_TO: u16 = 1;
    pub(crate) const CT_KEY: u16 = 2;
    pub(crate) const CT_DIRECTION: u16 = 3;
    pub(crate) const CT_FROM: u16 = 4;
    pub(crate) const FIB_TO: u16 = 1;
    pub(crate) const FIB_RESULT: u16 = 2;
    pub(crate) const FIB_FLAGS: u16 = 3;
    pub(crate) const BYTEORDER_FROM: u16 = 1;
    pub(crate) const BYTEORDER_TO: u16 = 2;
    pub(crate) const BYTEORDER_OP: u16 = 3;
    pub(crate) const BYTEORDER_LENGTH: u16 = 4;
    pub(crate) const BYTEORDER_SIZE: u16 = 5;
    pub(crate) const RT_TO: u16 = 1;
    pub(crate) const RT_KEY: u16 = 2;
    pub(crate) const EXTHDR_TYPE: u16 = 2;
    pub(crate) const EXTHDR_OFFSET: u16 = 3;
    pub(crate) const EXTHDR_LENGTH: u16 = 4;
    pub(crate) const EXTHDR_OP: u16 = 6;
    pub(crate) const EXTHDR_FROM: u16 = 7;
    pub(crate) const NUMGEN_TO: u16 = 1;
    pub(crate) const NUMGEN_MODULUS: u16 = 2;
    pub(crate) const NUMGEN_TYPE: u16 = 3;
    pub(crate) const NUMGEN_OFFSET: u16 = 4;
    pub(crate) const CMP_FROM: u16 = 1;
    pub(crate) const CMP_OP: u16 = 2;
    pub(crate) const CMP_DATA: u16 = 3;
    pub(crate) const RANGE_FROM: u16 = 1;
    pub(crate) const RANGE_OP: u16 = 2;
    pub(crate) const RANGE_FIRST: u16 = 3;
    pub(crate) const RANGE_LAST: u16 = 4;
    pub(crate) const BITWISE_FROM: u16 = 1;
    pub(crate) const BITWISE_TO: u16 = 2;
    pub(crate) const BITWISE_LENGTH: u16 = 3;
    pub(crate) const BITWISE_MASK: u16 = 4;
    pub(crate) const BITWISE_XOR: u16 = 5;
    pub(crate) const BITWISE_OP: u16 = 6;
    pub(crate) const LOOKUP_SET: u16 = 1;
    pub(crate) const LOOKUP_FROM: u16 = 2;
    pub(crate) const LOOKUP_TO: u16 = 3;
    pub(crate) const LOOKUP_FLAGS: u16 = 5;
    pub(crate) const IMMEDIATE_TO: u16 = 1;
    pub(crate) const IMMEDIATE_DATA: u16 = 2;
    pub(crate) const NAT_TYPE: u16 = 1;
    pub(crate) const NAT_FAMILY: u16 = 2;
    pub(crate) const NAT_ADDRESS: u16 = 3;
    pub(crate) const NAT_ADDRESS_LAST: u16 = 4;
    pub(crate) const NAT_PORT: u16 = 5;
    pub(crate) const NAT_PORT_LAST: u16 = 6;
    pub(crate) const NAT_FLAGS: u16 = 7;
    pub(crate) const MASQ_FLAGS: u16 = 1;
    pub(crate) const MASQ_PORT: u16 = 2;
    pub(crate) const REDIR_PORT: u16 = 1;
    pub(crate) const REDIR_PORT_LAST: u16 = 2;
    pub(crate) const REDIR_FLAGS: u16 = 3;
    pub(crate) const REJECT_TYPE: u16 = 1;
    pub(crate) const REJECT_CODE: u16 = 2;
    pub(crate) const COUNTER_BYTES: u16 = 1;
    pub(crate) const COUNTER_PACKETS: u16 = 2;
    pub(crate) const LIMIT_RATE: u16 = 1;
    pub(crate) const LIMIT_UNIT: u16 = 2;
    pub(crate) const LIMIT_BURST: u16 = 3;
    pub(crate) const LIMIT_TYPE: u16 = 4;
    pub(crate) const LIMIT_FLAGS: u16 = 5;
    pub(crate) const LOG_GROUP: u16 = 1;
    pub(crate) const LOG_PREFIX: u16 = 2;
    pub(crate) const LOG_SNAPLEN: u16 = 3;
    pub(crate) const LOG_LEVEL: u16 = 5;
    /// `NFT_REJECT_ICMP_UNREACH`, and of its codes `ICMP_PROT_UNREACH`.
    pub(crate) const REJECT_ICMP: u32 = 0;
    pub(crate) const PROTOCOL_UNREACHABLE: u8 = 2;
    /// `NFT_REJECT_TCP_RST`, `NFT_REJECT_ICMPX_UNREACH`.
    pub(crate) const REJECT_RESET: u32 = 1;
    pub(crate) const REJECT_UNREACHABLE: u32 = 2;
    /// `NFT_BYTEORDER_HTON`.
    pub(crate) const BYTEORDER_TO_NETWORK: u32 = 1;
    /// `NFT_EXTHDR_OP_TCPOPT`.
    pub(crate) const EXTHDR_TCP_OPTION: u32 = 1;
}

use number as n;

impl Expression {
    /// The kernel's name of the instruction.
    fn name(&self) -> &str {
        match self {
            Expression::Meta { .. } | Expression::SetMeta { .. } => "meta",
            Expression::Payload { .. } => "payload",
            Expression::Ct { .. } | Expression::SetCt { .. } => "ct",
            Expression::Fib { .. } => "fib",
            Expression::NumberGenerator { .. } => "numgen",
            Expression::Route { .. } => "rt",
            Expression::ShrinkTcpOption { .. } => "exthdr",
            Expression::Compare { .. } => "cmp",
            Expression::Range { .. } => "range",
            Expression::Bitwise { .. } => "bitwise",
            Expression::Lookup { .. } => "lookup",
            Expression::ToNetworkOrder { .. } => "byteorder",
            Expression::Immediate { .. } | Expression::Verdict(_) => "immediate",
            Expression::Nat { .. } => "nat",
            Expression::Masquerade { .. } => "masq",
            Expression::Redirect { .. } => "redir",
            Expression::Reject(_) => "reject",
            Expression::Counter => "counter",
            Expression::Limit { .. } => "limit",
            Expression::Log { .. } => "log",
            Expression::NoTrack => "notrack",
            Expression::Other { name, .. } => name,
        }
    }

    /// Writes the instruction under attribute `kind`.
    pub(in super::super) fn write(&self, out: &mut Attributes, kind: u16) {
        out.nested(kind, |out| {
            out.string(attribute::NAME, self.name());
            match self {
                Expression::NoTrack => {}
                Expression::Other { attributes, .. } => _ = out.bytes(attribute::DATA, attributes),
                _ => _ = out.nested(attribute::DATA, |out| self.write_data(out)),
            }
        });
    }

    fn write_data(&self, out: &mut Attributes) {
        match self {
            Expression::Meta { .. }
            | Expression::Payload { .. }
            | Expression::Ct { .. }
            | Expression::Fib { .. }
            | Expression::Route { .. }
            | Expression::NumberGenerator { .. } => self.write_load(out),
            Expression::Compare { .. }
            | Expression::Range { .. }
            | Expression::Bitwise { .. }
            | Expression::ToNetworkOrder { .. }
            | Expression::Lookup { .. } => self.write_match(out),
            _ => self.write_statement(out),
        }
    }

    fn write_load(&self, out: &mut Attributes) {
        match self {
            Expression::Meta { key, to } => {
                out.u32_be(n::META_KEY, key.number()).u32_be(n::META_TO, to.number());
            }
            Expression::Payload { base, offset, length, to } => {
                out.u32_be(n::PAYLOAD_TO, to.number())
                    .u32_be(n::PAYLOAD_BASE, base.number())
                    .u32_be(n::PAYLOAD_OFFSET, *offset)
                    .u32_be(n::PAYLOAD_LENGTH, *length);
            }
            Expression::Ct { key, direction, to } => {
                out.u32_be(n::CT_TO, to.number()).u32_be(n::CT_KEY, key.number());
                if let Some(direction) = direction {
                    out.u8(n::CT_DIRECTION, u8::try_from(direction.number()).unwrap_or(0));
                }
            }
            Expression::Fib { result, flags, to } => {
                out.u32_be(n::FIB_TO, to.number())
                    .u32_be(n::FIB_RESULT, result.number())
                    .u32_be(n::FIB_FLAGS, flags.0);
            }
            Expression::Route { key, to } => {
                out.u32_be(n::RT_TO, to.number()).u32_be(n::RT_KEY, key.number());
            }
            Expression::NumberGenerator { random, modulus, to } => {
                out.u32_be(n::NUMGEN_TO, to.number())
                    .u32_be(n::NUMGEN_MODULUS, *modulus)
                    .u32_be(n::NUMGEN_TYPE, u32::from(*random))
                    .u32_be(n::NUMGEN_OFFSET, 0);
            }
            _ => {}
        }
    }

    fn write_match(&self, out: &mut Attributes) {
        match self {
            Expression::Compare { from, comparison, data } => {
                out.u32_be(n::CMP_FROM, from.number()).u32_be(n::CMP_OP, comparison.number());
                value(out, n::CMP_DATA, data);
            }
            Expression::Range { from, outside, first, last } => {
                out.u32_be(n::RANGE_FROM, from.number()).u32_be(n::RANGE_OP, u32::from(*outside));
                value(out, n::RANGE_FIRST, first);
                value(out, n::RANGE_LAST, last);
            }
            Expression::Bitwise { from, to, mask, xor } => {
                out.u32_be(n::BITWISE_FROM, from.number())
                    .u32_be(n::BITWISE_TO, to.number())
                    .u32_be(n::BITWISE_LENGTH, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                value(out, n::BITWISE_MASK, mask);
                value(out, n::BITWISE_XOR, xor);
            }
            Expression::ToNetworkOrder { from, to, length } => {
                out.u32_be(n::BYTEORDER_FROM, from.number())
                    .u32_be(n::BYTEORDER_TO, to.number())
                    .u32_be(n::BYTEORDER_OP, n::BYTEORDER_TO_NETWORK)
                    .u32_be(n::BYTEORDER_LENGTH, *length)
                    .u32_be(n::BYTEORDER_SIZE, *length);
            }
            Expression::Lookup { set, from, to, inverted } => {
                out.string(n::LOOKUP_SET, set).u32_be(n::LOOKUP_FROM, from.number());
                if let Some(to) = to {
                    out.u32_be(n::LOOKUP_TO, to.number());
                }
                // Left out when nothing is inverted: a map lookup with flags is refused by older kernels.
                if *inverted {
                    out.u32_be(n::LOOKUP_FLAGS, 1);
                }
            }
            _ => {}
        }
    }

    fn write_statement(&self, out: &mut Attributes) {
        match self {
            Expression::SetMeta { key, from } => {
                out.u32_be(n::META_KEY, key.number()).u32_be(n::META_FROM, from.number());
            }
            Expression::SetCt { key, from } => {
                out.u32_be(n::CT_KEY, key.number()).u32_be(n::CT_FROM, from.number());
            }
            Expression::Immediate { to, data } => {
                out.u32_be(n::IMMEDIATE_TO, to.number());
                value(out, n::IMMEDIATE_DATA, data);
            }
            Expression::Verdict(verdict) => {
                out.u32_be(n::IMMEDIATE_TO, Register::Verdict.number());
                verdict.write(out, n::IMMEDIATE_DATA);
            }
            Expression::Reject(Reject::TcpReset) => {
                out.u32_be(n::REJECT_TYPE, n::REJECT_RESET);
            }
            Expression::Reject(Reject::ProtocolUnreachable) => {
                out.u32_be(n::REJECT_TYPE, n::REJECT_ICMP).u8(n::REJECT_CODE, n::PROTOCOL_UNREACHABLE);
            }
            Expression::Reject(Reject::Unreachable(code)) => {
                out.u32_be(n::REJECT_TYPE, n::REJECT_UNREACHABLE)
                    .u8(n::REJECT_CODE, u8::try_from(code.number()).unwrap_or(0));
            }
            Expression::ShrinkTcpOption { option, offset, length, from } => {
                out.u8(n::EXTHDR_TYPE, *option)
                    .u32_be(n::EXTHDR_OFFSET, *offset)
                    .u32_be(n::EXTHDR_LENGTH, *length)
                    .u32_be(n::EXTHDR_OP, n::EXTHDR_TCP_OPTION)
                    .u32_be(n::EXTHDR_FROM, from.number());
            }
            Expression::Counter => {
                out.u64_be(n::COUNTER_BYTES, 0).u64_be(n::COUNTER_PACKETS, 0);
            }
            Expression::Limit { rate, unit, burst, over } => {
                out.u64_be(n::LIMIT_RATE, *rate)
                    .u64_be(n::LIMIT_UNIT, u64::from(unit.number()))
                    .u32_be(n::LIMIT_BURST, *burst)
                    .u32_be(n::LIMIT_TYPE, 0)
                    .u32_be(n::LIMIT_FLAGS, u32::from(*over));
            }
            Expression::Log { target, prefix } => write_log(out, target, prefix),
            _ => self.write_nat(out),
        }
    }

    fn write_nat(&self, out: &mut Attributes) {
        let mut flags = |kind, bits| {
            if bits != 0 {
                out.u32_be(kind, bits);
            }
        };
        match self {
            Expression::Nat { kind, family, address, port, flags: bits } => {
                flags(n::NAT_FLAGS, bits.0);
                let family = match family {
                    Family::V4 => TableFamily::Ip4,
                    Family::V6 => TableFamily::Ip6,
                };
                out.u32_be(n::NAT_TYPE, kind.number()).u32_be(n::NAT_FAMILY, u32::from(family.number()));
                if let Some(address) = address {
                    out.u32_be(n::NAT_ADDRESS, address.number());
                }
                if let Some(port) = port {
                    out.u32_be(n::NAT_PORT, port.number());
                }
            }
            Expression::Masquerade { flags: bits } => flags(n::MASQ_FLAGS, bits.0),
            Expression::Redirect { port, flags: bits } => {
                flags(n::REDIR_FLAGS, bits.0);
                if let Some(port) = port {
                    out.u32_be(n::REDIR_PORT, port.number());
                }
            }
            _ => {}
        }
    }
}

fn write_log(out: &mut Attributes, target: &LogTarget, prefix: &str) {
    if !prefix.is_empty() {
        out.string(n::LOG_PREFIX, prefix);
    }
    match target {
        LogTarget::Kernel(level) => _ = out.u32_be(n::LOG_LEVEL, *level),
        LogTarget::Group(group, bytes) => {
            out.u16_be(n::LOG_GROUP, *group);
            if *bytes > 0 {
                out.u32_be(n::LOG_SNAPLEN, *bytes);
            }
        }
    }
}

fn value(out: &mut Attributes, kind: u16, bytes: &[u8]) {
    out.nested(kind, |out| {
        out.bytes(data::VALUE, bytes);
    });
}
