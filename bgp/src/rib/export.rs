//! What is told to a peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use prefix::{Family, Prefix};

use super::{Common, LOCAL_PREF, Path, PeerView, Route, Source, community};
use crate::config::Communities;
use crate::packet::{Attributes, Template};
use crate::policy::Prepend;

/// What a route depends on. The address of what paths share is enough while its owner is kept beside it.
type Key = (*const Common, bool, Family);

/// The routes that a peer is told, made once for all prefixes that share their path's attributes.
#[derive(Debug)]
pub struct Exports<'a> {
    peer: PeerView<'a>,
    made: HashMap<Key, (Arc<Common>, Option<Rc<Template>>)>,
    /// Neighbours share their attributes more often than not.
    last: Option<(Key, Option<Rc<Template>>)>,
}

impl<'a> Exports<'a> {
    /// None made yet.
    pub fn new(peer: PeerView<'a>) -> Self {
        Self { peer, made: HashMap::new(), last: None }
    }

    /// The route that the peer is told for a prefix with this path, as it is written; `None` if it is told none.
    pub fn template(&mut self, prefix: &Prefix, best: &Path) -> Option<Rc<Template>> {
        let key = (Arc::as_ptr(&best.common), best.is_last_resort(), prefix.family());
        if let Some((_, last)) = self.last.as_ref().filter(|(last, _)| *last == key) {
            return last.clone();
        }
        let make = || (Arc::clone(&best.common), template(&self.peer, prefix, best).map(Rc::new));
        let made = self.made.entry(key).or_insert_with(make).1.clone();
        self.last = Some((key, made.clone()));
        made
    }
}

fn template(peer: &PeerView<'_>, prefix: &Prefix, best: &Path) -> Option<Template> {
    let family = prefix.family();
    let Route { next_hop, attributes } = export(peer, family, best)?;
    let template = Template::new(&attributes, next_hop, family, peer.agreed.context);
    if template.is_none() {
        tracing::warn!(peer = %peer.config.address, %prefix, %next_hop, "the peer cannot be told this route: its session lacks the next hop's family, or the attributes are too long");
    }
    template
}

/// The route that `peer` is told for a prefix of `family` whose best path is `best`; `None` if it is told none.
pub fn export(peer: &PeerView<'_>, family: Family, best: &Path) -> Option<Route> {
    let common = &*best.common;
    if !peer.agreed.families.contains(&family) || !may_pass(peer, best) {
        return None;
    }
    let mut attributes = common.attributes.clone();
    let rules = &peer.config.export;
    if best.is_last_resort() {
        add(&mut attributes.communities, &[community::LLGR_STALE]);
    }
    if peer.internal() {
        // RFC 8326 §4: inside the AS nobody has to look at the community, and all look at this.
        let leave = rules.communities.standard.contains(&community::GRACEFUL_SHUTDOWN);
        attributes.local_pref = Some(if leave { 0 } else { attributes.local_pref.unwrap_or(LOCAL_PREF) });
        reflect(&mut attributes, peer, common);
    } else {
        make_external(&mut attributes, peer.asn, common, rules.prepend);
    }
    add_communities(&mut attributes, &rules.communities);
    Some(Route { next_hop: next_hop(peer, family, common), attributes })
}

/// The rules of BGP itself, and who is meant to hear it.
fn may_pass(peer: &PeerView<'_>, best: &Path) -> bool {
    let common = &*best.common;
    let internal = peer.internal();
    match common.source {
        Source::Local if !common.local.audience.holds(internal && !peer.config.export.outside) => {
            return false;
        }
        Source::Local => {}
        _ if !peer.config.export.learnt => return false,
        // Never back to where it came from.
        Source::External(from) | Source::Internal(from) if from == peer.config.address => return false,
        // RFC 4271 §9.2: inside an AS everybody hears it from the source, but for a reflector's clients, and what
        // these tell (RFC 4456 §6).
        Source::Internal(_) if internal && common.client.or(peer.config.reflector_client).is_none() => {
            return false;
        }
        _ => {}
    }
    // RFC 4456 §8: nor back to the one that brought it into the AS.
    if internal && common.attributes.originator_id == Some(peer.agreed.router_id) {
        return false;
    }
    // RFC 9494 §4.3: only to those who know what it means.
    if best.is_last_resort() && peer.agreed.long_lived.is_empty() {
        return false;
    }
    let communities = &common.attributes.communities;
    if communities.contains(&community::NO_ADVERTISE) {
        return false;
    }
    let inside_only = [community::NO_EXPORT, community::NO_EXPORT_SUBCONFED];
    internal || !communities.iter().any(|one| inside_only.contains(one))
}

/// What a reflector adds (RFC 4456 §8). The cluster is that of the client the route comes from, or else goes to.
fn reflect(attributes: &mut Attributes, peer: &PeerView<'_>, common: &Common) {
    if !matches!(common.source, Source::Internal(_)) {
        return;
    }
    let cluster: Option<Ipv4Addr> = common.client.or(peer.config.reflector_client);
    attributes.originator_id = attributes.originator_id.or(Some(common.router_id));
    attributes.cluster_list.splice(0..0, cluster);
}

/// What changes at the border of the AS (RFC 4271 §5.1).
fn make_external(attributes: &mut Attributes, asn: u32, common: &Common, prepend: Option<Prepend>) {
    for more in [common.local.prepend, prepend].into_iter().flatten() {
        for _ in 0..more.times {
            attributes.as_path.prepend(more.asn);
        }
    }
    attributes.as_path.prepend(asn);
    attributes.local_pref = None;
    attributes.originator_id = None;
    attributes.cluster_list.clear();
    if common.source != Source::Local {
        attributes.med = None;
        // RFC 4360 §6: the second bit says "not to other ASes".
        attributes.extended_communities.retain(|one| one[0] & 0x40 == 0);
    }
}

fn add_communities(attributes: &mut Attributes, more: &Communities) {
    add(&mut attributes.communities, &more.standard);
    add(&mut attributes.large_communities, &more.large);
    add(&mut attributes.extended_communities, &more.extended);
}

/// Each community once.
fn add<T: Copy + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for one in more {
        if !list.contains(one) {
            list.push(*one);
        }
    }
}

/// Our own address of the session where we are on the way ourselves, else the next hop as we know it.
fn next_hop(peer: &PeerView<'_>, family: Family, common: &Common) -> IpAddr {
    let ours = peer.local_address.filter(|address| {
        // IPv4 over an IPv6 next hop needs RFC 8950; IPv6 over IPv4 does not exist.
        Family::of(*address) == family || (address.is_ipv6() && peer.agreed.context.extended_next_hop)
    });
    let on_the_way = match common.source {
        Source::Internal(_) => !peer.internal(),
        Source::External(_) => !peer.internal() || peer.config.export.next_hop_self,
        Source::Local => peer.config.export.next_hop_self,
    };
    ours.filter(|_| on_the_way).unwrap_or(common.next_hop)
}
