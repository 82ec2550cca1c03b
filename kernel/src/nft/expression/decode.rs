//! From attributes to instructions. What is not understood wholly is kept as bytes, so that it never compares equal
//! to something it is not.

use prefix::Family;

use super::super::register::Register;
use super::super::verdict::Verdict;
use super::super::wire::{data, expression as attribute};
use super::encode::number as n;
use super::kinds::{
    Comparison, CtDirection, CtKey, FibFlags, FibResult, MetaKey, NatFlags, NatKind, PayloadBase, RouteKey,
    TimeUnit, Unreachable,
};
use super::{Expression, LogTarget, Reject};
use crate::netlink::AttributeReader;

/// Flags of NAT that a rule chooses; the kernel adds others of its own when it lists a rule.
const NAT_CHOICES: u32 = NatFlags::RANDOM.0 | NatFlags::PERSISTENT.0 | NatFlags::FULLY_RANDOM.0;

struct Reader<'a>(AttributeReader<'a>);

impl Reader<'_> {
    fn number(&self, kind: u16) -> Option<u32> {
        self.0.find(kind)?.u32_be().ok()
    }

    fn long(&self, kind: u16) -> Option<u64> {
        self.0.find(kind)?.u64_be().ok()
    }

    fn has(&self, kind: u16) -> bool {
        self.0.find(kind).is_some()
    }

    fn register(&self, kind: u16) -> Option<Register> {
        Register::from_number(self.number(kind)?)
    }

    fn value(&self, kind: u16) -> Option<Vec<u8>> {
        Some(self.0.find(kind)?.nested().find(data::VALUE)?.payload.to_vec())
    }

    fn nat_flags(&self, kind: u16) -> NatFlags {
        NatFlags(self.number(kind).unwrap_or(0) & NAT_CHOICES)
    }

    /// `None` for a range of several registers, which the library does not write; the last one may be left out.
    fn one_value(&self, first: u16, last: u16) -> Option<()> {
        let (first, last) = (self.number(first), self.number(last));
        (last.is_none() || first == last).then_some(())
    }
}

impl Expression {
    /// Reads one `NFTA_LIST_ELEM` of a rule.
    pub(in super::super) fn read(element: &AttributeReader<'_>) -> Option<Self> {
        let name = element.find(attribute::NAME)?.string();
        let bytes = element.find(attribute::DATA).map_or(&[][..], |found| found.payload);
        let reader = Reader(AttributeReader::new(bytes));
        Some(
            read_load(&name, &reader)
                .or_else(|| read_match(&name, &reader))
                .or_else(|| read_statement(&name, &reader))
                .or_else(|| read_nat(&name, &reader))
                .unwrap_or(Expression::Other { name, attributes: bytes.to_vec() }),
        )
    }
}

fn read_load(name: &str, from: &Reader<'_>) -> Option<Expression> {
    Some(match name {
        "meta" if from.has(n::META_TO) => Expression::Meta {
            key: MetaKey::from_number(from.number(n::META_KEY)?)?,
            to: from.register(n::META_TO)?,
        },
        "payload" if from.has(n::PAYLOAD_TO) => Expression::Payload {
            base: PayloadBase::from_number(from.number(n::PAYLOAD_BASE)?)?,
            offset: from.number(n::PAYLOAD_OFFSET)?,
            length: from.number(n::PAYLOAD_LENGTH)?,
            to: from.register(n::PAYLOAD_TO)?,
        },
        "ct" if from.has(n::CT_TO) => Expression::Ct {
            key: CtKey::from_number(from.number(n::CT_KEY)?)?,
            direction: match from.0.find(n::CT_DIRECTION) {
                Some(direction) => Some(CtDirection::from_number(u32::from(direction.u8().ok()?))?),
                None => None,
            },
            to: from.register(n::CT_TO)?,
        },
        "fib" => Expression::Fib {
            result: FibResult::from_number(from.number(n::FIB_RESULT)?)?,
            flags: FibFlags(from.number(n::FIB_FLAGS)?),
            to: from.register(n::FIB_TO)?,
        },
        "rt" => Expression::Route {
            key: RouteKey::from_number(from.number(n::RT_KEY)?)?,
            to: from.register(n::RT_TO)?,
        },
        "numgen" if from.number(n::NUMGEN_OFFSET) == Some(0) => Expression::NumberGenerator {
            random: from.number(n::NUMGEN_TYPE)? == 1,
            modulus: from.number(n::NUMGEN_MODULUS)?,
            to: from.register(n::NUMGEN_TO)?,
        },
        _ => return None,
    })
}

fn read_match(name: &str, from: &Reader<'_>) -> Option<Expression> {
    Some(match name {
        "cmp" => Expression::Compare {
            from: from.register(n::CMP_FROM)?,
            comparison: Comparison::from_number(from.number(n::CMP_OP)?)?,
            data: from.value(n::CMP_DATA)?,
        },
        "range" => Expression::Range {
            from: from.register(n::RANGE_FROM)?,
            outside: from.number(n::RANGE_OP)? == 1,
            first: from.value(n::RANGE_FIRST)?,
            last: from.value(n::RANGE_LAST)?,
        },
        "bitwise" if from.number(n::BITWISE_OP).unwrap_or(0) == 0 => Expression::Bitwise {
            from: from.register(n::BITWISE_FROM)?,
            to: from.register(n::BITWISE_TO)?,
            mask: from.value(n::BITWISE_MASK)?,
            xor: from.value(n::BITWISE_XOR)?,
        },
        "byteorder"
            if from.number(n::BYTEORDER_OP)? == n::BYTEORDER_TO_NETWORK
                && from.number(n::BYTEORDER_SIZE) == from.number(n::BYTEORDER_LENGTH) =>
        {
            Expression::ToNetworkOrder {
                from: from.register(n::BYTEORDER_FROM)?,
                to: from.register(n::BYTEORDER_TO)?,
                length: from.number(n::BYTEORDER_LENGTH)?,
            }
        }
        "lookup" => Expression::Lookup {
            set: from.0.find(n::LOOKUP_SET)?.string(),
            from: from.register(n::LOOKUP_FROM)?,
            to: from.register(n::LOOKUP_TO),
            inverted: from.number(n::LOOKUP_FLAGS).unwrap_or(0) == 1,
        },
        _ => return None,
    })
}

