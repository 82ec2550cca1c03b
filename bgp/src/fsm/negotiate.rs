//! Judging the peer's OPEN (RFC 4271 §6.2) and agreeing on a session.

use std::cmp::Ordering;

use prefix::Family;

use super::{Agreed, Settings, Side};
use crate::packet::notification::open as code;
use crate::packet::{Context, Notification, Open};

impl Settings {
    /// The OPEN we send.
    pub(super) fn open(&self) -> Open {
        Open {
            asn: self.asn,
            hold_time: self.hold_time,
            router_id: self.router_id,
            capabilities: self.capabilities.clone(),
        }
    }

    /// What a session with the sender of `open` would be, or the notification that refuses it and the reason in words.
    pub(super) fn agree(&self, open: &Open) -> Result<Agreed, (Notification, String)> {
        if open.asn != self.peer_asn {
            let reason = format!("the peer is of AS {}, configured is AS {}", open.asn, self.peer_asn);
            return Err((Notification::new(code::CODE, code::BAD_PEER_AS), reason));
        }
        // Between two ASes the same identifier may occur (RFC 6286 §2.1).
        if self.internal() && open.router_id == self.router_id {
            let reason =
                format!("the peer has our own router ID {}; give one of the two another", self.router_id);
            return Err((Notification::new(code::CODE, code::BAD_IDENTIFIER), reason));
        }
        let ours = &self.capabilities;
        let theirs = &open.capabilities;
        let families: std::collections::BTreeSet<Family> =
            ours.families.intersection(&theirs.families).copied().collect();
        if families.is_empty() {
            let reason =
                format!("no family in common: we speak {:?}, the peer {:?}", ours.families, theirs.families);
            let data = ours.families.iter().copied().flat_map(multiprotocol).collect();
            return Err((Notification::with_data(code::CODE, code::UNSUPPORTED_CAPABILITY, data), reason));
        }
        Ok(Agreed {
            router_id: open.router_id,
            hold_time: self.hold_time.min(open.hold_time),
            families,
            context: Context {
                four_octet_as: ours.four_octet_as && theirs.four_octet_as,
                extended_next_hop: ours.extended_next_hop && theirs.extended_next_hop,
                internal: self.internal(),
            },
            route_refresh: theirs.route_refresh,
            enhanced_refresh: ours.enhanced_refresh && theirs.enhanced_refresh,
            graceful_restart: theirs.graceful_restart.clone().filter(|_| ours.graceful_restart.is_some()),
            // RFC 9494 §4.2: without the other capability it counts as not there.
            long_lived: match (&theirs.graceful_restart, ours.long_lived.is_empty()) {
                (Some(_), false) => theirs.long_lived.clone(),
                _ => Vec::new(),
            },
        })
    }

    /// Of two connections with the sender of `open`, the one that stays: the one made by the speaker with the higher
    /// identifier (RFC 4271 §6.8), or of the higher AS if these are equal (RFC 6286 §2.3).
    pub(super) fn surviving_side(&self, open: &Open) -> Side {
        let order = self.router_id.cmp(&open.router_id).then(self.asn.cmp(&open.asn));
        if order == Ordering::Less { Side::Incoming } else { Side::Outgoing }
    }
}

/// The multiprotocol capability of `family` on the wire, as the data of an "unsupported capability" (RFC 5492 §5).
fn multiprotocol(family: Family) -> [u8; 6] {
    let afi = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [1, 4, 0, afi, 0, 1]
}
