//! What is chosen and known, as values for others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use prefix::Prefix;

use super::peer::{Peer, view};
use super::status::{Advertised, PeerStatus, RibEntry, RibPath};
use crate::config::SpeakerConfig;
use crate::packet::Segment;
use crate::rib::{Exports, Path, Rib, Route, export, select};

pub(super) fn entry(rib: &Rib, prefix: Prefix) -> RibEntry {
    let paths = rib.paths(&prefix);
    let used = select(paths);
    let rest = (0..paths.len()).filter(|at| !used.contains(at));
    let shown = |at: usize, used: bool| show(&paths[at], used);
    RibEntry {
        prefix,
        paths: used.iter().map(|at| shown(*at, true)).chain(rest.map(|at| shown(at, false))).collect(),
        next_hops: rib.selected(&prefix).map(|selected| selected.next_hops.to_vec()).unwrap_or_default(),
    }
}

fn show(path: &Path, used: bool) -> RibPath {
    let attributes = &path.common.attributes;
    RibPath {
        source: path.common.source,
        next_hop: path.common.next_hop,
        as_path: attributes.as_path.0.iter().flat_map(Segment::asns).copied().collect(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        attributes: attributes.clone(),
        age: path.age,
        refused: path.verdict.refusal(),
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
        families: agreed.map(|agreed| agreed.families.clone()).unwrap_or_default(),
        complete: peer.session.as_ref().map(|session| session.complete.clone()).unwrap_or_default(),
        received: rib.count_of(address),
        accepted: rib.accepted_of(address),
        sent: peer.session.as_ref().map(|session| session.out.count()).unwrap_or_default(),
        established: peer.record.established,
        lost: peer.record.lost,
        updates: peer.record.updates,
        last_update: peer.record.last_update.map(|time| now.saturating_sub(time)),
        stale: !peer.kept.is_empty(),
        last_error: peer.record.last_error.clone(),
    }
}

/// What a peer has been told.
pub(super) fn advertised<S>(
    peer: &Peer<S>,
    rib: &Rib,
    speaker: &SpeakerConfig,
    clusters: &BTreeSet<Ipv4Addr>,
) -> Vec<Advertised> {
    let Some(session) = &peer.session else { return Vec::new() };
    let view = view(&peer.config, session, speaker, clusters);
    let mut exports = Exports::new(view.clone());
    let told = session.out.known(rib).filter_map(|(prefix, path)| {
        exports.template(prefix, path)?;
        let Route { next_hop, attributes } = export(&view, prefix.family(), path)?;
        Some(Advertised { prefix: *prefix, next_hop, attributes })
    });
    told.collect()
}