fn read_statement(name: &str, from: &Reader<'_>) -> Option<Expression> {
    Some(match name {
        "meta" => Expression::SetMeta {
            key: MetaKey::from_number(from.number(n::META_KEY)?)?,
            from: from.register(n::META_FROM)?,
        },
        "ct" if !from.has(n::CT_DIRECTION) => Expression::SetCt {
            key: CtKey::from_number(from.number(n::CT_KEY)?)?,
            from: from.register(n::CT_FROM)?,
        },
        "immediate" if from.number(n::IMMEDIATE_TO)? == Register::Verdict.number() => {
            let verdict = from.0.find(n::IMMEDIATE_DATA)?.nested().find(data::VERDICT)?;
            Expression::Verdict(Verdict::read(&verdict.nested())?)
        }
        "immediate" => Expression::Immediate {
            to: from.register(n::IMMEDIATE_TO)?,
            data: from.value(n::IMMEDIATE_DATA)?,
        },
        "reject" => match (from.number(n::REJECT_TYPE)?, from.0.find(n::REJECT_CODE)) {
            (n::REJECT_RESET, _) => Expression::Reject(Reject::TcpReset),
            (n::REJECT_ICMP, Some(code)) if code.u8().ok()? == n::PROTOCOL_UNREACHABLE => {
                Expression::Reject(Reject::ProtocolUnreachable)
            }
            (n::REJECT_UNREACHABLE, Some(code)) => {
                Expression::Reject(Reject::Unreachable(Unreachable::from_number(u32::from(code.u8().ok()?))?))
            }
            _ => return None,
        },
        "exthdr" if from.number(n::EXTHDR_OP)? == n::EXTHDR_TCP_OPTION => Expression::ShrinkTcpOption {
            option: from.0.find(n::EXTHDR_TYPE)?.u8().ok()?,
            offset: from.number(n::EXTHDR_OFFSET)?,
            length: from.number(n::EXTHDR_LENGTH)?,
            from: from.register(n::EXTHDR_FROM)?,
        },
        "counter" => Expression::Counter,
        "limit" if from.number(n::LIMIT_TYPE)? == 0 => Expression::Limit {
            rate: from.long(n::LIMIT_RATE)?,
            unit: TimeUnit::from_number(u32::try_from(from.long(n::LIMIT_UNIT)?).ok()?)?,
            burst: from.number(n::LIMIT_BURST)?,
            over: from.number(n::LIMIT_FLAGS)? & 1 != 0,
        },
        "log" => Expression::Log {
            target: match from.0.find(n::LOG_GROUP) {
                Some(group) => {
                    LogTarget::Group(group.u16_be().ok()?, from.number(n::LOG_SNAPLEN).unwrap_or(0))
                }
                None => LogTarget::Kernel(from.number(n::LOG_LEVEL)?),
            },
            prefix: from.0.find(n::LOG_PREFIX).map(|prefix| prefix.string()).unwrap_or_default(),
        },
        "notrack" => Expression::NoTrack,
        _ => return None,
    })
}

fn read_nat(name: &str, from: &Reader<'_>) -> Option<Expression> {
    Some(match name {
        "nat" => {
            from.one_value(n::NAT_ADDRESS, n::NAT_ADDRESS_LAST)?;
            from.one_value(n::NAT_PORT, n::NAT_PORT_LAST)?;
            Expression::Nat {
                kind: NatKind::from_number(from.number(n::NAT_TYPE)?)?,
                family: match from.number(n::NAT_FAMILY)? {
                    2 => Family::V4,
                    10 => Family::V6,
                    _ => return None,
                },
                address: from.register(n::NAT_ADDRESS),
                port: from.register(n::NAT_PORT),
                flags: from.nat_flags(n::NAT_FLAGS),
            }
        }
        "masq" if !from.has(n::MASQ_PORT) => Expression::Masquerade { flags: from.nat_flags(n::MASQ_FLAGS) },
        "redir" => {
            from.one_value(n::REDIR_PORT, n::REDIR_PORT_LAST)?;
            Expression::Redirect { port: from.register(n::REDIR_PORT), flags: from.nat_flags(n::REDIR_FLAGS) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            for name in ["meta", "payload", "ct", "fib", "numgen", "cmp", "range", "bitwise", "lookup",
                         "immediate", "nat", "masq", "redir", "rt", "exthdr", "byteorder", "reject", "counter", "limit", "log", "x"] {
                let mut out = crate::netlink::Attributes::new();
                out.string(attribute::NAME, name).bytes(attribute::DATA, &bytes);
                let _ = Expression::read(&AttributeReader::new(out.as_bytes()));
            }
        }
    }
}
