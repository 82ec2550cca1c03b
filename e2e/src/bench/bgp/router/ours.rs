//! Our speaker: the example program of `bgp/`, which writes the number of prefixes it knows whenever that has changed.

use std::path::Path;
use std::process::Command;

use super::Setup;
use crate::bench::bgp::message::ASN;
use crate::bench::bgp::wire::{RECEIVER, ROUTER, peer};
use crate::process::command;

pub(super) fn prepare(program: &Path, setup: Setup) -> Command {
    let mut speaker = command(program);
    speaker.args([ASN.to_string(), ROUTER.to_string()]);
    speaker.args((0..setup.peers).map(|number| peer(number).to_string()));
    if setup.receiver {
        speaker.arg(format!("client={RECEIVER}"));
    }
    speaker
}

/// The number in the last whole line.
pub(super) fn prefixes(log: &str) -> u32 {
    let last = log.lines().rev().find_map(|line| line.strip_suffix(" prefixes"));
    last.and_then(|number| number.parse().ok()).unwrap_or(0)
}
