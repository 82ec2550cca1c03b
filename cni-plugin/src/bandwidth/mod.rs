//! Bandwidth limits of a pod (reference plugin `bandwidth`, v1.9.1).
//!
//! ```text
//!   to the pod (ingress)     host end: token bucket ══════► pod
//!   from the pod (egress)    host end ◄══════ pod
//!                               └ every packet that arrives is redirected ► block (ifb): token bucket ► goes on
//! ```
//!
//! Names and numbers are the reference plugin's, so that each side checks and removes what the other made. The block
//! carries the [`Tag`](crate::tag::Tag) of its attachment in addition, by which GC finds it.
//!
//! The role `bandwidth` works on a `prevResult`; the role `routerd-cni` calls [`add`], [`remove_with_pair`], [`check`] and
//! [`collect`] in its one run.

mod block;
mod collect;
mod limits;
mod numbers;
mod port;
mod verify;

pub use block::{block_name, remove, remove_with_pair};
pub use collect::{collect, unused};
pub use limits::{Limit, Limits};
pub use verify::check;

use kernel::KernelError;
use kernel::rtnl::{Batch, Link, Rtnl};
use kernel::tc::Qdisc;

use crate::error::{CniError, Code};
use crate::request::Request;
use crate::result::{AddResult, Interface};
use crate::undo::Undo;

/// Limits the pod whose host end is called `host_interface`; a block that was made is added to `result`. The way back
/// is on `undo`.
pub fn add(
    request: &Request,
    limits: &Limits,
    host_interface: &str,
    result: &mut AddResult,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let mut host = Rtnl::open()?;
    let port = host.link_by_name(host_interface)?.ok_or_else(|| {
        let msg = format!("{host_interface} was removed by somebody else while its bandwidth was limited");
        CniError::new(Code::KERNEL, msg)
    })?;
    apply(&mut host, request, limits, &port, result, undo)
}

/// The same for a plugin that did not make the host end: it is found by the pod's interface, and must be in `result`.
pub fn add_to_chain(
    request: &Request,
    limits: &Limits,
    result: &mut AddResult,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let mut host = Rtnl::open()?;
    let port = port::host_end(&mut host, request, result)?;
    refuse_second(&mut host, limits, &port)?;
    apply(&mut host, request, limits, &port, result, undo)
}

/// Somebody's limit stays, and what he hung on arriving packets, too; found before anything is made.
fn refuse_second(host: &mut Rtnl, limits: &Limits, port: &Link) -> Result<(), CniError> {
    let there = host.qdiscs(port.index)?;
    let limited = limits.ingress.is_some() && there.iter().any(|one| one.token_bucket.is_some());
    let redirected = limits.egress.is_some() && there.iter().any(Qdisc::is_of_arriving);
    let name = &port.name;
    let msg = match (limited, redirected) {
        (true, _) => format!("{name} has a bandwidth limit already"),
        (_, true) => format!("packets that arrive by {name} are looked at by somebody already"),
        _ => return Ok(()),
    };
    Err(CniError::new(Code::EXISTS, msg).with_details(format!("see `tc qdisc show dev {name}`")))
}

/// Takes from a host end what its limits are made of.
fn take_back(port: u32, limits: &Limits) -> Result<(), CniError> {
    let mut host = Rtnl::open()?;
    let ours = limits.ingress.map(|ingress| ingress.bucket());
    // A discipline of another kind was there before, and the limit was refused for it.
    if ours.is_some() && host.qdiscs(port)?.iter().any(|one| one.token_bucket == ours) {
        host.remove_limit(port)?;
    }
    if limits.egress.is_some() {
        host.remove_redirect(port)?;
    }
    Ok(())
}

fn apply(
    host: &mut Rtnl,
    request: &Request,
    limits: &Limits,
    port: &Link,
    result: &mut AddResult,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let (index, limits_of) = (port.index, *limits);
    undo.push(format!("the limits of {}", port.name), move || take_back(index, &limits_of));
    let mut batch = Batch::new();
    if let Some(egress) = &limits.egress {
        let block = block::make(host, request, port, undo)?;
        // The block is still down: a discipline of a link that is up is changed only after waiting for its users.
        batch.limit(block.index, &egress.bucket()).change_link(block.index, &block::up())?;
        batch.redirect_arriving(port.index, block.index);
        let mac = block.mac.map(|mac| mac.to_string()).unwrap_or_default();
        result.interfaces.push(Interface { name: block.name, mac, ..Interface::default() });
    }
    if let Some(ingress) = &limits.ingress {
        batch.limit(port.index, &ingress.bucket());
    }
    host.run(&batch).map(drop).map_err(|error| refused(error, port))
}

/// The kernel's refusal, with what is to be done.
fn refused(error: KernelError, port: &Link) -> CniError {
    if error.is_exists() {
        let msg = format!("{} was limited by somebody else meanwhile", port.name);
        return CniError::new(Code::EXISTS, msg).with_details(error.to_string());
    }
    if error.is_unsupported() || error.is_not_found() {
        return CniError::new(Code::UNSUPPORTED, format!("bandwidth limits cannot be set: {error}"))
            .with_details(
                "the kernel needs ifb, sch_tbf, sch_ingress, cls_u32 and act_mirred; load these modules",
            );
    }
    error.into()
}
