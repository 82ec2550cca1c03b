//! One synchronous netlink socket for every protocol.
//!
//! It is own code of a few hundred lines, because the plugin must not start an async runtime, and because
//! nf_tables' batches, IPVS' generic netlink and route messages all need the same four things: strict checking,
//! sequence numbers, the kernel's own words for an error, and a dump that is repeated when a change overtook it.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket as RawSocket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::filter::{self, Is};
use super::message::{self, Message, flags};
use crate::error::{KernelError, Result};

/// How long a dump that changes overtake is asked for again before the caller hears of it. With hundreds of links and
/// pods that come and go all the time, one in five is whole.
const DUMP_PATIENCE: Duration = Duration::from_secs(2);
/// The pause before it is asked for again: it doubles from the first to the longest.
const DUMP_PAUSES: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(16));
/// No answer of the kernel takes this long; a socket must not hang a plugin for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Room for one datagram; the kernel never sends more than 32 KiB of a dump at once.
const RECEIVE_BUFFER: usize = 128 * 1024;

/// The netlink families this workspace uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, rules, neighbours.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
    /// IPVS, FoU.
    Generic,
}

/// What the kernel says to one message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The sequence number of the message it answers.
    pub sequence: u32,
    /// `None` is an acknowledgement; else the error number and the kernel's words.
    pub refusal: Option<(Errno, Option<String>)>,
}

/// One answer to the question for all objects of a kind.
#[derive(Debug)]
pub(crate) struct Dump {
    /// What it shows.
    pub(crate) messages: Vec<Message>,
    /// `false` if something of that kind came or went meanwhile. What was there all the time is in it even so.
    pub(crate) whole: bool,
}

/// A netlink socket. It belongs to the network namespace it was opened in, wherever its owner goes later.
#[derive(Debug)]
pub struct Socket {
    inner: RawSocket,
    sequence: u32,
    /// Never zeroed nor grown: a socket that lives for some answers of a kilobyte would pay for the whole of it.
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Self> {
        Self::bound(protocol, None)
    }

    /// Opens a socket that the kernel knows by `port`. `EADDRINUSE` if another one of the namespace has it.
    pub fn open_at(protocol: Protocol, port: u32) -> Result<Self> {
        Self::bound(protocol, Some(port))
    }

