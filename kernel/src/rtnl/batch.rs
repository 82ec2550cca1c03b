//! Changes that go together, in one system call.

use super::link::{decode, look_up_named};
use super::{Link, LinkChange, NewLink, Rtnl};
use crate::error::{KernelError, Result};
use crate::netlink::Request;

/// Requests that the kernel gets in one system call, so that a process that is killed has sent all of them or none.
///
/// The kernel does not stop at one that it refuses: each must be harmless when one before it fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    requests: Vec<Request>,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a link.
    pub fn create_link(&mut self, link: &NewLink<'_>) -> Result<&mut Self> {
        Ok(self.push(link.request()?))
    }

    /// Changes a link.
    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> Result<&mut Self> {
        Ok(self.push(change.request(index)?))
    }

    /// Changes the link that is called `name` when its turn comes, which may be one that this batch makes.
    /// It cannot be renamed this way.
    pub fn change_link_named(&mut self, name: &str, change: &LinkChange<'_>) -> Result<&mut Self> {
        Ok(self.push(change.request_named(name)?))
    }

    /// Reads the link that is called `name` when its turn comes; it is in the answer of [`Rtnl::run`].
    pub fn look_up(&mut self, name: &str) -> Result<&mut Self> {
        Ok(self.push(look_up_named(name)?))
    }

    pub(crate) fn push(&mut self, request: Request) -> &mut Self {
        self.requests.push(request);
        self
    }
}

impl Rtnl {
    /// Does everything of a batch; the links that were looked up are returned. The first refusal is the error.
    pub fn run(&mut self, batch: &Batch) -> Result<Vec<Link>> {
        let answers = self.socket.request_all(&batch.requests)?;
        Ok(decode(&answers.concat()))
    }

    /// As [`Rtnl::run`] for a batch with one look-up.
    pub fn run_for_link(&mut self, batch: &Batch) -> Result<Link> {
        let mut links = self.run(batch)?;
        links.pop().ok_or_else(|| KernelError::malformed("run a batch", "the kernel's answers hold no link"))
    }
}
