//! The part of a rule that does something.

use std::net::IpAddr;

use prefix::Family;

use super::datum::Datum;
use super::expression::kinds::{
    Comparison, CtKey, MetaKey, NatFlags, NatKind, PayloadBase, RouteKey, TimeUnit,
};
use super::expression::{Expression, LogTarget, Reject};
use super::field::{Field, Premise};
use super::register::Register;
use super::rule::Rule;
use super::verdict::Verdict;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// The offset of the byte with the flags in the TCP header (RFC 9293, section 3.1), and `SYN` in it.
const TCP_FLAGS: u32 = 13;
const SYN: u8 = 0x02;
/// The TCP option "maximum segment size" (RFC 9293, section 3.2), and where its value is.
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const VALUE_OFFSET: u32 = 2;
const VALUE_LENGTH: u32 = 2;
/// A port stands in the second 128-bit register, beside an address of either family.
const PORT_REGISTER: Register = Register::Word(4);

impl Rule {
    /// Lets the packet pass this hook.
    #[must_use]
    pub fn accept(self) -> Self {
        self.verdict(Verdict::Accept)
    }

    /// Throws the packet away.
    #[must_use]
    pub fn drop(self) -> Self {
        self.verdict(Verdict::Drop)
    }

    /// Goes back to the chain that jumped here.
    #[must_use]
    pub fn return_(self) -> Self {
        self.verdict(Verdict::Return)
    }

    /// Evaluates another chain and comes back.
    #[must_use]
    pub fn jump(self, chain: impl Into<String>) -> Self {
        self.verdict(Verdict::Jump(chain.into()))
    }

    /// Evaluates another chain and does not come back.
    #[must_use]
    pub fn goto(self, chain: impl Into<String>) -> Self {
        self.verdict(Verdict::Goto(chain.into()))
    }

