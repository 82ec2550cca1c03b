//! Whether this node has forwarded since an earlier run of the daemon, as routers are told when it starts.

use bgp::Start;
use kernel::nft::Nft;
use kernel::rtnl::Rtnl;

use crate::routing;
use crate::ruleset::table;
use crate::services::DUMMY_DEVICE;

/// What the first speaker of this process is to its peers. To be asked before any plane writes. A node on its own has learnt no
/// routes, so what Services and pods have in the kernel counts as well; a reboot of the machine leaves nothing of all that.
pub(super) fn start() -> Start {
    match is_left() {
        Ok(true) => Start::Restart,
        Ok(false) => Start::Empty,
        Err(error) => {
            tracing::warn!(%error, "it cannot be seen if an earlier run left something; routers are told that nothing is left");
            Start::Empty
        }
    }
}

fn is_left() -> kernel::Result<bool> {
    let mut rtnl = Rtnl::open()?;
    if routing::are_routes_left(&mut rtnl)? || rtnl.link_by_name(DUMMY_DEVICE)?.is_some() {
        return Ok(true);
    }
    let tables = Nft::open()?.list_tables()?;
    Ok(tables.iter().any(|listed| listed.table.name == table()))
}
