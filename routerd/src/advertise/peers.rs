//! Whom the speaker peers with: other nodes, as the mesh or route reflection has it, and external routers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp::bfd::BfdConfig;
use bgp::{
    Communities, ExportRules, GracefulRestart, ImportRules, Password, PeerConfig, PrefixLimit, Signature, Ttl,
};
use prefix::Family;

use super::annotations::{Annotations, External, Role};
use super::desired::{Advertise, Peer};
use super::drain::Leaving;
use crate::cluster::Index;
use crate::cluster::index::Delta;
use crate::cluster::objects::Node;
use crate::config::{BgpConfig, PeerConfig as FlagPeer};

/// RFC 8326: traffic may still come, and had better go elsewhere.
const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;

/// The session with another node; `None` if there is none between the two.
///
/// One session carries both families; its own family is the first that both nodes have, which both find alike.
pub(super) fn node(
    plane: &Advertise,
    index: &Index,
    own: &Node,
    other: &Node,
) -> Result<Option<PeerConfig>, String> {
    let (ours, theirs) = (Annotations::between_nodes(own), Annotations::between_nodes(other));
    let asn = plane.asn(&ours)?;
    let same_as = plane.bgp.full_mesh || theirs.asn == Some(asn);
    if !same_as || !are_peers(index, ours.role, theirs.role) {
        return Ok(None);
    }
    let both = |family: &Family| Some((own.address(*family)?, other.address(*family)?));
    let Some((local, remote)) = plane.families.iter().find_map(both) else {
        return Err(format!(
            "it has no address of a family that this node has too (own: {}); its pods cannot be reached. See the addresses in the Node objects' status",
            list(own)
        ));
    };
    if local == remote {
        return Err(format!("it has this node's own address {local}; one of the two Node objects is wrong"));
    }
    let reflector_client = match (ours.role, theirs.role) {
        (Role::Server(id), Role::Client(_)) => Some(id),
        _ => None,
    };
    let learnt = matches!(ours.role, Role::Server(_));
    Ok(Some(PeerConfig {
        port: plane.bgp.port,
        local_address: Some(local),
        families: plane.families.iter().copied().filter(|family| both(family).is_some()).collect(),
        reflector_client,
        graceful_restart: Some(between_nodes(&plane.bgp)),
        import: import(&ours),
        export: ExportRules { learnt, ..ExportRules::default() },
        ..PeerConfig::new(remote, asn)
    }))
}

/// How long external peers keep the routes of a node that does not come back, and we theirs, as a last resort that
/// every other way is better than (RFC 9494): long enough for somebody to see to it.
const LAST_RESORT: Duration = Duration::from_hours(1);
/// How long a session stays down whose peer told more prefixes than it may: whoever tells a full table by mistake must not be
/// heard again and again.
const TOO_MANY_PAUSE: Duration = Duration::from_mins(5);

/// Between nodes always: a daemon that is replaced must not cut its pods off. A node whose daemon is away gets the time
/// that a silent one gets, so a lost node is not mourned for longer. For the same reason nothing is kept over the hold time's
/// end (RFC 8538) or as a last resort.
fn between_nodes(bgp: &BgpConfig) -> GracefulRestart {
    let seconds = u16::try_from(bgp.hold_time.as_secs()).unwrap_or(u16::MAX);
    GracefulRestart { restart_time: seconds.min(4095), ..GracefulRestart::default() }
}

/// Whether two nodes peer, found alike by both. A client has sessions with reflectors only: with those of its cluster, or
/// with all if none is of its cluster (kube-router does not compare the numbers, so they may differ where it ran).
fn are_peers(index: &Index, own: Role, other: Role) -> bool {
    match (own, other) {
        (Role::Client(client), Role::Server(server)) | (Role::Server(server), Role::Client(client)) => {
            client == server || !has_server(index, client)
        }
        (Role::Client(_), _) | (_, Role::Client(_)) => false,
        _ => true,
    }
}

fn has_server(index: &Index, cluster: std::net::Ipv4Addr) -> bool {
    index.nodes().values().any(|node| Annotations::between_nodes(node).role == Role::Server(cluster))
}

/// True if a node's part in reflection is another one now.
pub(super) fn role_changed(delta: &Delta<Node>) -> bool {
    let roles: Vec<Role> = delta.both().map(|node| Annotations::between_nodes(node).role).collect();
    match roles[..] {
        [before, after] => before != after,
        [only] => only != Role::None,
        _ => false,
    }
}

/// The addresses of external peers: of those that flags name, or else of those that the node's annotations do.
pub(super) fn external_addresses(bgp: &BgpConfig, own: &Node) -> BTreeSet<IpAddr> {
    if bgp.peers.is_empty() {
        Annotations::of(own).peers.into_iter().map(|peer| peer.address).collect()
    } else {
        bgp.peers.iter().map(|peer| peer.address).collect()
    }
}

/// The external peer at `address`; `None` if there is none.
pub(super) fn external(
    plane: &Advertise,
    index: &Index,
    own: &Node,
    address: IpAddr,
) -> Option<Result<Peer, String>> {
    let annotations = Annotations::of(own);
    let found = if plane.bgp.peers.is_empty() {
        annotations.peers.iter().find(|peer| peer.address == address).cloned().map(Ok)
    } else {
        let place = plane.bgp.peers.iter().position(|peer| peer.address == address);
        let named = place.and_then(|place| Some((place, plane.bgp.peers.get(place)?)));
        named.map(|(place, peer)| of_flags(&plane.bgp, index, place, peer))
    }?;
    let found = found.and_then(|found| unlocked(plane, index, found));
    Some(found.and_then(|found| session(plane, own, &annotations, found)))
}

