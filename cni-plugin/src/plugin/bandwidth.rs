//! The role `bandwidth`: limits a pod that plugins before it in the chain made.

use serde_json::Value;

use super::collect;
use crate::bandwidth::{self, Limits};
use crate::convert::to_json;
use crate::env::Command;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::undo::Undo;
use crate::version::Version;

/// The oldest version with interfaces in its result, by which the pod's host end is known.
pub(super) const OLDEST: Version = Version::V030;

pub(super) fn run(request: &Request) -> Result<Option<Value>, CniError> {
    refuse_old_version(request.conf.version)?;
    match request.env.command {
        Command::Add => add(request).map(Some),
        // By name and note, whatever the configuration says now.
        Command::Del => bandwidth::remove(request).map(|()| None),
        Command::Check => check(request).map(|()| None),
        Command::Gc => collect(request).map(|()| None),
        Command::Status => Limits::parse(&request.conf).map(|_| None),
        Command::Version => Ok(None),
    }
}

fn refuse_old_version(version: Version) -> Result<(), CniError> {
    if version >= OLDEST {
        return Ok(());
    }
    let supported: Vec<&str> =
        Version::ALL.into_iter().filter(|one| *one >= OLDEST).map(Version::as_str).collect();
    Err(CniError::new(Code::VERSION, "incompatible CNI versions").with_details(format!(
        "cniVersion: config is {:?}, plugin bandwidth supports {supported:?}",
        version.as_str()
    )))
}

fn add(request: &Request) -> Result<Value, CniError> {
    let limits = Limits::parse(&request.conf)?;
    let prev = request.conf.prev_result()?;
    let Some(limits) = limits else {
        return to_json(&prev.unwrap_or_default(), request.conf.version);
    };
    let mut result = prev.ok_or_else(|| {
        CniError::config("must be called as chained plugin").with_details(
            "prevResult is missing; list bandwidth after the plugin that makes the pod's interface",
        )
    })?;
    let mut undo = Undo::new();
    let limited = bandwidth::add_to_chain(request, &limits, &mut result, &mut undo)
        .and_then(|()| to_json(&result, request.conf.version));
    match limited {
        Ok(printed) => {
            undo.keep();
            Ok(printed)
        }
        Err(error) => Err(error.with_details(undo.unwind().join("; "))),
    }
}

fn check(request: &Request) -> Result<(), CniError> {
    let limits = Limits::parse(&request.conf)?;
    let prev = request
        .conf
        .prev_result()?
        .ok_or_else(|| CniError::config("Required prevResult missing: must be called as a chained plugin"))?;
    match limits {
        Some(limits) => bandwidth::check(request, &limits, &prev),
        None => Ok(()),
    }
}

fn collect(request: &Request) -> Result<(), CniError> {
    match collect::valid_attachments(&request.conf)? {
        Some(valid) => bandwidth::collect(&request.conf.name, &valid).map(drop),
        None => Ok(()),
    }
}
