//! The moments in which the kernel took a transaction of nf_tables, told by the kernel itself.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, setsockopt,
    socket, sockopt,
};

use crate::bench::world::World;

/// The multicast group `NFNLGRP_NFTABLES` (7) as bind(2) takes it.
const GROUP: u32 = 1 << 6;
/// `NFNL_SUBSYS_NFTABLES` in the upper half of a message's type, `NFT_MSG_NEWGEN` in the lower: the end of a transaction.
const SUBSYSTEM: u16 = 10;
const NEW_GENERATION: u16 = 15;

/// A transaction: when it was told of, and with how many messages about objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) moment: Instant,
    pub(super) objects: u32,
}

/// The transactions of a node from now on, until the process ends.
pub(super) fn listen(world: &World) -> Result<Receiver<Commit>> {
    let socket = world.inside(|| {
        let raw = SockType::Raw;
        let socket =
            socket(AddressFamily::Netlink, raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)
                .context("a netlink socket")?;
        setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP)).context("listening to nf_tables")?;
        Ok(socket)
    })?;
    let (sender, commits) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        let mut objects = 0;
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let length = match recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty())
            {
                Ok(message) => message.bytes,
                // What did not fit is lost; the next transaction is told of again.
                Err(nix::errno::Errno::ENOBUFS) => 0,
                Err(_) => return,
            };
            let moment = Instant::now();
            for kind in kinds(&buffer[..length]) {
                if kind != NEW_GENERATION {
                    objects += 1;
                } else if sender.send(Commit { moment, objects: std::mem::take(&mut objects) }).is_err() {
                    return;
                }
            }
        }
    });
    Ok(commits)
}

/// The kinds of the messages of nf_tables in a datagram (`struct nlmsghdr`: length, type).
fn kinds(mut datagram: &[u8]) -> Vec<u16> {
    let mut kinds = Vec::new();
    while let [a, b, c, d, low, high, ..] = datagram {
        if u16::from(*high) == SUBSYSTEM {
            kinds.push(u16::from(*low));
        }
        let length = u32::from_ne_bytes([*a, *b, *c, *d]).next_multiple_of(4).max(16) as usize;
        datagram = datagram.get(length..).unwrap_or_default();
    }
    kinds
}

/// The first transaction, when one comes in time; those before it are forgotten by [`drain`].
pub(super) fn next(commits: &Receiver<Commit>, limit: Duration) -> Option<Commit> {
    commits.recv_timeout(limit).ok()
}

/// Forgets what was told so far.
pub(super) fn drain(commits: &Receiver<Commit>) {
    while commits.try_recv().is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_other_subsystems_and_torn_ones_are_passed_over() {
        let message = |kind: u8, subsystem: u8| {
            [20, 0, 0, 0, kind, subsystem, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        };
        let datagram = [message(12, 10), message(0, 1), message(15, 10)].concat();
        assert_eq!(kinds(&datagram), [12, 15]);
        assert_eq!(kinds(&datagram[..27]), [12]);
        assert_eq!(kinds(&[0; 3]), Vec::<u16>::new());
    }
}
