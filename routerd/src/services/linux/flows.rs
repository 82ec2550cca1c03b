//! Forgetting UDP flows to backends that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use kernel::conntrack::{Conntrack, Filter};
use prefix::Family;

use super::Result;
use crate::services::plan::StaleFlows;

/// With more virtual services than this, all UDP flows are read once; with fewer, the kernel filters for each.
const FEW: usize = 8;
const UDP: u8 = 17;

/// Forgets the flows of `stale`; how many there were.
pub(super) fn forget(conntrack: &mut Conntrack, stale: &[StaleFlows]) -> Result<u64> {
    let mut forgotten = 0;
    if stale.len() <= FEW {
        for flows in stale {
            let socket = flows.tuple.socket();
            let filter = Filter::protocol(Family::of(socket.ip()), UDP).to(socket);
            let found =
                conntrack.delete_matching(&filter, |flow| !flows.keep.contains(&flow.reply.source))?;
            forgotten += u64::try_from(found).unwrap_or(u64::MAX);
        }
        return Ok(forgotten);
    }
    let keep: BTreeMap<SocketAddr, &BTreeSet<SocketAddr>> =
        stale.iter().map(|flows| (flows.tuple.socket(), &flows.keep)).collect();
    for family in Family::BOTH {
        let found = conntrack.delete_matching(&Filter::protocol(family, UDP), |flow| {
            keep.get(&flow.original.destination).is_some_and(|keep| !keep.contains(&flow.reply.source))
        })?;
        forgotten += u64::try_from(found).unwrap_or(u64::MAX);
    }
    Ok(forgotten)
}
