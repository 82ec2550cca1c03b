//! The connection tracking table: which flows the kernel knows, and forgetting some of them.
//!
//! A UDP client that keeps its source port is held to its old destination by its entry; when that destination is
//! gone the entry must go too, else the client talks to nobody until it times out.
//!
//! Own attributes and no packet crate: five attributes are read and four written.

mod flow;
#[cfg(test)]
mod tests;

pub use flow::{Filter, Flow, Tuple};

use std::borrow::BorrowMut;

use crate::error::{KernelError, Result};
use crate::netlink::{Attributes, Protocol, Socket};
use crate::netns::NetNs;

/// `NFNL_SUBSYS_CTNETLINK << 8`.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_GET`.
const GET: u16 = SUBSYSTEM | 1;
/// `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = SUBSYSTEM | 2;

/// A connection to the connection tracking table of one network namespace, with a socket of its own or, by
/// [`crate::nft::Nft::conntrack`], over another one.
#[derive(Debug)]
pub struct Conntrack<S = Socket> {
    socket: S,
}

impl Conntrack {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// Opens a socket in another network namespace.
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        namespace.run_in(Self::open)?
    }
}

impl<S: BorrowMut<Socket>> Conntrack<S> {
    /// Over a socket of [`Protocol::Netfilter`].
    pub(crate) fn over(socket: S) -> Self {
        Self { socket }
    }

    /// The flows that `filter` admits. Kernels from 5.8 on filter themselves; older ones send everything and it is
    /// filtered here.
    pub fn flows(&mut self, filter: &Filter) -> Result<Vec<Flow>> {
        let operation = format!("list tracked {filter}");
        let mut payload = header(filter.family);
        payload.extend_from_slice(filter.attributes().as_bytes());
        let answers = self
            .socket
            .borrow_mut()
            .dump(&operation, GET, &payload)
            .map_err(|error| explain(error, filter))?;
        let flows = answers.iter().filter_map(|answer| Flow::parse(&answer.payload));
        Ok(flows.filter(|flow| filter.admits(flow)).collect())
    }

    /// Forgets one flow; `false` if it was gone already, also when another flow has taken its place.
    pub fn delete(&mut self, flow: &Flow) -> Result<bool> {
        let operation = format!("forget tracked flow {}", flow.original);
        let mut payload = header(flow.original.family());
        let mut attributes = Attributes::new();
        flow.name(&mut attributes);
        payload.extend_from_slice(attributes.as_bytes());
        match self.socket.borrow_mut().request(&operation, DELETE, 0, &payload) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets all flows that `filter` admits.
    pub fn forget(&mut self, filter: &Filter) -> Result<()> {
        self.forget_each(filter, std::slice::from_ref(filter))
    }

    /// Forgets all flows that one of `filters` admits; `all` admits whatever they do.
    ///
    /// The kernel does it (Linux 6.11) in a walk over the used part of its table for each of them; a listing takes the
    /// lock of every part of it, used or not, some ten milliseconds with the table of a common machine. Older kernels
    /// refuse, and IPv6 addresses cannot be left to any: then the flows that `all` admits are listed once and forgotten
    /// one by one.
    pub fn forget_each(&mut self, all: &Filter, filters: &[Filter]) -> Result<()> {
        for filter in filters {
            if !filter.is_safe_in_kernel() || !self.forget_in_kernel(filter)? {
                let meant = |flow: &Flow| filters.iter().any(|filter| filter.admits(flow));
                return self.delete_matching(all, meant).map(drop);
            }
        }
        Ok(())
    }

    /// `false` if this kernel cannot do it.
    fn forget_in_kernel(&mut self, filter: &Filter) -> Result<bool> {
        let operation = format!("forget tracked {filter}");
        let mut payload = header(filter.family);
        payload.extend_from_slice(filter.attributes().as_bytes());
        match self.socket.borrow_mut().request(&operation, DELETE, 0, &payload) {
            // It takes it for the incomplete name of one flow.
            Err(error) if error.is_invalid() || error.is_not_found() || error.is_unsupported() => Ok(false),
            done => done.map(|_| true),
        }
    }

    /// Forgets the flows that `filter` admits and `choose` takes; how many there were.
    pub fn delete_matching(
        &mut self,
        filter: &Filter,
        mut choose: impl FnMut(&Flow) -> bool,
    ) -> Result<usize> {
        let mut forgotten = 0;
        for flow in self.flows(filter)?.iter().filter(|flow| choose(flow)) {
            forgotten += usize::from(self.delete(flow)?);
        }
        Ok(forgotten)
    }
}

/// `struct nfgenmsg`.
fn header(family: prefix::Family) -> Vec<u8> {
    let number = match family {
        prefix::Family::V4 => 2,
        prefix::Family::V6 => 10,
    };
    vec![number, 0, 0, 0]
}

fn explain(error: KernelError, filter: &Filter) -> KernelError {
    if error.is_unsupported() || error.errno == nix::errno::Errno::EINVAL {
        let remedy = "this kernel cannot list tracked flows: load it with `modprobe nf_conntrack_netlink`";
        return error.named(format!("list tracked {filter}")).with_detail(remedy);
    }
    error
}
