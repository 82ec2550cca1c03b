//! NFLOG: packets that rules with a `log group` statement show to programs (`linux/netfilter/nfnetlink_log.h`).
//!
//! A group of a network namespace has one reader. The kernel keeps what the reader has not read yet in the socket's buffer;
//! when that is full it throws entries away and goes on, so a slow reader delays no packet. [`Nflog::next`] says how many
//! were thrown away, by the gaps in the kernel's own numbers.

mod flow;
mod packet;
#[cfg(test)]
mod tests;

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;

pub use flow::{Flow, Transport};
pub use packet::Packet;

use crate::NetNs;
use crate::error::{KernelError, Result};
use crate::netlink::{Attributes, Protocol, Socket};

/// `NFNL_SUBSYS_ULOG`, with `NFULNL_MSG_PACKET` and `NFULNL_MSG_CONFIG`.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = 4 << 8 | 1;
/// Room for entries that wait to be read, some thousands of them.
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// Entries that the kernel gathers before it wakes the reader, and how long it waits for them (in 1/100 s).
const GATHER: u32 = 32;
const GATHER_TIME: u32 = 5;
/// Where the kernel shows the readers of the namespace's groups.
const READERS: &str = "/proc/thread-self/net/netfilter/nfnetlink_log";

/// `NFULA_CFG_*`, `NFULNL_*`.
mod config {
    pub(super) const COMMAND: u16 = 1;
    pub(super) const MODE: u16 = 2;
    pub(super) const TIMEOUT: u16 = 4;
    pub(super) const THRESHOLD: u16 = 5;
    pub(super) const FLAGS: u16 = 6;
    pub(super) const BIND: u8 = 1;
    pub(super) const COPY_PACKET: u8 = 2;
    /// `NFULNL_CFG_F_SEQ`: number the entries.
    pub(super) const NUMBERED: u16 = 1;
}

/// What is read from a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A logged packet.
    Packet(Packet),
    /// So many entries are missing here: they were not read fast enough.
    Lost(u32),
}

/// The reader of one group. The group is free again when it is dropped.
#[derive(Debug)]
pub struct Nflog {
    socket: Socket,
    group: u16,
    /// The number of the next entry, as far as the kernel numbers them.
    expected: Option<u32>,
}

impl Nflog {
    /// Becomes the reader of `group` in the calling thread's network namespace, of at most `bytes` of each packet. Needs
    /// CAP_NET_ADMIN. `EBUSY` if another program reads the group.
    pub fn bind(group: u16, bytes: u32) -> Result<Self> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        if let Err(error) = socket.grow_buffers(RECEIVE_BUFFER) {
            // Less room only means that more is lost in a flood.
            tracing::debug!(%error, "NFLOG keeps the default buffer");
        }
        let what = format!("read NFLOG group {group}");
        let mut command = Attributes::new();
        command.u8(config::COMMAND, config::BIND);
        request(&mut socket, &what, group, &command).map_err(|error| taken(error, group))?;
        let mut settings = Attributes::new();
        let mut mode = bytes.to_be_bytes().to_vec();
        mode.extend_from_slice(&[config::COPY_PACKET, 0]);
        settings
            .bytes(config::MODE, &mode)
            .u32_be(config::TIMEOUT, GATHER_TIME)
            .u32_be(config::THRESHOLD, GATHER)
            .u16_be(config::FLAGS, config::NUMBERED);
        request(&mut socket, &what, group, &settings)?;
        Ok(Self { socket, group, expected: None })
    }

    /// Like [`Nflog::bind`] in another namespace.
    pub fn bind_in(namespace: &NetNs, group: u16, bytes: u32) -> Result<Self> {
        namespace.run_in(|| Self::bind(group, bytes))?
    }

    /// The group.
    pub fn group(&self) -> u16 {
        self.group
    }

    /// Waits at most `timeout` for entries; `None` if nothing came.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Vec<Entry>>> {
        if !self.socket.wait(timeout)? {
            return Ok(None);
        }
        let messages = match self.socket.receive(&format!("read NFLOG group {}", self.group)) {
            Ok(messages) => messages,
            // Entries were thrown away; the next number tells how many. What is not understood is not entered either.
            Err(error) if matches!(error.errno, Errno::ENOBUFS | Errno::EBADMSG) => {
                return Ok(Some(Vec::new()));
            }
            Err(error) => return Err(error),
        };
        let mut entries = Vec::with_capacity(messages.len());
        for message in messages.iter().filter(|message| message.kind == PACKET) {
            let Some((number, packet)) = packet::read(&message.payload) else { continue };
            entries.extend(number.and_then(|number| self.missing_before(number)));
            entries.push(Entry::Packet(packet));
        }
        Ok(Some(entries))
    }

    fn missing_before(&mut self, number: u32) -> Option<Entry> {
        let expected = self.expected.replace(number.wrapping_add(1));
        let lost = number.wrapping_sub(expected.unwrap_or(number));
        (lost > 0).then_some(Entry::Lost(lost))
    }
}

impl AsRawFd for Nflog {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn request(socket: &mut Socket, what: &str, group: u16, attributes: &Attributes) -> Result<()> {
    // `struct nfgenmsg`: any family, version 0, the group.
    let mut payload = vec![0, 0];
    payload.extend_from_slice(&group.to_be_bytes());
    payload.extend_from_slice(attributes.as_bytes());
    socket.request(what, CONFIG, 0, &payload).map(|_| ())
}

/// The kernel says "not permitted" to the second reader of a group, as it does to one without privilege.
fn taken(error: KernelError, group: u16) -> KernelError {
    let reader = std::fs::read_to_string(READERS).ok().and_then(|text| reader_of(&text, group));
    match reader {
        Some(port) => KernelError::new(error.operation, Errno::EBUSY).with_detail(format!(
            "another program reads it (netlink port {port}, mostly its process ID); end that program, as a group has \
             one reader"
        )),
        None => error,
    }
}

/// The netlink port of who reads `group`, from the kernel's list.
fn reader_of(list: &str, group: u16) -> Option<u32> {
    list.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()?.parse() == Ok(group)).then(|| fields.next()?.parse().ok())?
    })
}