    /// Decides.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.then(Expression::Verdict(verdict))
    }

    /// Counts packets and bytes.
    #[must_use]
    pub fn counter(self) -> Self {
        self.then(Expression::Counter)
    }

    /// Goes on only for `rate` packets in a `unit` of time, and for `burst` (at least 1) at once above it.
    #[must_use]
    pub fn limit(self, rate: u64, unit: TimeUnit, burst: u32) -> Self {
        self.then(Expression::Limit { rate, unit, burst: burst.max(1), over: false })
    }

    /// Copies packets to programs that read the NFLOG `group`. `prefix`, at most 127 bytes, stands before each.
    #[must_use]
    pub fn log_group(self, group: u16, prefix: impl Into<String>) -> Self {
        self.log_begin_of(group, 0, prefix)
    }

    /// Like [`Rule::log_group`] with only the first `bytes` of each packet (0 for all of it), from the IP header on.
    #[must_use]
    pub fn log_begin_of(self, group: u16, bytes: u32, prefix: impl Into<String>) -> Self {
        self.then(Expression::Log { target: LogTarget::Group(group, bytes), prefix: prefix.into() })
    }

    /// Refuses with an answer. A TCP reset asks for a TCP packet first, "protocol unreachable" for one of IPv4.
    #[must_use]
    pub fn reject(self, how: Reject) -> Self {
        let rule = match how {
            Reject::TcpReset => self.premise(&Premise::protocol(TCP)),
            Reject::ProtocolUnreachable => self.premise(&Premise::family(prefix::Family::V4)),
            Reject::Unreachable(_) => self,
        };
        rule.then(Expression::Reject(how))
    }

    /// Sets the bits of `mask` in the packet's mark to those of `value`; the other bits stay.
    #[must_use]
    pub fn set_mark(self, value: u32, mask: u32) -> Self {
        self.load_masked(MetaKey::Mark, value, mask)
            .then(Expression::SetMeta { key: MetaKey::Mark, from: Register::FIRST })
    }

    fn load_masked(self, key: MetaKey, value: u32, mask: u32) -> Self {
        let to = Register::FIRST;
        if mask == u32::MAX {
            return self.then(Expression::Immediate { to, data: value.to_ne_bytes().to_vec() });
        }
        let (mask, xor) = ((!mask).to_ne_bytes().to_vec(), (value & mask).to_ne_bytes().to_vec());
        self.then(Expression::Meta { key, to }).then(Expression::Bitwise { from: to, to, mask, xor })
    }

    /// Sets the packet's mark to what a map holds for the `fields`; a packet that it does not know stays as it is.
    #[must_use]
    pub fn set_mark_map(self, fields: &[Field], map: impl Into<String>) -> Self {
        self.load_from_map(fields, map.into())
            .then(Expression::SetMeta { key: MetaKey::Mark, from: Register::FIRST })
    }

    /// Copies the packet's mark to its connection.
    #[must_use]
    pub fn save_mark(self) -> Self {
        self.then(Expression::Meta { key: MetaKey::Mark, to: Register::FIRST })
            .then(Expression::SetCt { key: CtKey::Mark, from: Register::FIRST })
    }

    /// Copies the connection's mark to the packet.
    #[must_use]
    pub fn restore_mark(self) -> Self {
        self.then(Expression::Ct { key: CtKey::Mark, direction: None, to: Register::FIRST })
            .then(Expression::SetMeta { key: MetaKey::Mark, from: Register::FIRST })
    }

    /// Translates the source to the address of the device the packet leaves by.
    #[must_use]
    pub fn masquerade(self, flags: NatFlags) -> Self {
        self.then(Expression::Masquerade { flags })
    }

    /// Translates the source address, and the port if one is given.
    #[must_use]
    pub fn snat(self, address: IpAddr, port: Option<u16>, flags: NatFlags) -> Self {
        self.nat(NatKind::Source, address, port, flags)
    }

    /// Translates the destination address, and the port if one is given.
    #[must_use]
    pub fn dnat(self, address: IpAddr, port: Option<u16>, flags: NatFlags) -> Self {
        self.nat(NatKind::Destination, address, port, flags)
    }

    fn nat(self, kind: NatKind, address: IpAddr, port: Option<u16>, flags: NatFlags) -> Self {
        let family = Family::of(address);
        let mut rule = self
            .family(family)
            .then(Expression::Immediate { to: Register::FIRST, data: Datum::from(address).bytes() });
        if let Some(port) = port {
            rule = rule.then(Expression::Immediate { to: PORT_REGISTER, data: Datum::from(port).bytes() });
        }
        let port = port.map(|_| PORT_REGISTER);
        rule.then(Expression::Nat { kind, family, address: Some(Register::FIRST), port, flags })
    }

    /// Translates the destination to what a map holds for the `fields`: an address of `family` and, with `port`, the
    /// port that is concatenated to it.
    #[must_use]
    pub fn dnat_map(self, fields: &[Field], map: impl Into<String>, family: Family, port: bool) -> Self {
        let after_address = Register::Word(Field::destination(family).words());
        self.family(family).load_from_map(fields, map.into()).then(Expression::Nat {
            kind: NatKind::Destination,
            family,
            address: Some(Register::FIRST),
            port: port.then_some(after_address),
            flags: NatFlags::default(),
        })
    }

    /// Translates the destination to this machine, and the port if one is given.
    #[must_use]
    pub fn redirect(self, port: Option<u16>) -> Self {
        let flags = NatFlags::default();
        match port {
            None => self.then(Expression::Redirect { port: None, flags }),
            Some(port) => self
                .then(Expression::Immediate { to: Register::FIRST, data: Datum::from(port).bytes() })
                .then(Expression::Redirect { port: Some(Register::FIRST), flags }),
        }
    }

    /// Makes the largest segment that an opening TCP packet announces no larger than its way and the way back carry: the
    /// connection works though nobody hears an ICMP "too big" (`tcp option maxseg size set rt mtu`).
    #[must_use]
    pub fn clamp_segment_size(self) -> Self {
        self.opens_tcp()
            .then(Expression::Route { key: RouteKey::TcpMss, to: Register::FIRST })
            .then(Expression::ToNetworkOrder {
                from: Register::FIRST,
                to: Register::FIRST,
                length: VALUE_LENGTH,
            })
            .shrink_segment_size()
    }

    /// Makes the largest segment that an opening TCP packet announces no larger than so many `bytes` (`tcp option maxseg
    /// size set`, which never makes it larger).
    #[must_use]
    pub fn limit_segment_size(self, bytes: u16) -> Self {
        self.opens_tcp()
            .then(Expression::Immediate { to: Register::FIRST, data: bytes.to_be_bytes().to_vec() })
            .shrink_segment_size()
    }

    /// Goes on for TCP packets with SYN.
    fn opens_tcp(self) -> Self {
        let flags = Register::FIRST;
        self.premise(&Premise::protocol(TCP))
            .then(Expression::Payload {
                base: PayloadBase::Transport,
                offset: TCP_FLAGS,
                length: 1,
                to: flags,
            })
            .then(Expression::Bitwise { from: flags, to: flags, mask: vec![SYN], xor: vec![0] })
            .then(Expression::Compare { from: flags, comparison: Comparison::NotEqual, data: vec![0] })
    }

    fn shrink_segment_size(self) -> Self {
        self.then(Expression::ShrinkTcpOption {
            option: MAXIMUM_SEGMENT_SIZE,
            offset: VALUE_OFFSET,
            length: VALUE_LENGTH,
            from: Register::FIRST,
        })
    }

    /// Takes the packet out of connection tracking; raw priority only.
    #[must_use]
    pub fn notrack(self) -> Self {
        self.then(Expression::NoTrack)
    }
}
