//! The bridge's addresses in ranges that the node had before. The Node object of a machine that is registered anew may
//! have another range, while pods with addresses of the old one, whose gateway the bridge is, still run.

use std::path::Path;

use kernel::rtnl::Rtnl;
use prefix::Prefix;

use crate::conflist::{self, Done};
use crate::janitor;

/// Takes the gateways of former ranges from the bridge and forgets the ranges, those of which no pod has an address any
/// more. Another node may get such a range, and a route to it by the bridge would lead nowhere.
///
/// The plugins that read the configuration before a range became a former one must have come to their lease, so this is
/// for a configuration that an earlier look has written.
pub(super) fn leave(path: &Path, done: &Done) -> Result<Vec<Prefix>, String> {
    if done.former.is_empty() {
        return Ok(Vec::new());
    }
    let leased = janitor::leased(path)?;
    let is_left = |range: &&Prefix| !leased.iter().any(|address| range.covers(&Prefix::from(*address)));
    let left: Vec<Prefix> = done.former.iter().filter(is_left).copied().collect();
    if !left.is_empty() {
        remove(&done.bridge, &left).map_err(|error| error.to_string())?;
        conflist::forget(path, &left).map_err(|error| error.to_string())?;
    }
    Ok(left)
}

fn remove(bridge: &str, ranges: &[Prefix]) -> kernel::Result<()> {
    let mut rtnl = Rtnl::open()?;
    let Some(bridge) = rtnl.link_by_name(bridge)? else { return Ok(()) };
    for found in rtnl.addresses(Some(bridge.index), None)? {
        if found.prefix().is_none_or(|prefix| !ranges.contains(&prefix)) {
            continue;
        }
        match rtnl.delete_address(bridge.index, found.address, found.prefix_length) {
            Err(error) if error.is_not_found() => {}
            removed => removed?,
        }
    }
    Ok(())
}
