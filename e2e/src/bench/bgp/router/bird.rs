//! BIRD 2.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Running, Setup, first_number};
use crate::bench::bgp::message::ASN;
use crate::bench::bgp::wire::{RECEIVER, ROUTER, peer};
use crate::process::command;

pub(super) const PROGRAM: &str = "/usr/sbin/bird";
pub(super) const ASK: &str = "/usr/sbin/birdc";

/// `protocol direct` lets it find the way to next hops.
fn config(setup: Setup) -> Result<String> {
    let mut text =
        format!("log stderr all;\nrouter id {ROUTER};\nprotocol device {{}}\nprotocol direct {{ ipv4; }}\n");
    if setup.kernel {
        text += "protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n";
    }
    let session = format!("local {ROUTER} as {ASN}; passive yes;");
    for number in 0..setup.peers {
        writeln!(
            text,
            "protocol bgp b{number} {{ {session} neighbor {} as {ASN}; ipv4 {{ import all; export none; }}; }}",
            peer(number)
        )?;
    }
    if setup.receiver {
        writeln!(
            text,
            "protocol bgp receiver {{ {session} neighbor {RECEIVER} as {ASN}; rr client; ipv4 {{ import none; export where source = RTS_BGP; }}; }}"
        )?;
    }
    Ok(text)
}

pub(super) fn prepare(setup: Setup, folder: &Path) -> Result<Command> {
    std::fs::write(folder.join("bird.conf"), config(setup)?)?;
    let mut bird = command(PROGRAM);
    bird.args(["-f", "-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"]);
    Ok(bird)
}

pub(super) fn prefixes(running: &Running) -> Result<u32> {
    let words = ["-s", "bird.ctl", "show", "route", "where", "source", "=", "RTS_BGP", "count"];
    let told = running.ask(ASK, &words)?;
    // Before that it says its version.
    let (_, count) = told.split_once("ready.").context("BIRD does not answer")?;
    first_number(count).context("BIRD does not count its routes")
}
