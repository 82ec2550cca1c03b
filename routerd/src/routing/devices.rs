//! Tunnels' devices, the ports that unwrap what arrives, and the rules that lead pods to them.

use std::net::IpAddr;

use kernel::KernelError;
use kernel::fou::{Fou, Port};
use kernel::rtnl::{Rtnl, Rule};
use prefix::Prefix;

use super::names::names_of;
use super::observe::{Device, Found};
use super::plan::{Plan, Tunnelled};
use super::{POD_TABLE, PROTOCOL};
use crate::runner::{Problem, Report};

/// Before the rule for the main table (32766) and those of kube-router's other tables (32764 and 32765).
const PRIORITY: u32 = 32_763;

fn problem(item: String, error: &KernelError, advice: &str) -> Problem {
    Problem { item, message: format!("{error}{advice}"), retry: true }
}

fn why_no_tunnel(error: &KernelError) -> &'static str {
    if error.is_unsupported() {
        "; the kernel has no such tunnels: load the modules ipip (IPv4), ip6_tunnel (IPv6), fou and fou6 (--overlay-encap=fou)"
    } else if error.is_exists() {
        "; somebody else has a tunnel between these addresses or a device of that name: remove it"
    } else {
        ""
    }
}

/// Opens ports and makes tunnels, and adds rules: what new routes lead to.
pub(super) fn make(
    rtnl: &mut Rtnl,
    fou: &mut Option<Fou>,
    found: &mut Found,
    plan: &Plan,
    report: &mut Report,
) {
    for port in &plan.open {
        match open(fou, *port) {
            Ok(opened) => {
                report.writes += u64::from(opened);
                found.state.ports.insert(*port);
            }
            Err(error) => report.problems.push(problem(
                format!("UDP {port}"),
                &error,
                "; tunnel packets from other nodes are not taken: load the modules fou and fou6, or free the port, or use --overlay-encap-port",
            )),
        }
    }
    for (remote, wanted) in &plan.make {
        match tunnel(rtnl, found, *remote, wanted) {
            Ok(device) => {
                report.writes += 1;
                found.devices.insert(*remote, device);
                found.state.tunnels.insert(*remote, *wanted);
            }
            Err(error) => {
                found.state.tunnels.remove(remote);
                report.problems.push(problem(format!("tunnel to {remote}"), &error, why_no_tunnel(&error)));
            }
        }
    }
}

/// A port that is open already, with what we want of it, is as good as ours.
fn open(fou: &mut Option<Fou>, port: Port) -> kernel::Result<bool> {
    let fou = match fou {
        Some(fou) => fou,
        None => fou.insert(Fou::open()?),
    };
    match fou.add(&port) {
        Err(error) if Port::is_taken(&error) && fou.ports()?.contains(&port) => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

fn tunnel(rtnl: &mut Rtnl, found: &Found, remote: IpAddr, wanted: &Tunnelled) -> kernel::Result<Device> {
    if let Some(device) = found.devices.get(&remote) {
        rtnl.change_tunnel(device.index, &wanted.tunnel, wanted.mtu)?;
        return Ok(device.clone());
    }
    let [first, second] = names_of(remote);
    // By name and not by what others of ours have: the name may be anybody's.
    let name = if rtnl.link_by_name(&first)?.is_some() { second } else { first };
    let index = rtnl.create_tunnel(&name, &wanted.tunnel, wanted.mtu)?;
    Ok(Device { index, name })
}

/// Adds the rules that lead pods to the table of pods, and takes away those that are no more wanted.
pub(super) fn point(rtnl: &mut Rtnl, found: &mut Found, plan: &Plan, report: &mut Report) {
    for range in &plan.point {
        let rule = rule(*range);
        match rtnl.add_rule(&rule) {
            Ok(()) => {
                report.writes += 1;
                found.rules.insert(*range, vec![rule]);
                found.state.rules.insert(*range);
            }
            Err(error) => report.problems.push(problem(
                format!("rule for {range}"),
                &error,
                "; packets of pods to the addresses of other nodes go outside of the tunnels until it is there",
            )),
        }
    }
    for range in &plan.unpoint {
        for rule in found.rules.remove(range).unwrap_or_default() {
            match rtnl.delete_rule(&rule) {
                Err(error) if !error.is_not_found() => {
                    report.problems.push(problem(format!("rule for {range}"), &error, ""));
                }
                outcome => report.writes += u64::from(outcome.is_ok()),
            }
        }
        found.state.rules.remove(range);
    }
}

fn rule(range: Prefix) -> Rule {
    Rule { from: Some(range), protocol: PROTOCOL, ..Rule::lookup(range.family(), PRIORITY, POD_TABLE) }
}

/// Takes away what no route leads to any more: tunnels, and then the ports they came by.
pub(super) fn unmake(
    rtnl: &mut Rtnl,
    fou: &mut Option<Fou>,
    found: &mut Found,
    plan: &Plan,
    report: &mut Report,
) {
    for remote in &plan.unmake {
        let Some(device) = found.devices.remove(remote) else { continue };
        match rtnl.delete_link(device.index) {
            Err(error) if !error.is_not_found() => {
                report.problems.push(problem(format!("tunnel to {remote}"), &error, ""));
            }
            outcome => report.writes += u64::from(outcome.is_ok()),
        }
        found.state.tunnels.remove(remote);
    }
    for port in &plan.close {
        match fou.as_mut().map(|fou| fou.delete(port)) {
            Some(Err(error)) if !error.is_not_found() => {
                report.problems.push(problem(format!("UDP {port}"), &error, ""));
            }
            _ => report.writes += 1,
        }
        found.state.ports.remove(port);
    }
}
