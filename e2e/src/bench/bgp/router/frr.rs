//! FRR 8: bgpd alone, which then takes every next hop as reachable.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Running, Setup};
use crate::bench::bgp::message::ASN;
use crate::bench::bgp::wire::{RECEIVER, ROUTER, peer};
use crate::process::command;

pub(super) const PROGRAM: &str = "/usr/lib/frr/bgpd";
pub(super) const ASK: &str = "/usr/bin/vtysh";

fn config(setup: Setup) -> Result<String> {
    // Else it waits for a second before it tells the receiver anything.
    let mut text = format!(
        "router bgp {ASN}\n bgp router-id {ROUTER}\n no bgp default ipv4-unicast\n coalesce-time 0\n"
    );
    let mut family = String::new();
    let receiver = setup.receiver.then_some(RECEIVER);
    for neighbour in (0..setup.peers).map(peer).chain(receiver) {
        writeln!(text, " neighbor {neighbour} remote-as {ASN}\n neighbor {neighbour} passive")?;
        writeln!(family, "  neighbor {neighbour} activate")?;
    }
    if setup.receiver {
        writeln!(family, "  neighbor {RECEIVER} route-reflector-client")?;
    }
    Ok(format!("{text} address-family ipv4 unicast\n{family} exit-address-family\n"))
}

pub(super) fn prepare(setup: Setup, folder: &Path) -> Result<Command> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    std::fs::write(folder.join("bgpd.conf"), config(setup)?)?;
    let mut bgpd = command(PROGRAM);
    bgpd.args(["-S", "-Z", "-P", "0", "--log", "stdout", "-f", &path("bgpd.conf"), "-i", &path("bgpd.pid")]);
    bgpd.args(["--vty_socket", &path("")]);
    Ok(bgpd)
}

/// Those that its peers told and it took in. It chooses among them later, when it has nothing else to do.
pub(super) fn prefixes(running: &Running) -> Result<u32> {
    let folder = running.folder.to_string_lossy().into_owned();
    let told = running.ask(ASK, &["--vty_socket", &folder, "-c", "show bgp ipv4 unicast summary json"])?;
    let told: Value = serde_json::from_str(&told).context("the answer of bgpd")?;
    let peers = told["peers"].as_object().context("bgpd tells of no peers")?;
    let counts = peers.values().filter_map(|peer| peer["pfxRcd"].as_u64());
    Ok(u32::try_from(counts.sum::<u64>())?)
}
