//! CHECK: the limits are in the kernel as the configuration asks for them.

use kernel::rtnl::{Link, Rtnl};

use super::block;
use super::limits::{Limit, Limits};
use super::port::host_end;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::result::AddResult;

/// The pod of `prev` has the limits.
pub fn check(request: &Request, limits: &Limits, prev: &AddResult) -> Result<(), CniError> {
    let mut host = Rtnl::open()?;
    let port = host_end(&mut host, request, prev)?;
    if let Some(ingress) = &limits.ingress {
        check_limit(&mut host, &port, ingress)?;
    }
    match &limits.egress {
        Some(egress) => check_egress(&mut host, request, &port, egress),
        None => Ok(()),
    }
}

fn check_egress(host: &mut Rtnl, request: &Request, port: &Link, limit: &Limit) -> Result<(), CniError> {
    let block = block::find(host, request)?.ok_or_else(|| {
        let name = block::block_name(&request.conf.name, &request.env.container_id);
        failed(format!("the block {name} for packets of the pod is gone"))
    })?;
    if !block.up {
        return Err(failed(format!("the block {} is down", block.name)));
    }
    check_limit(host, &block, limit)?;
    if host.redirects(port.index)?.iter().any(|redirect| redirect.target == block.index) {
        return Ok(());
    }
    Err(failed(format!("packets of the pod that arrive by {} do not go to {}", port.name, block.name)))
}

fn check_limit(host: &mut Rtnl, link: &Link, limit: &Limit) -> Result<(), CniError> {
    let name = &link.name;
    let found = host.qdiscs(link.index)?.into_iter().find_map(|qdisc| qdisc.token_bucket);
    let found =
        found.ok_or_else(|| failed(format!("Failed to find qdisc: {name} has no bandwidth limit")))?;
    let wanted = limit.bucket();
    // The reference plugin's numbers may differ where they overflow.
    let theirs = limit.wrapped_bucket();
    for (what, found, wanted, theirs) in [
        ("Rate", found.rate, wanted.rate, theirs.rate),
        ("Limit", found.limit.into(), wanted.limit.into(), theirs.limit.into()),
        ("Buffer", found.buffer.into(), wanted.buffer.into(), theirs.buffer.into()),
    ] {
        if found != wanted && found != theirs {
            return Err(failed(format!("{what} doesn't match: {name} has {found} instead of {wanted}")));
        }
    }
    Ok(())
}

fn failed(msg: String) -> CniError {
    CniError::new(Code::CHECK_FAILED, msg)
}
