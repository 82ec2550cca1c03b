//! Traffic control: token buckets and what sends a link's arriving packets through one (`net/sched`).
//!
//! ```text
//!            ┌── root: token bucket ──► leaves by the link
//!   link ────┤
//!            └── ingress: every packet that arrives is redirected ──► ifb ── root: token bucket ──► goes on
//! ```
//!
//! Only what a limit of both directions needs is here; other disciplines and filters of a link are read as kinds.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::Redirect;

use std::collections::BTreeSet;

use crate::error::Result;
use crate::netlink::Request;
use crate::rtnl::{Batch, Rtnl};

/// Message numbers (`include/uapi/linux/rtnetlink.h`).
mod kinds {
    pub(super) const NEW_QDISC: u16 = 36;
    pub(super) const DELETE_QDISC: u16 = 37;
    pub(super) const GET_QDISC: u16 = 38;
    pub(super) const NEW_FILTER: u16 = 44;
    pub(super) const GET_FILTER: u16 = 46;
}

/// Where a link's own discipline hangs (`TC_H_ROOT`).
const ROOT: u32 = 0xffff_ffff;
/// Where the discipline for arriving packets hangs (`TC_H_INGRESS`).
const INGRESS: u32 = 0xffff_fff1;
/// The handle of the discipline for arriving packets, as everybody calls it: `ffff:`.
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// The handle of a token bucket: `1:`.
const BUCKET_HANDLE: u32 = 0x0001_0000;

/// A token bucket (`tc-tbf(8)`): packets leave at a rate, and what was not used is saved up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes a second.
    pub rate: u64,
    /// The most that may be saved, as the time it takes to send it at `rate`, in ticks of 64 ns.
    pub buffer: u32,
    /// How much may wait, in bytes; what comes then is dropped.
    pub limit: u32,
}

/// A queueing discipline of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// The kernel's name of its kind, as `tbf`, `ingress`, `noqueue`.
    pub kind: String,
    /// Its parameters, if it is a token bucket.
    pub token_bucket: Option<TokenBucket>,
}

impl Qdisc {
    /// It looks at arriving packets; a link has one such at most.
    pub fn is_of_arriving(&self) -> bool {
        matches!(self.kind.as_str(), "ingress" | "clsact")
    }
}

impl Batch {
    /// Gives the link `link` a token bucket as its own discipline. One that somebody gave it already is an error with
    /// `is_exists()`.
    pub fn limit(&mut self, link: u32, bucket: &TokenBucket) -> &mut Self {
        self.push(encode::token_bucket(link, bucket))
    }

    /// Sends every packet that arrives by `link` to the link `target`, which must be an ifb for it to come back. A
    /// discipline for arriving packets that is there already is an error with `is_exists()`.
    pub fn redirect_arriving(&mut self, link: u32, target: u32) -> &mut Self {
        self.push(encode::ingress(link)).push(encode::redirect(link, target))
    }
}

impl Rtnl {
    /// The disciplines of a link.
    pub fn qdiscs(&mut self, link: u32) -> Result<Vec<Qdisc>> {
        let operation = format!("list queueing disciplines of link {link}");
        // The kernel picks the link since 5.x only where strict checking is on, so its answer is filtered.
        let answers = self.dump(&operation, kinds::GET_QDISC, &encode::header(link, 0, 0, 0))?;
        Ok(decode::qdiscs(&answers, link))
    }

    /// Where packets that arrive by a link are redirected to by filters of the kind `u32`, in order.
    pub fn redirects(&mut self, link: u32) -> Result<Vec<Redirect>> {
        let operation = format!("list filters of packets that arrive by link {link}");
        let header = encode::header(link, 0, INGRESS_HANDLE, 0);
        match self.dump(&operation, kinds::GET_FILTER, &header) {
            // The link has no discipline for arriving packets.
            Err(error) if error.is_not_found() || error.is_invalid() => Ok(Vec::new()),
            answers => Ok(decode::redirects(&answers?)),
        }
    }

    /// The links that packets arriving anywhere in this namespace are redirected to.
    pub fn redirect_targets(&mut self) -> Result<BTreeSet<u32>> {
        let answers =
            self.dump("list queueing disciplines", kinds::GET_QDISC, &encode::header(0, 0, 0, 0))?;
        let mut targets = BTreeSet::new();
        for link in decode::links_with(&answers, "ingress") {
            targets.extend(self.redirects(link)?.into_iter().map(|redirect| redirect.target));
        }
        Ok(targets)
    }

    /// Takes its own discipline from a link, which gets the kernel's usual one; `false` if it has no other.
    pub fn remove_limit(&mut self, link: u32) -> Result<bool> {
        self.delete_qdisc(&encode::delete(link, ROOT))
    }

    /// Takes everything from a link that looks at arriving packets; `false` if there is nothing.
    pub fn remove_redirect(&mut self, link: u32) -> Result<bool> {
        self.delete_qdisc(&encode::delete(link, INGRESS))
    }

    fn delete_qdisc(&mut self, request: &Request) -> Result<bool> {
        match self.ask(request) {
            Ok(_) => Ok(true),
            // The kernel's usual discipline cannot be taken away (`EINVAL`, for older kernels `ENOENT`).
            Err(error) if error.is_not_found() || error.is_invalid() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
