//! The netlink message header (`struct nlmsghdr`) and what the kernel answers.

use nix::errno::Errno;

use super::AttributeReader;
use crate::error::{KernelError, Result};

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `NLMSG_ERROR`: an error, or with number 0 an acknowledgement.
pub(super) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(super) const DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data were lost.
pub(super) const OVERRUN: u16 = 4;

/// Header flags (`include/uapi/linux/netlink.h`).
pub mod flags {
    /// `NLM_F_REQUEST`.
    pub const REQUEST: u16 = 0x1;
    /// `NLM_F_MULTI`: more messages of this answer follow.
    pub const MULTI: u16 = 0x2;
    /// `NLM_F_ACK`.
    pub const ACK: u16 = 0x4;
    /// `NLM_F_ECHO`: answer with the object made.
    pub const ECHO: u16 = 0x8;
    /// `NLM_F_DUMP_INTR`: the dump was overtaken by a change.
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    /// `NLM_F_DUMP` (root and match).
    pub const DUMP: u16 = 0x300;
    /// `NLM_F_REPLACE`.
    pub const REPLACE: u16 = 0x100;
    /// `NLM_F_EXCL`: fail if it exists.
    pub const EXCLUSIVE: u16 = 0x200;
    /// `NLM_F_CREATE`.
    pub const CREATE: u16 = 0x400;
    /// `NLM_F_APPEND`.
    pub const APPEND: u16 = 0x800;
    /// `NLM_F_ACK_TLVS`: the acknowledgement carries attributes.
    pub(super) const ACK_ATTRIBUTES: u16 = 0x200;
    /// `NLM_F_CAPPED`: the acknowledgement does not repeat the request.
    pub(super) const CAPPED: u16 = 0x100;
}

/// One netlink message as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Message type, as `RTM_NEWLINK`.
    pub kind: u16,
    /// Header flags.
    pub flags: u16,
    /// Sequence number of the request it answers; 0 for what the kernel sends by itself.
    pub sequence: u32,
    /// The socket that it answers, or that caused what it tells of (`nlmsg_pid`); 0 is the kernel.
    pub port: u32,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Message {
    /// Splits one datagram into its messages.
    pub(crate) fn parse_all(mut bytes: &[u8]) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        while bytes.len() >= HEADER {
            let word =
                |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
            if length < HEADER || length > bytes.len() {
                return Err(KernelError::malformed(
                    "read a netlink message",
                    format!("it claims {length} of {} bytes", bytes.len()),
                ));
            }
            messages.push(Message {
                kind: half(4),
                flags: half(6),
                sequence: word(8),
                port: word(12),
                payload: bytes[HEADER..length].to_vec(),
            });
            bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        }
        Ok(messages)
    }

    /// Appends a message to `out`.
    pub(crate) fn write(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, payload: &[u8]) {
        let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&flags.to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(payload);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    /// For an error or acknowledgement: `None` is an acknowledgement, else the number and the kernel's words.
    pub(super) fn acknowledgement(&self) -> Option<(Errno, Option<String>)> {
        let code = self.payload.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
        if code == 0 {
            return None;
        }
        Some((Errno::from_raw(code.saturating_neg()), self.extended_text()))
    }

    /// The text of the extended acknowledgement (`NLMSGERR_ATTR_MSG`), which follows the repeated request.
    fn extended_text(&self) -> Option<String> {
        if self.flags & flags::ACK_ATTRIBUTES == 0 {
            return None;
        }
        let mut skip = 4 + HEADER;
        if self.kind == DONE {
            // The end of a dump repeats no request.
            skip = 4;
        } else if self.flags & flags::CAPPED == 0 {
            let repeated = self.payload.get(4..8).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))?;
            skip = 4 + usize::try_from(repeated).ok()?.next_multiple_of(4);
        }
        AttributeReader::new(self.payload.get(skip..)?).find(1).map(|attribute| attribute.string())
    }
}