/// What is wrong with this node's annotations and its external peers.
pub(super) fn problems(plane: &Advertise, index: &Index, own: &Node) -> Vec<String> {
    let mut problems = Annotations::of(own).problems;
    problems.extend(index.passwords().problems.iter().cloned());
    for address in external_addresses(&plane.bgp, own) {
        if let Some(Err(reason)) = external(plane, index, own, address) {
            problems.push(format!("peer {address}: {reason}"));
        }
    }
    problems
}

fn of_flags(bgp: &BgpConfig, index: &Index, place: usize, peer: &FlagPeer) -> Result<External, String> {
    // The file of them may have changed since the start.
    let now = index.passwords().of_flags.as_ref().and_then(|list| list.get(place));
    let secret = now.unwrap_or(&peer.password).clone().filter(|secret| !secret.is_empty());
    Ok(External {
        address: peer.address,
        asn: peer.asn,
        port: peer.port,
        local: None,
        password_key: None,
        signature: Signature::Md5,
        password: secret.map(Password::new).transpose().map_err(|error| error.to_string())?,
        bfd: bgp.bfd,
        max_prefixes: None,
        ttl_security: None,
    })
}

/// With the password that its annotation names. Without it there is no session: the peer asks for one that is protected.
fn unlocked(plane: &Advertise, index: &Index, found: External) -> Result<External, String> {
    let Some(key) = &found.password_key else { return Ok(found) };
    let secret = index.passwords().by_key.get(key).ok_or_else(|| {
        let folder = plane.bgp.password_folder.display();
        format!("there is no password {key:?} in {folder} (--bgp-password-dir); is the Secret mounted there?")
    })?;
    let password = Password::new(secret.clone()).map_err(|error| format!("password {key:?}: {error}"))?;
    Ok(External { password: Some(password.signing(found.signature)), ..found })
}

fn session(
    plane: &Advertise,
    own: &Node,
    annotations: &Annotations,
    found: External,
) -> Result<Peer, String> {
    let family = Family::of(found.address);
    let asn = plane.asn(annotations)?;
    let local = found.local.or_else(|| own.address(family)).ok_or_else(|| {
        format!(
            "this node has no {family} address to connect from (status.addresses); give the peer a localip"
        )
    })?;
    let ttl = match (found.ttl_security, plane.bgp.multihop_ttl) {
        (Some(hops), _) => Ttl::Security(hops),
        (None, ttl @ 2..) => Ttl::Multihop(ttl),
        (None, _) => Ttl::Usual,
    };
    let config = PeerConfig {
        port: found.port,
        local_address: Some(local),
        families: plane.families.iter().copied().collect(),
        password: found.password,
        ttl,
        prefix_limit: found.max_prefixes.map(|most| PrefixLimit { most, pause: TOO_MANY_PAUSE }),
        graceful_restart: plane.bgp.graceful_restart.map(with_routers),
        import: import(annotations),
        export: ExportRules {
            learnt: false,
            outside: true,
            next_hop_self: plane.bgp.override_next_hop,
            communities: communities(own, annotations),
            prepend: annotations.prepend,
        },
        ..PeerConfig::new(found.address, found.asn)
    };
    config.check(asn).map_err(|error| error.to_string())?;
    let multihop = matches!(ttl, Ttl::Multihop(_) | Ttl::Security(2..));
    Ok(Peer { config, bfd: found.bfd.map(|bfd| further(bfd, multihop)) })
}

/// `time` is how long a peer is away before its routes are a last resort. Without the N bit (RFC 8538): with it a router keeps
/// the routes of a node whose hold time is over, too, so a lost node drew its share of a Service's traffic for `time` longer.
fn with_routers(time: Duration) -> GracefulRestart {
    GracefulRestart {
        restart_time: u16::try_from(time.as_secs()).unwrap_or(u16::MAX).min(4095),
        long_lived: u32::try_from(LAST_RESORT.as_secs()).ok(),
        ..GracefulRestart::default()
    }
}

/// Packets of a peer behind routers come by another port (RFC 5883 §5), unless one was chosen.
fn further(bfd: BfdConfig, multihop: bool) -> BfdConfig {
    let usual = multihop && bfd.port == bgp::bfd::PORT;
    let port = if usual { bgp::bfd::MULTIHOP_PORT } else { bfd.port };
    BfdConfig { port, multihop, ..bfd }
}

fn import(annotations: &Annotations) -> ImportRules {
    ImportRules { refuse: Arc::from(annotations.refuse.clone()), ..ImportRules::default() }
}

/// The node's own, and the request to leave it while it is drained.
fn communities(own: &Node, annotations: &Annotations) -> Communities {
    let mut communities = annotations.communities.clone();
    if Leaving::is_going(own) {
        communities.standard.push(GRACEFUL_SHUTDOWN);
    }
    communities
}

fn list(node: &Node) -> String {
    let all: Vec<String> = node.addresses().map(|address| address.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
