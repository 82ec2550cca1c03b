//! The role `tuning`: settings of a pod that plugins before it in the chain made.

use serde_json::Value;

use super::collect;
use crate::convert::to_json;
use crate::env::Command;
use crate::error::CniError;
use crate::request::Request;
use crate::result::AddResult;
use crate::tuning::{self, TuningConf};
use crate::undo::Undo;

pub(super) fn run(request: &Request) -> Result<Option<Value>, CniError> {
    match request.env.command {
        Command::Add => add(request).map(Some),
        Command::Del => {
            tuning::del(request);
            Ok(None)
        }
        Command::Check => check(request).map(|()| None),
        Command::Status => parse(request).map(|_| None),
        Command::Gc => collect(request).map(|()| None),
        Command::Version => Ok(None),
    }
}

fn parse(request: &Request) -> Result<TuningConf, CniError> {
    TuningConf::parse(&request.conf, &request.args, &request.env.ifname)
}

fn prev_result(request: &Request) -> Result<AddResult, CniError> {
    request.conf.prev_result()?.ok_or_else(|| {
        CniError::config("Required prevResult missing")
            .with_details("list tuning after the plugin that makes the pod's interface")
    })
}

fn add(request: &Request) -> Result<Value, CniError> {
    let conf = parse(request)?;
    let mut result = prev_result(request)?;
    let mut undo = Undo::new();
    let tuned = tuning::add(request, &conf, &mut result, &mut undo)
        .and_then(|()| to_json(&result, request.conf.version));
    match tuned {
        Ok(printed) => {
            undo.keep();
            Ok(printed)
        }
        Err(error) => Err(error.with_details(undo.unwind().join("; "))),
    }
}

fn check(request: &Request) -> Result<(), CniError> {
    let conf = parse(request)?;
    prev_result(request)?;
    tuning::check(request, &conf)
}

fn collect(request: &Request) -> Result<(), CniError> {
    match collect::valid_attachments(&request.conf)? {
        Some(valid) => tuning::collect(&request.conf, &valid).map(drop),
        None => Ok(()),
    }
}
