//! Tunnels between nodes, and the ports that their packets come by.

use std::collections::BTreeSet;

use kernel::fou::{Fou, Inside};
use kernel::rtnl::Rtnl;

use super::report::Report;
use crate::routing::is_name_of;

/// Removes the tunnels that are named for where they lead to, as kube-router and routerd name them, and then the ports for
/// Generic UDP Encapsulation that they send to: all nodes have the same.
pub(super) fn remove(rtnl: &mut Rtnl, report: &mut Report) {
    let mut ports = BTreeSet::new();
    for found in report.value(rtnl.tunnels()).unwrap_or_default() {
        if is_name_of(&found.link.name, found.tunnel.remote) {
            ports.extend(found.tunnel.encapsulation.port());
            report.gone(format!("device {}", found.link.name), rtnl.delete_link(found.link.index));
        }
    }
    if ports.is_empty() {
        return;
    }
    let Some(mut fou) = report.opened("open fou", Fou::open()) else { return };
    for port in report.value(fou.ports()).unwrap_or_default() {
        if port.inside == Inside::Gue && ports.contains(&port.number) {
            report.gone(format!("UDP {port}"), fou.delete(&port));
        }
    }
}
