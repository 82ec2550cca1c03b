//! The instructions of the kernel's virtual machine that rules are made of.
//!
//! [`Rule`](super::Rule) composes them; they are public so that what the kernel lists can be looked at and compared.

mod decode;
mod encode;
pub(super) mod kinds;

use super::register::Register;
use super::verdict::Verdict;
use kinds::{
    Comparison, CtDirection, CtKey, FibFlags, FibResult, MetaKey, NatFlags, NatKind, PayloadBase, RouteKey,
    TimeUnit, Unreachable,
};

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// With a TCP reset.
    TcpReset,
    /// With an ICMP or ICMPv6 error, as the packet's family is.
    Unreachable(Unreachable),
    /// With the ICMP error "protocol unreachable" (RFC 792), for IPv4 only: of all errors it is the one by which Linux' SCTP gives
    /// up a new association at once (`sctp_v4_err`).
    ProtocolUnreachable,
}

/// Where log entries go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogTarget {
    /// The kernel's log, at this syslog level.
    Kernel(u32),
    /// An NFLOG group that a program reads: the group, and how many bytes of a packet (0 for all).
    Group(u16, u32),
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expression {
    /// Reads data of the packet that are not in it.
    Meta {
        /// What is read.
        key: MetaKey,
        /// Where to.
        to: Register,
    },
    /// Sets data of the packet that are not in it.
    SetMeta {
        /// What is set.
        key: MetaKey,
        /// Where from.
        from: Register,
    },
    /// Reads bytes of the packet.
    Payload {
        /// Where the offset counts from.
        base: PayloadBase,
        /// Offset in bytes.
        offset: u32,
        /// Length in bytes.
        length: u32,
        /// Where to.
        to: Register,
    },
    /// Reads data of the connection.
    Ct {
        /// What is read.
        key: CtKey,
        /// Of which direction, where the key has one.
        direction: Option<CtDirection>,
        /// Where to.
        to: Register,
    },
    /// Sets data of the connection.
    SetCt {
        /// What is set.
        key: CtKey,
        /// Where from.
        from: Register,
    },
    /// Asks the routing table.
    Fib {
        /// What it is to answer.
        result: FibResult,
        /// For what.
        flags: FibFlags,
        /// Where to.
        to: Register,
    },
    /// Reads data of the packet's route.
    Route {
        /// What is read.
        key: RouteKey,
        /// Where to.
        to: Register,
    },
    /// Counts up, or draws a random number.
    NumberGenerator {
        /// Random, or one after the other.
        random: bool,
        /// The numbers are less than this.
        modulus: u32,
        /// Where to.
        to: Register,
    },
    /// Goes on only if the comparison holds.
    Compare {
        /// What is compared.
        from: Register,
        /// How.
        comparison: Comparison,
        /// With what.
        data: Vec<u8>,
    },
    /// Goes on only inside (or outside) a range, both ends included.
    Range {
        /// What is compared.
        from: Register,
        /// Outside instead of inside.
        outside: bool,
        /// The first value inside.
        first: Vec<u8>,
        /// The last value inside.
        last: Vec<u8>,
    },
    /// `to = (from & mask) ^ xor`.
    Bitwise {
        /// What is changed.
        from: Register,
        /// Where to.
        to: Register,
        /// The mask.
        mask: Vec<u8>,
        /// What is exclusive-ored in, as long as the mask.
        xor: Vec<u8>,
    },
    /// Goes on only if a set holds (or, inverted, does not hold) the value; of a map it also takes the data.
    Lookup {
        /// The set's name, in the same table.
        set: String,
        /// The value.
        from: Register,
        /// Where a map's data go.
        to: Option<Register>,
        /// Go on only if it is not held.
        inverted: bool,
    },
    /// Turns a number of this machine's byte order into one of the network's.
    ToNetworkOrder {
        /// What is turned.
        from: Register,
        /// Where to.
        to: Register,
        /// The number's length in bytes.
        length: u32,
    },
    /// Loads a constant.
    Immediate {
        /// Where to.
        to: Register,
        /// The constant.
        data: Vec<u8>,
    },
    /// Decides.
    Verdict(Verdict),
    /// Translates an address.
    Nat {
        /// Source or destination.
        kind: NatKind,
        /// The family of the address.
        family: prefix::Family,
        /// Where the new address is.
        address: Option<Register>,
        /// Where the new port is.
        port: Option<Register>,
        /// How to choose.
        flags: NatFlags,
    },
    /// Translates the source into the address of the device it leaves by.
    Masquerade {
        /// How to choose.
        flags: NatFlags,
    },
    /// Translates the destination into this machine.
    Redirect {
        /// Where the new port is.
        port: Option<Register>,
        /// How to choose.
        flags: NatFlags,
    },
    /// Refuses with an answer.
    Reject(Reject),
    /// Makes a TCP option smaller; one that is not there or smaller stays as it is.
    ShrinkTcpOption {
        /// The option's number (IANA, TCP option kinds).
        option: u8,
        /// Offset in bytes from the option's begin.
        offset: u32,
        /// Length in bytes.
        length: u32,
        /// Where the new value is.
        from: Register,
    },
    /// Counts packets and bytes. The figures are not part of the rule.
    Counter,
    /// Goes on only as long as a rate is not exceeded.
    Limit {
        /// Packets in a unit of time.
        rate: u64,
        /// The unit.
        unit: TimeUnit,
        /// Packets above the rate that may come at once; at least 1.
        burst: u32,
        /// Go on only when it is exceeded.
        over: bool,
    },
    /// Writes to a log.
    Log {
        /// Where.
        target: LogTarget,
        /// What each entry begins with, at most 127 bytes.
        prefix: String,
    },
    /// Takes the packet out of connection tracking; raw priority only.
    NoTrack,
    /// An instruction of somebody else that this library does not write.
    Other {
        /// Its name in the kernel.
        name: String,
        /// Its attributes.
        attributes: Vec<u8>,
    },
}
