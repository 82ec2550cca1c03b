//! What the roles `routerd-cni` and `bridge` are asked for, part by part. An ADD reads all parts before it makes the
//! first thing; a DEL reads each for itself, because it must take away also what it would refuse to make.

use super::packets::Packets;
use super::role::Role;
use crate::bandwidth::Limits;
use crate::config::{BridgeConf, RouterdConf};
use crate::error::CniError;
use crate::portmap::PortMapConf;
use crate::request::Request;

/// All parts.
#[derive(Debug)]
pub(super) struct Parts {
    /// The devices.
    pub(super) bridge: BridgeConf,
    /// What nf_tables does.
    pub(super) packets: Packets,
    /// Bandwidth limits, of `routerd-cni` only.
    pub(super) limits: Option<Limits>,
    /// How the daemon is reached; `None` if nobody is told.
    pub(super) routerd: Option<RouterdConf>,
}

impl Parts {
    /// Reads all parts.
    pub(super) fn parse(role: Role, request: &Request) -> Result<Self, CniError> {
        let bridge = bridge(role, request)?;
        let packets = Packets { ports: ports(role, request)?, ..Packets::default() }.of_bridge(&bridge);
        let limits = if role == Role::RouterdCni { Limits::parse(&request.conf)? } else { None };
        Ok(Self { bridge, packets, limits, routerd: routerd(role, request)? })
    }
}

/// How the pod is wired.
pub(super) fn bridge(role: Role, request: &Request) -> Result<BridgeConf, CniError> {
    let ours = role == Role::RouterdCni;
    let default = if ours { "kube-bridge" } else { "cni0" };
    let conf = BridgeConf::parse(&request.conf, &request.args, default)?;
    // `forceAddress` asks for the one gateway in place of the others.
    Ok(BridgeConf { beside_others: ours && !conf.force_address, ..conf })
}

/// How the daemon is reached.
pub(super) fn routerd(role: Role, request: &Request) -> Result<Option<RouterdConf>, CniError> {
    RouterdConf::parse(&request.conf, role == Role::RouterdCni)
}

/// The port mappings, which in a chain with `bridge` are the business of `portmap`.
fn ports(role: Role, request: &Request) -> Result<PortMapConf, CniError> {
    if role == Role::RouterdCni { PortMapConf::parse(&request.conf) } else { Ok(PortMapConf::default()) }
}

/// As much of what nf_tables does as can be read.
pub(super) fn readable_packets(role: Role, request: &Request) -> Packets {
    let packets = Packets { ports: ports(role, request).unwrap_or_default(), ..Packets::default() };
    match bridge(role, request) {
        Ok(bridge) => packets.of_bridge(&bridge),
        Err(_) => packets,
    }
}
