//! Devices, with the addresses and routes on them.

use kernel::rtnl::{Link, LinkKind, Rtnl};

use super::report::Report;
use crate::services::DUMMY_DEVICE;

/// The pods' bridge.
const BRIDGE: &str = "kube-bridge";

/// Removes the device of virtual addresses, if nothing of what its addresses tell of is left (`balanced`), and the bridge
/// if no pod is on it.
pub(super) fn remove(rtnl: &mut Rtnl, balanced: bool, report: &mut Report) {
    let links = report.value(rtnl.links()).unwrap_or_default();
    for link in &links {
        let ports = links.iter().filter(|other| other.master == Some(link.index)).count();
        match verdict(link, ports) {
            Verdict::Foreign => {}
            Verdict::Ours if link.name == DUMMY_DEVICE && !balanced => report.kept.push(format!(
                "left the device {}: its addresses tell which IPVS services are kube-router's; run this again",
                link.name
            )),
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
        _ => Verdict::Foreign,
    }
}
