//! What is told to a peer.

use std::net::IpAddr;
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::{LOCAL_PREF, Path, PeerView, Route, Source};
use crate::packet::{AsPath, Attributes, Segment};
use crate::policy::Policy;

/// RFC 1997: not to other ASes.
const NO_EXPORT: u32 = 0xffff_ff01;
/// RFC 1997: to nobody.
const NO_ADVERTISE: u32 = 0xffff_ff02;
/// RFC 1997: not out of a member AS of a confederation, which without one is the same as `NO_EXPORT`.
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// The route that `peer` is told for `prefix`, whose best path is `best`; `None` if it is told none.
pub fn export(peer: &PeerView<'_>, prefix: &Prefix, best: &Path, policy: &dyn Policy) -> Option<Route> {
    if !peer.agreed.families.contains(&prefix.family()) || !may_pass(peer, best) {
        return None;
    }
    let mut attributes = (*best.attributes).clone();
    if !policy.export(peer.config, prefix, &mut attributes, best.source == Source::Local) {
        return None;
    }
    if peer.internal() {
        attributes.local_pref = Some(attributes.local_pref.unwrap_or(LOCAL_PREF));
    } else {
        make_external(&mut attributes, peer.asn, best.source);
    }
    Some(Route { next_hop: next_hop(peer, prefix, best), attributes: Arc::new(attributes) })
}

/// The rules of BGP itself.
fn may_pass(peer: &PeerView<'_>, best: &Path) -> bool {
    // Never back to where it came from.
    if best.source.peer() == Some(peer.config.address) {
        return false;
    }
    // RFC 4271 §9.2: inside an AS everybody hears it from the source.
    if matches!(best.source, Source::Internal(_)) && peer.internal() {
        return false;
    }
    let communities = &best.attributes.communities;
    if communities.contains(&NO_ADVERTISE) {
        return false;
    }
    peer.internal() || !communities.iter().any(|one| matches!(*one, NO_EXPORT | NO_EXPORT_SUBCONFED))
}

/// What changes at the border of the AS (RFC 4271 §5.1).
fn make_external(attributes: &mut Attributes, asn: u32, source: Source) {
    attributes.as_path = if attributes.as_path.0.is_empty() {
        AsPath(vec![Segment::Sequence(vec![asn])])
    } else {
        attributes.as_path.prepended(asn)
    };
    attributes.local_pref = None;
    attributes.originator_id = None;
    attributes.cluster_list.clear();
    if source != Source::Local {
        attributes.med = None;
    }
}

/// Our own address of the session where we are on the way ourselves, else the next hop as we know it.
fn next_hop(peer: &PeerView<'_>, prefix: &Prefix, best: &Path) -> IpAddr {
    let ours = peer.local_address.filter(|address| {
        // IPv4 over an IPv6 next hop needs RFC 8950; IPv6 over IPv4 does not exist.
        Family::of(*address) == prefix.family()
            || (address.is_ipv6() && peer.agreed.context.extended_next_hop)
    });
    let on_the_way = peer.config.next_hop_self || (!peer.internal() && best.source != Source::Local);
    ours.filter(|_| on_the_way).unwrap_or(best.next_hop)
}
