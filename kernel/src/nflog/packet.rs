//! One entry of a group, from its attributes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::flow::Flow;
use crate::netlink::AttributeReader;

/// `NFULA_*`.
mod attribute {
    pub(super) const HEADER: u16 = 1;
    pub(super) const TIMESTAMP: u16 = 3;
    pub(super) const INPUT: u16 = 4;
    pub(super) const OUTPUT: u16 = 5;
    pub(super) const PHYSICAL_INPUT: u16 = 6;
    pub(super) const PHYSICAL_OUTPUT: u16 = 7;
    pub(super) const PAYLOAD: u16 = 9;
    pub(super) const PREFIX: u16 = 10;
    pub(super) const NUMBER: u16 = 12;
}

/// `struct nfgenmsg`.
const GENERIC_HEADER: usize = 4;
/// The longest prefix that a rule can have (`NF_LOG_PREFIXLEN`).
const LONGEST_PREFIX: usize = 128;

/// A logged packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The family of the rule's hook (`NFPROTO_*`).
    pub family: u8,
    /// The hook, numbered as in the kernel; for IP 0 prerouting to 4 postrouting.
    pub hook: u8,
    /// When it came, if the kernel says so; it does not for what leaves this machine.
    pub time: Option<SystemTime>,
    /// What the rule puts before its entries.
    pub prefix: String,
    /// The number of the device it came by; of a bridge the number of the bridge.
    pub input: Option<u32>,
    /// The number of the device it leaves by.
    pub output: Option<u32>,
    /// The port of the bridge it came by.
    pub physical_input: Option<u32>,
    /// The port of the bridge it leaves by.
    pub physical_output: Option<u32>,
    /// Who sends what to whom; `None` if it is not IP, or cut off before that.
    pub flow: Option<Flow>,
}

/// Reads what follows the netlink header: the entry, and its number if the kernel numbers them. `None` if it is none.
pub(super) fn read(payload: &[u8]) -> Option<(Option<u32>, Packet)> {
    let attributes = AttributeReader::new(payload.get(GENERIC_HEADER..)?);
    let number = |kind| attributes.find(kind).and_then(|found| found.u32_be().ok());
    let header = attributes.find(attribute::HEADER)?.payload;
    let prefix = attributes.find(attribute::PREFIX).map(|found| found.string()).unwrap_or_default();
    let packet = Packet {
        family: *payload.first()?,
        hook: *header.get(2)?,
        time: attributes.find(attribute::TIMESTAMP).and_then(|found| time(found.payload)),
        prefix: prefix.chars().take(LONGEST_PREFIX).collect(),
        input: number(attribute::INPUT),
        output: number(attribute::OUTPUT),
        physical_input: number(attribute::PHYSICAL_INPUT),
        physical_output: number(attribute::PHYSICAL_OUTPUT),
        flow: attributes.find(attribute::PAYLOAD).and_then(|found| Flow::read(found.payload)),
    };
    Some((number(attribute::NUMBER), packet))
}

/// `struct nfulnl_msg_packet_timestamp`: seconds and microseconds, in network order.
fn time(bytes: &[u8]) -> Option<SystemTime> {
    let word = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let since = Duration::from_secs(word(0)?).checked_add(Duration::from_micros(word(8)?))?;
    UNIX_EPOCH.checked_add(since).filter(|_| !since.is_zero())
}
