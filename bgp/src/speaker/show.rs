//! What is chosen and known, as values for others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use prefix::Prefix;

use super::RibEvent;
use super::peer::Peer;
use super::status::{PeerStatus, RibEntry, RibPath};
use crate::packet::Segment;
use crate::rib::{Path, Rib, Source, select};

/// What a consumer is told of a prefix: next hops and peer. Empty for a prefix that is lost or our own.
pub(super) type Told = (Vec<IpAddr>, Option<IpAddr>);

/// What a consumer should know of `prefix`.
pub(super) fn choice(rib: &Rib, prefix: &Prefix) -> Told {
    match rib.selected(prefix) {
        Some(selected) if selected.best.source != Source::Local => {
            (selected.next_hops.clone(), selected.best.source.peer())
        }
        _ => Told::default(),
    }
}

/// The event that tells it, noted in `told`.
pub(super) fn tell(rib: &Rib, told: &mut BTreeMap<Prefix, Told>, prefix: Prefix) -> RibEvent {
    let (next_hops, peer) = choice(rib, &prefix);
    if next_hops.is_empty() {
        told.remove(&prefix);
    } else {
        told.insert(prefix, (next_hops.clone(), peer));
    }
    RibEvent::Best { prefix, next_hops, peer }
}

pub(super) fn entry(rib: &Rib, prefix: Prefix) -> RibEntry {
    let paths = rib.paths(&prefix);
    let used = select(paths);
    let rest = (0..paths.len()).filter(|at| !used.contains(at));
    let shown = |at: usize, used: bool| show(&paths[at], used);
    RibEntry {
        prefix,
        paths: used.iter().map(|at| shown(*at, true)).chain(rest.map(|at| shown(at, false))).collect(),
        next_hops: rib.selected(&prefix).map(|selected| selected.next_hops.clone()).unwrap_or_default(),
    }
}

fn show(path: &Path, used: bool) -> RibPath {
    let attributes = &path.attributes;
    RibPath {
        source: path.source,
        next_hop: path.next_hop,
        as_path: attributes.as_path.0.iter().flat_map(Segment::asns).copied().collect(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: attributes.communities.clone(),
        stale: path.stale,
        used,
    }
}

pub(super) fn peer<S>(address: IpAddr, peer: &Peer<S>, rib: &Rib, now: Duration) -> PeerStatus {
    let agreed = peer.session.as_ref().map(|session| &session.agreed);
    PeerStatus {
        address,
        asn: peer.config.asn,
        state: peer.state,
        since: now.saturating_sub(peer.since),
        router_id: agreed.map(|agreed| agreed.router_id),
        hold_time: agreed.map(|agreed| agreed.hold_time),
        received: rib.count_of(address),
        sent: peer.session.as_ref().map_or(0, |session| session.out.count()),
        established: peer.established,
        updates: peer.updates,
        stale: peer.stale_until.is_some(),
        last_error: peer.last_error.clone(),
    }
}
