//! A watch on the rule set of one namespace: who changed what.
//!
//! The kernel tells of each object of a commit, and of the socket that the commit came by; so a program can tell its own
//! changes from those of others.

use std::time::Duration;

use nix::errno::Errno;

use super::name::{TableFamily, TableName};
use super::wire;
use crate::error::Result;
use crate::netlink::{AttributeReader, Message, Protocol, Socket};
use crate::netns::NetNs;

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// The subsystem of nf_tables in a message's kind.
const SUBSYSTEM_MASK: u16 = 0xff00;
/// Room for messages that wait to be read. One element takes about 100 bytes.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

/// A change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something in this table, or the table itself, was made, changed or removed.
    Object {
        /// The socket it came by, for [`super::Identity::made`]; 0 is the kernel itself.
        by: u32,
        /// The table.
        table: TableName,
        /// The chain, set or map, or the one that the rule or the elements are in; `None` for the table and other kinds.
        name: Option<String>,
    },
    /// Messages were lost: anything may have changed.
    Lost,
}

/// A watch on one namespace. One thread owns it and asks for [`Watch::next`].
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl Watch {
    /// Watches the calling thread's namespace. From now on nothing is missed, so list *after* opening.
    pub fn open() -> Result<Self> {
        Self::with_buffer(RECEIVE_BUFFER)
    }

    /// Watches with room for `bytes` of messages that wait.
    pub fn with_buffer(bytes: usize) -> Result<Self> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        if let Err(error) = socket.grow_buffers(bytes) {
            // Less room only means that changes are lost sooner, which is told.
            tracing::debug!(%error, "the watch on nf_tables keeps the default buffer");
        }
        socket.join(GROUP)?;
        Ok(Self { socket })
    }

    /// Watches another namespace.
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        namespace.run_in(Self::open)?
    }

    /// Waits at most `timeout` for changes. Nothing changed: an empty list.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<Change>> {
        if !self.socket.wait(timeout)? {
            return Ok(Vec::new());
        }
        match self.socket.receive("read changes of nf_tables") {
            Ok(messages) => Ok(messages.iter().filter_map(change).collect()),
            // What cannot be read may have told anything.
            Err(error) if matches!(error.errno, Errno::ENOBUFS | Errno::EBADMSG) => Ok(vec![Change::Lost]),
            Err(error) => Err(error),
        }
    }
}

/// The change that a message tells of; `None` for those that only say that a commit ended.
fn change(message: &Message) -> Option<Change> {
    use wire::message as kinds;

    let number = message.kind & !SUBSYSTEM_MASK;
    if message.kind & SUBSYSTEM_MASK != wire::kind(0) || number == kinds::NEW_GENERATION {
        return None;
    }
    let family = TableFamily::from_number(*message.payload.first()?)?;
    let attributes = AttributeReader::new(message.payload.get(4..)?);
    let text = |kind| attributes.find(kind).map(|attribute| attribute.string());
    // All kinds of objects have the name of their table in the same place.
    let table = TableName::new(family, text(wire::table::NAME)?);
    let name = match number {
        kinds::NEW_CHAIN | kinds::DELETE_CHAIN => text(wire::chain::NAME),
        kinds::NEW_RULE | kinds::DELETE_RULE => text(wire::rule::CHAIN),
        kinds::NEW_SET | kinds::DELETE_SET => text(wire::set::NAME),
        kinds::NEW_ELEMENT | kinds::DELETE_ELEMENT => text(wire::element::LIST_SET),
        _ => None,
    };
    Some(Change::Object { by: message.port, table, name })
}
