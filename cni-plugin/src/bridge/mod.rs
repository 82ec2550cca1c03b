//! The role `bridge`: a pod is wired to a bridge of the node by a virtual Ethernet pair (reference plugin, v1.9.1).
//!
//! ```text
//!   node                                   pod
//!   bridge ── host end (port) ═════════ CNI_IFNAME
//!   gateway address                     addresses, routes
//! ```
//!
//! An ADD is a handful of netlink messages: one makes the pair with its far end born in the pod, under its final name
//! and address, so nothing is moved or renamed. Nothing waits for duplicate address detection or for timers.

mod add;
mod check;
mod collect;
mod del;
mod gateway;
mod names;
mod pair;
mod plan;
mod pod;
mod segment;
mod shared;
mod vlan;

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::rtnl::{LinkChange, LinkKind, Rtnl};
use kernel::{KernelError, NetNs};

use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::ipam::Owner;
use crate::request::{Addresses, Request, Wired, Wiring};
use crate::result::AddResult;
use crate::tag::Tag;
use crate::undo::Undo;

pub use collect::{collect, tags};
pub use names::{ATTEMPTS, host_interface};
pub use pod::Announcement;

/// Wires pods to a bridge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bridge;

impl Wiring for Bridge {
    fn add(
        &self,
        request: &Request,
        bridge: &BridgeConf,
        addresses: &Addresses,
        undo: &mut Undo,
    ) -> Result<Wired, CniError> {
        add::add(request, bridge, addresses, undo)
    }

    fn open(&self, bridge: &BridgeConf, result: &AddResult) -> Result<(), CniError> {
        gateway::forward_for(bridge, result)
    }

    fn del(
        &self,
        request: &Request,
        _bridge: Option<&BridgeConf>,
        _known: &[IpAddr],
    ) -> Result<(), CniError> {
        del::del(request)
    }

    fn collect(&self, network: &str, valid: &BTreeSet<Owner>) -> Result<Vec<Tag>, CniError> {
        collect::collect(network, valid)
    }

    fn check(&self, request: &Request, bridge: &BridgeConf, prev: &AddResult) -> Result<(), CniError> {
        check::check(request, bridge, prev)
    }

    fn status(&self, _request: &Request, bridge: &BridgeConf) -> Result<(), CniError> {
        let link = Rtnl::open().and_then(|mut host| host.link_by_name(&bridge.bridge));
        match link.map_err(|error| not_ready(error.into()))? {
            Some(link) if link.kind != LinkKind::Bridge => {
                Err(not_ready(not_a_bridge(&bridge.bridge, &link.kind)))
            }
            Some(link) => vlan::check_bridge(&link, bridge).map_err(not_ready),
            None => Ok(()),
        }
    }
}

fn not_ready(mut error: CniError) -> CniError {
    error.code = Code::NOT_READY;
    error
}

fn not_a_bridge(name: &str, kind: &LinkKind) -> CniError {
    CniError::new(Code::EXISTS, format!("{name:?} already exists but is not a bridge (it is a {kind})"))
        .with_details("choose another name in the key `bridge`, or remove that device")
}

/// Does `run` with `change` and no link-local address; where the link has no IPv6, which the kernel then says before it
/// changes anything, with `change` alone.
pub(crate) fn without_link_local<T>(
    change: &LinkChange<'_>,
    mut run: impl FnMut(&LinkChange<'_>) -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    match run(&LinkChange { link_local: Some(false), ..change.clone() }) {
        Err(error) if error.is_unsupported() => run(change),
        done => done,
    }
}

/// Opens the pod's namespace.
pub(crate) fn open_pod(request: &Request) -> Result<NetNs, CniError> {
    NetNs::open(request.env.require_netns()?).map_err(|error| {
        CniError::new(Code::NETNS, error.to_string())
            .with_details("CNI_NETNS must be the path of a network namespace")
    })
}
