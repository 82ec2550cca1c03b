//! What of a peer's update is taken in.

use std::net::IpAddr;
use std::sync::Arc;

use prefix::Prefix;

use super::{Path, PeerView};
use crate::packet::{Update, is_valid_next_hop};
use crate::policy::Policy;

/// What an update comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Prefixes the peer no longer has a usable path for.
    pub withdrawn: Vec<Prefix>,
    /// Its paths.
    pub paths: Vec<(Prefix, Path)>,
    /// Why routes were refused, each reason once.
    pub refused: Vec<String>,
}

/// Judges an update from `peer`. A route that is refused replaces and thereby withdraws an earlier one (RFC 4271 §3.1).
pub fn import(peer: &PeerView<'_>, update: &Update, policy: &dyn Policy) -> Imported {
    let agreed = |prefix: &Prefix| peer.agreed.families.contains(&prefix.family());
    let mut imported = Imported {
        withdrawn: update.withdrawn.iter().filter(|prefix| agreed(prefix)).copied().collect(),
        ..Imported::default()
    };
    let bad_attributes = refuse_attributes(peer, update);
    let attributes = Arc::new(update.attributes.clone());
    for reach in &update.reach {
        let refusal = bad_attributes.clone().or_else(|| refuse_next_hop(peer, reach.next_hop));
        for prefix in reach.prefixes.iter().filter(|prefix| agreed(prefix)) {
            let mut own = Arc::clone(&attributes);
            if refusal.is_some() || !taken(peer, prefix, &mut own, policy) {
                imported.withdrawn.push(*prefix);
                continue;
            }
            let path = Path {
                source: peer.source(),
                router_id: peer.agreed.router_id,
                next_hop: reach.next_hop,
                attributes: own,
                stale: false,
            };
            imported.paths.push((*prefix, path));
        }
        imported.refused.extend(refusal);
    }
    imported.refused.dedup();
    imported
}

/// Asks the policy; the attributes are copied only if it changes them.
fn taken(
    peer: &PeerView<'_>,
    prefix: &Prefix,
    attributes: &mut Arc<crate::packet::Attributes>,
    policy: &dyn Policy,
) -> bool {
    let mut changed = (**attributes).clone();
    let taken = policy.import(peer.config, prefix, &mut changed);
    if taken && changed != **attributes {
        *attributes = Arc::new(changed);
    }
    taken
}

fn refuse_attributes(peer: &PeerView<'_>, update: &Update) -> Option<String> {
    let attributes = &update.attributes;
    if attributes.as_path.contains(peer.asn) {
        return Some(format!("AS_PATH contains our AS {}", peer.asn));
    }
    if attributes.originator_id == Some(peer.router_id) {
        return Some("ORIGINATOR_ID is ours".to_owned());
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
