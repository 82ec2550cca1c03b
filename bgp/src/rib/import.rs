//! What of a peer's update is taken in.

use std::net::IpAddr;
use std::sync::Arc;

use prefix::Prefix;

use super::{Common, Local, Path, PeerView, community};
use crate::packet::{Attributes, Update, is_valid_next_hop};

/// What an update comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Prefixes the peer no longer has a usable path for.
    pub withdrawn: Vec<Prefix>,
    /// Its paths, judged by its import rules.
    pub paths: Vec<(Prefix, Path)>,
    /// Why routes were refused, each reason once.
    pub refused: Vec<String>,
}

/// Judges an update from `peer`. `own` says of a prefix whether it is ours. A route that BGP itself refuses replaces
/// and thereby withdraws an earlier one (RFC 4271 §3.1); what the import rules refuse is kept with that verdict.
pub fn import(peer: &PeerView<'_>, update: Update, own: impl Fn(&Prefix) -> bool) -> Imported {
    let agreed = |prefix: &Prefix| peer.agreed.families.contains(&prefix.family());
    let bad_attributes = refuse_attributes(peer, &update);
    let mut imported = Imported { withdrawn: update.withdrawn, ..Imported::default() };
    imported.withdrawn.retain(agreed);
    let mut attributes = taken(peer, update.attributes);
    let mut left = update.reach.len();
    for reach in update.reach {
        left -= 1;
        let all = reach.prefixes.len();
        let prefixes = reach.prefixes.into_iter().filter(agreed);
        if let Some(refusal) = bad_attributes.clone().or_else(|| refuse_next_hop(peer, reach.next_hop)) {
            imported.withdrawn.extend(prefixes);
            imported.refused.push(refusal);
            continue;
        }
        let common = Arc::new(Common {
            source: peer.source(),
            router_id: peer.agreed.router_id,
            next_hop: reach.next_hop,
            // There is seldom more than one.
            attributes: if left == 0 { std::mem::take(&mut attributes) } else { attributes.clone() },
            client: peer.config.reflector_client,
            local: Local::default(),
        });
        imported.paths.reserve_exact(all);
        imported.paths.extend(prefixes.map(|prefix| {
            let verdict = peer.config.import.judge(&prefix, own(&prefix));
            (prefix, Path { verdict, ..Path::new(Arc::clone(&common)) })
        }));
    }
    imported.refused.dedup();
    imported
}

/// The attributes as they count here.
fn taken(peer: &PeerView<'_>, mut attributes: Attributes) -> Attributes {
    // RFC 8326 §4.2: a router of another AS that is about to go is used only if nothing else leads there.
    if !peer.internal() && attributes.communities.contains(&community::GRACEFUL_SHUTDOWN) {
        attributes.local_pref = Some(0);
    }
    attributes
}

fn refuse_attributes(peer: &PeerView<'_>, update: &Update) -> Option<String> {
    let attributes = &update.attributes;
    if attributes.as_path.contains(peer.asn) {
        return Some(format!("AS_PATH contains our AS {}", peer.asn));
    }
    if attributes.originator_id == Some(peer.router_id) {
        return Some("ORIGINATOR_ID is ours".to_owned());
    }
    if let Some(cluster) = attributes.cluster_list.iter().find(|one| peer.clusters.contains(one)) {
        return Some(format!("CLUSTER_LIST contains our cluster {cluster}"));
    }
    // RFC 4271 §6.3: a neighbour that hides itself is not believed.
    if !peer.internal() && attributes.as_path.neighbour() != Some(peer.config.asn) {
        return Some(format!("AS_PATH does not begin with the peer's AS {}", peer.config.asn));
    }
    None
}

fn refuse_next_hop(peer: &PeerView<'_>, next_hop: IpAddr) -> Option<String> {
    if !is_valid_next_hop(next_hop) {
        return Some(format!("next hop {next_hop} is no address of a router"));
    }
    if matches!(next_hop, IpAddr::V6(address) if address.is_unicast_link_local()) {
        return Some(format!("next hop {next_hop} is link-local and names no interface"));
    }
    if peer.local_address == Some(next_hop) {
        return Some(format!("next hop {next_hop} is our own address"));
    }
    None
}
