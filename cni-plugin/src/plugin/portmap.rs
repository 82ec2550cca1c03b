//! The role `portmap`: port mappings for a pod that plugins before it in the chain made.

use std::net::IpAddr;

use serde_json::Value;

use super::packets::{self, Packets};
use super::{collect, legacy};
use crate::convert::to_json;
use crate::env::Command;
use crate::error::CniError;
use crate::netfilter::Part;
use crate::portmap::PortMapConf;
use crate::request::Request;
use crate::result::AddResult;
use crate::undo::Undo;

pub(super) fn run(request: &Request) -> Result<Option<Value>, CniError> {
    match request.env.command {
        Command::Add => add(request).map(Some),
        Command::Del => del(request).map(|()| None),
        Command::Check => check(request).map(|()| None),
        Command::Gc => collect(request).map(|()| None),
        Command::Status => PortMapConf::parse(&request.conf).map(|_| None),
        Command::Version => Ok(None),
    }
}

fn prev_result(request: &Request) -> Result<AddResult, CniError> {
    request.conf.prev_result()?.ok_or_else(|| {
        CniError::config("must be called as chained plugin").with_details(
            "prevResult is missing; list portmap after the plugin that makes the pod's interface",
        )
    })
}

fn add(request: &Request) -> Result<Value, CniError> {
    let packets = Packets { ports: PortMapConf::parse(&request.conf)?, ..Packets::default() };
    let prev = prev_result(request)?;
    let printed = to_json(&prev, request.conf.version)?;
    let mut undo = Undo::new();
    match packets.add(request, &prev, &mut undo).and_then(|localnet| localnet.open()) {
        Ok(()) => {
            undo.keep();
            Ok(printed)
        }
        Err(error) => Err(error.with_details(undo.unwind().join("; "))),
    }
}

/// Whatever the configuration says now, or if it can be read.
fn del(request: &Request) -> Result<(), CniError> {
    let ports = PortMapConf::parse(&request.conf).unwrap_or_default();
    let prev = request.conf.prev_result().ok().flatten().unwrap_or_default();
    let known: Vec<IpAddr> = prev.ips.iter().map(|ip| ip.address.address).collect();
    let Some(mut nft) = packets::open()? else { return Ok(()) };
    let packets = Packets { ports, ..Packets::default() };
    let ours = packets.del(&mut nft, request, &[Part::Ports], &prev, &known);
    ours.and(legacy::remove(&mut nft, request, legacy::Part::PortMappings, &known))
}

fn check(request: &Request) -> Result<(), CniError> {
    let ports = PortMapConf::parse(&request.conf)?;
    Packets { ports, ..Packets::default() }.check(request, &prev_result(request)?)
}

fn collect(request: &Request) -> Result<(), CniError> {
    match collect::valid_attachments(&request.conf)? {
        Some(valid) => packets::collect(&request.conf.name, &valid).and(legacy::collect(request, &valid)),
        None => Ok(()),
    }
}
