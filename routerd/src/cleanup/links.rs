//! Devices, with the addresses and routes on them.

use kernel::rtnl::{Link, LinkKind, Rtnl};

use super::report::Report;
use crate::services::DUMMY_DEVICE;

/// The pods' bridge.
const BRIDGE: &str = "kube-bridge";
/// What names of tunnels begin with; eleven hexadecimal digits follow.
const TUNNEL: &str = "tun-";
const TUNNEL_DIGITS: usize = 11;

/// Removes the device of virtual addresses, tunnels between nodes, and the bridge if no pod is on it.
pub(super) fn remove(rtnl: &mut Rtnl, report: &mut Report) {
    let links = report.value(rtnl.links()).unwrap_or_default();
    for link in &links {
        let ports = links.iter().filter(|other| other.master == Some(link.index)).count();
        match verdict(link, ports) {
            Verdict::Foreign => {}
            Verdict::Ours => {
                report.gone(format!("device {}", link.name), rtnl.delete_link(link.index));
            }
            Verdict::Stays(why) => report.kept.push(format!("left the device {}: {why}", link.name)),
        }
    }
}

enum Verdict {
    Foreign,
    Ours,
    Stays(String),
}

fn verdict(link: &Link, ports: usize) -> Verdict {
    let other_kind =
        || Verdict::Stays(format!("it is of another kind ({}) than routerd makes it", link.kind));
    let by_kind = |ours: bool| if ours { Verdict::Ours } else { other_kind() };
    match link.name.as_str() {
        DUMMY_DEVICE => by_kind(link.kind == LinkKind::Dummy),
        BRIDGE if link.kind == LinkKind::Bridge && ports > 0 => {
            Verdict::Stays(format!("{ports} pods are on it; remove them and run this again"))
        }
        BRIDGE => by_kind(link.kind == LinkKind::Bridge),
        name if is_tunnel(name) && matches!(link.kind, LinkKind::IpIp | LinkKind::Ip6Tunnel) => Verdict::Ours,
        _ => Verdict::Foreign,
    }
}

/// kube-router names a tunnel by the SHA-256 of the other node's address.
fn is_tunnel(name: &str) -> bool {
    name.strip_prefix(TUNNEL).is_some_and(|rest| {
        rest.len() == TUNNEL_DIGITS
            && rest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}