    fn bound(protocol: Protocol, port: Option<u32>) -> Result<Self> {
        let number = match protocol {
            Protocol::Route => NETLINK_ROUTE,
            Protocol::Netfilter => NETLINK_NETFILTER,
            Protocol::Generic => NETLINK_GENERIC,
        };
        let failed =
            |error: std::io::Error| KernelError::io(format!("open a {protocol:?} netlink socket"), &error);
        let mut inner = RawSocket::new(number).map_err(failed)?;
        match port {
            Some(port) => inner.bind(&SocketAddr::new(port, 0)).map_err(failed)?,
            None => inner.bind_auto().map(drop).map_err(failed)?,
        }
        inner.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        inner.set_ext_ack(true).map_err(failed)?;
        inner.set_cap_ack(true).map_err(failed)?;
        // Old kernels lack it; they then answer a filtered dump with everything, and the readers filter anyway.
        let _ = inner.set_netlink_get_strict_chk(true);
        let socket = Self { inner, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER) };
        socket.set_timeout(ANSWER_TIMEOUT)?;
        Ok(socket)
    }

    fn set_timeout(&self, timeout: Duration) -> Result<()> {
        let value = TimeVal::milliseconds(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
        setsockopt(&self.borrow(), sockopt::ReceiveTimeout, &value)
            .map_err(|errno| KernelError::new("set the netlink receive timeout", errno))
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is owned by `self.inner`, which outlives the borrow.
        #[expect(unsafe_code, reason = "netlink-sys gives the descriptor as a raw number only")]
        unsafe {
            BorrowedFd::borrow_raw(self.inner.as_raw_fd())
        }
    }

    /// Makes room for `bytes` of one message to the kernel and as much of answers. Needs CAP_NET_ADMIN.
    pub fn grow_buffers(&self, bytes: usize) -> Result<()> {
        setsockopt(&self.borrow(), sockopt::SndBufForce, &bytes)
            .and_then(|()| setsockopt(&self.borrow(), sockopt::RcvBufForce, &bytes))
            .map_err(|errno| KernelError::new(format!("grow the netlink buffers to {bytes} bytes"), errno))
    }

    /// Joins a multicast group (`RTNLGRP_*`), for a monitor.
    pub fn join(&mut self, group: u32) -> Result<()> {
        self.inner
            .add_membership(group)
            .map_err(|error| KernelError::io(format!("join netlink group {group}"), &error))
    }

    /// Is not told of messages that meet all conditions of one of `rules`.
    pub(crate) fn ignore(&self, rules: &[&[Is]]) -> Result<()> {
        filter::drop_matching(self.borrow(), rules)
    }

    /// The sequence number for the next message.
    pub fn next_sequence(&mut self) -> u32 {
        // 0 is what the kernel uses for messages of its own.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    /// Sends one request and waits for the kernel's acknowledgement; the messages that came before it are returned.
    ///
    /// `operation` names what is tried, for the error.
    pub fn request(
        &mut self,
        operation: &str,
        kind: u16,
        flag_bits: u16,
        payload: &[u8],
    ) -> Result<Vec<Message>> {
        let sequence = self.next_sequence();
        let mut out = Vec::with_capacity(message::HEADER + payload.len());
        Message::write(&mut out, kind, flag_bits | flags::REQUEST | flags::ACK, sequence, payload);
        self.send(operation, &out)?;
        let mut answers = Vec::new();
        loop {
            for answer in self.receive(operation)?.into_iter().filter(|m| m.sequence == sequence) {
                match answer.kind {
                    message::ERROR => match answer.acknowledgement() {
                        None => return Ok(answers),
                        Some((errno, detail)) => {
                            return Err(KernelError { operation: operation.to_owned(), errno, detail });
                        }
                    },
                    message::DONE => return Ok(answers),
                    _ => answers.push(answer),
                }
            }
        }
    }

    /// Asks for all objects of a kind. A dump that a concurrent change made inconsistent is repeated, for two seconds at
    /// most; then the error is `EINTR`.
    pub fn dump(&mut self, operation: &str, kind: u16, payload: &[u8]) -> Result<Vec<Message>> {
        let (start, mut pause) = (Instant::now(), DUMP_PAUSES.0);
        loop {
            let dump = self.dump_once(operation, kind, payload)?;
            if dump.whole {
                return Ok(dump.messages);
            }
            if start.elapsed() > DUMP_PATIENCE {
                return Err(KernelError::new(operation, Errno::EINTR).with_detail(format!(
                    "changes overtook the dump each time for {} s",
                    DUMP_PATIENCE.as_secs()
                )));
            }
            std::thread::sleep(pause);
            pause = DUMP_PAUSES.1.min(pause * 2);
        }
    }

    /// Asks for all objects of a kind once, and tells if a change overtook the answer.
    pub(crate) fn dump_once(&mut self, operation: &str, kind: u16, payload: &[u8]) -> Result<Dump> {
        let sequence = self.next_sequence();
        let mut out = Vec::with_capacity(message::HEADER + payload.len());
        Message::write(&mut out, kind, flags::DUMP | flags::REQUEST, sequence, payload);
        self.send(operation, &out)?;
        let mut dump = Dump { messages: Vec::new(), whole: true };
        loop {
            for answer in self.receive(operation)?.into_iter().filter(|m| m.sequence == sequence) {
                dump.whole &= answer.flags & flags::DUMP_INTERRUPTED == 0;
                match answer.kind {
                    message::DONE | message::ERROR => match answer.acknowledgement() {
                        Some((Errno::EINTR, _)) => return Ok(Dump { whole: false, ..dump }),
                        Some((errno, detail)) => {
                            return Err(KernelError { operation: operation.to_owned(), errno, detail });
                        }
                        None => return Ok(dump),
                    },
                    message::OVERRUN => dump.whole = false,
                    _ => dump.messages.push(answer),
                }
            }
        }
    }

    /// Sends several messages as one datagram, as an nf_tables batch is. The caller has given each its sequence
    /// number with [`Socket::next_sequence`] and reads the answers with [`Socket::receive`].
    pub fn send(&mut self, operation: &str, bytes: &[u8]) -> Result<()> {
        let sent = self.inner.send(bytes, 0).map_err(|error| KernelError::io(operation, &error))?;
        if sent != bytes.len() {
            return Err(KernelError::new(operation, Errno::EMSGSIZE)
                .with_detail(format!("the kernel took {sent} of {} bytes", bytes.len())));
        }
        Ok(())
    }

    /// Appends one message with the header `kind`, `flag_bits` and `sequence` to a batch in `out`.
    pub fn append(out: &mut Vec<u8>, kind: u16, flag_bits: u16, sequence: u32, payload: &[u8]) {
        Message::write(out, kind, flag_bits, sequence, payload);
    }

    /// Waits for the next datagram and returns its messages.
    ///
    /// `ENOBUFS` means that the kernel dropped messages for want of room: a monitor then reads everything anew.
    pub fn receive(&mut self, operation: &str) -> Result<Vec<Message>> {
        loop {
            self.buffer.clear();
            match self.inner.recv(&mut self.buffer, 0) {
                Ok(_) => return Message::parse_all(&self.buffer),
                Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
                Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => {
                    return Err(KernelError::new(operation, Errno::ETIMEDOUT).with_detail(format!(
                        "no answer from the kernel in {} s",
                        ANSWER_TIMEOUT.as_secs()
                    )));
                }
                Err(error) => return Err(KernelError::io(operation, &error)),
            }
        }
    }

    /// If `message` is an error or an acknowledgement: what it answers and how.
    pub fn verdict(message: &Message) -> Option<Verdict> {
        (message.kind == message::ERROR)
            .then(|| Verdict { sequence: message.sequence, refusal: message.acknowledgement() })
    }

    /// Waits at most `timeout` until something can be read; `false` if nothing came.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut descriptors = [PollFd::new(self.borrow(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut descriptors, limit) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(KernelError::new("wait for netlink messages", errno)),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
