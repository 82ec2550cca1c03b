//! The role `host-local`, as another plugin delegates to it: addresses and no devices.

use serde_json::Value;

use super::collect::valid_attachments;
use crate::convert::to_json;
use crate::env::Command;
use crate::error::CniError;
use crate::ipam::HostLocal;
use crate::request::{Ipam, Request};
use crate::result::AddResult;
use crate::undo::Undo;

pub(super) fn run(request: &Request) -> Result<Option<Value>, CniError> {
    match request.env.command {
        Command::Add => add(request).map(Some),
        Command::Del => HostLocal.release(request).map(|()| None),
        Command::Check => HostLocal.check(request).map(|()| None),
        Command::Status => HostLocal.status(request).map(|()| None),
        Command::Gc => {
            if let Some(valid) = valid_attachments(&request.conf)? {
                HostLocal.collect(&request.conf, &valid)?;
            }
            Ok(None)
        }
        Command::Version => Ok(None),
    }
}

fn add(request: &Request) -> Result<Value, CniError> {
    let mut undo = Undo::new();
    let addresses = HostLocal.reserve(request, &mut undo)?;
    let result = AddResult {
        ips: addresses.ips,
        routes: addresses.routes,
        dns: addresses.dns,
        ..AddResult::default()
    };
    match to_json(&result, request.conf.version) {
        Ok(json) => {
            undo.keep();
            Ok(json)
        }
        Err(error) => Err(error.with_details(undo.unwind().join("; "))),
    }
}
