//! GoBGP 3.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Running, Setup, first_number};
use crate::bench::bgp::message::ASN;
use crate::bench::bgp::wire::{RECEIVER, ROUTER, peer};
use crate::process::command;

pub(super) const PROGRAM: &str = "/usr/bin/gobgpd";
pub(super) const ASK: &str = "/usr/bin/gobgp";

fn config(setup: Setup) -> Result<String> {
    let mut text = format!("[global.config]\nas = {ASN}\nrouter-id = \"{ROUTER}\"\n");
    let receiver = setup.receiver.then_some(RECEIVER);
    for neighbour in (0..setup.peers).map(peer).chain(receiver) {
        writeln!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{neighbour}\"\npeer-as = {ASN}\n\
             [neighbors.transport.config]\npassive-mode = true"
        )?;
        if neighbour == RECEIVER {
            writeln!(
                text,
                "[neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = \"{ROUTER}\""
            )?;
        }
    }
    Ok(text)
}

pub(super) fn prepare(setup: Setup, folder: &Path) -> Result<Command> {
    std::fs::write(folder.join("gobgp.toml"), config(setup)?)?;
    let mut gobgpd = command(PROGRAM);
    gobgpd.args(["-f", "gobgp.toml", "--api-hosts", "127.0.0.1:50051", "--pprof-disable", "-l", "error"]);
    Ok(gobgpd)
}

pub(super) fn prefixes(running: &Running) -> Result<u32> {
    let told = running.ask(ASK, &["global", "rib", "summary"])?;
    let (_, count) = told.split_once("Destination:").context("gobgpd does not count its prefixes")?;
    first_number(count).context("gobgpd does not count its prefixes")
}
