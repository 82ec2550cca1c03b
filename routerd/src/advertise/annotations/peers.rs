//! External peers that annotations name.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bgp::ao::{Algorithm, Key};
use bgp::bfd::{BfdConfig, Timing};
use bgp::{Password, Signature};

use super::yaml::{Bfd, Peer, TcpAo};
use super::{lists, yaml};
use crate::cluster::objects::Labels;

const PEERS: &str = "kube-router.io/peers";
const ADDRESSES: &str = "kube-router.io/peer.ips";
const ASNS: &str = "kube-router.io/peer.asns";
const PORTS: &str = "kube-router.io/peer.ports";
const PASSWORDS: &str = "kube-router.io/peer.passwords";
const LOCAL_ADDRESSES: &str = "kube-router.io/peer.localips";

/// An external peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::advertise) struct External {
    /// Its address.
    pub(in crate::advertise) address: IpAddr,
    /// Its AS.
    pub(in crate::advertise) asn: u32,
    /// Its port.
    pub(in crate::advertise) port: u16,
    /// The address we connect from, if it is not the node's.
    pub(in crate::advertise) local: Option<IpAddr>,
    /// The key of a mounted Secret that holds the password.
    pub(in crate::advertise) password_key: Option<String>,
    /// How a password of a mounted Secret signs.
    pub(in crate::advertise) signature: Signature,
    /// The password, if it is known from here.
    pub(in crate::advertise) password: Option<Password>,
    /// How its path is watched, if it is.
    pub(in crate::advertise) bfd: Option<BfdConfig>,
    /// The most prefixes of each family that it may tell.
    pub(in crate::advertise) max_prefixes: Option<usize>,
    /// How many hops away it may be (GTSM), in place of what is said of all peers.
    pub(in crate::advertise) ttl_security: Option<u8>,
}

/// The peers of `kube-router.io/peers`, or else of the older lists.
pub(super) fn of(annotations: &Labels, problems: &mut Vec<String>) -> Vec<External> {
    match annotations.get(PEERS) {
        Some(text) => of_yaml(text, problems),
        None => of_lists(annotations, problems),
    }
}

fn of_yaml(text: &str, problems: &mut Vec<String>) -> Vec<External> {
    let items = match yaml::items(text) {
        Ok(items) => items,
        Err(reason) => {
            problems.push(format!("{PEERS}: {reason}"));
            return Vec::new();
        }
    };
    let mut peers: Vec<External> = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        match yaml::peer(item).and_then(|peer| external(&peer)) {
            Ok(peer) => add(PEERS, peer, &mut peers, problems),
            Err(reason) => problems.push(format!("{PEERS}: item {}: {reason}", place + 1)),
        }
    }
    peers
}

/// A peer that is named twice is the first one.
fn add(key: &str, peer: External, peers: &mut Vec<External>, problems: &mut Vec<String>) {
    if peers.iter().any(|other| other.address == peer.address) {
        problems.push(format!("{key}: {} is named twice; the first one holds", peer.address));
    } else {
        peers.push(peer);
    }
}

fn external(peer: &Peer) -> Result<External, String> {
    let signature = peer.tcp_ao.as_ref().map_or(Signature::Md5, ao);
    let secret = peer.password.as_deref().map(password).transpose()?.flatten();
    if peer.tcp_ao.is_some() && secret.is_none() && peer.password_key.is_none() {
        return Err("tcpao signs with a password; give it passwordkey or password".to_owned());
    }
    Ok(External {
        address: peer.remote_ip.to_canonical(),
        asn: peer.remote_asn,
        port: peer.port.filter(|port| *port != 0).unwrap_or(bgp::config::PORT),
        local: peer.local_ip,
        password_key: password_key(peer)?,
        signature,
        password: secret.map(|secret| secret.signing(signature)),
        bfd: peer.bfd.as_ref().filter(|bfd| bfd.enabled).map(bfd_of),
        max_prefixes: peer.max_prefixes.map(|most| usize::try_from(most.get()).unwrap_or(usize::MAX)),
        ttl_security: peer.ttl_security.map(NonZeroU8::get),
    })
}

/// Another name than that of a file in the folder would be a way to other files of the node.
fn password_key(peer: &Peer) -> Result<Option<String>, String> {
    let Some(key) = &peer.password_key else { return Ok(None) };
    if peer.password.is_some() {
        return Err("it has both password and passwordkey; give one of them".to_owned());
    }
    if key.is_empty() || key.starts_with('.') || key.contains('/') {
        return Err(format!("passwordkey {key:?} is no key of a Secret"));
    }
    Ok(Some(key.clone()))
}

fn ao(settings: &TcpAo) -> Signature {
    Signature::Ao(Key {
        send_id: settings.send_id,
        receive_id: settings.receive_id.unwrap_or(settings.send_id),
        algorithm: match settings.algorithm {
            yaml::Algorithm::HmacSha1 => Algorithm::HmacSha1,
            yaml::Algorithm::Aes128Cmac => Algorithm::Aes128Cmac,
        },
    })
}

fn bfd_of(bfd: &Bfd) -> BfdConfig {
    let milliseconds = |time: Option<u32>| Duration::from_millis(time.unwrap_or(1000).max(1).into());
    BfdConfig {
        timing: Timing {
            desired_min_tx: milliseconds(bfd.desired_min_tx_interval),
            required_min_rx: milliseconds(bfd.required_min_rx_interval),
            multiplier: bfd.detection_multiplier.unwrap_or(3).max(1),
        },
        port: bfd.port.filter(|port| *port != 0).unwrap_or(bgp::bfd::PORT),
        multihop: false,
    }
}

/// The text is base64; it is never repeated. Nothing means none.
fn password(text: &str) -> Result<Option<Password>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let secret = STANDARD.decode(text.trim()).map_err(|_| "the password is not base64".to_owned())?;
    Password::new(secret).map(Some).map_err(|error| error.to_string())
}

/// The lists of kube-router before 2.7: an item of each for a peer, an empty one for the default.
fn of_lists(annotations: &Labels, problems: &mut Vec<String>) -> Vec<External> {
    let addresses = lists::items(annotations, ADDRESSES);
    let columns = [ASNS, PORTS, PASSWORDS, LOCAL_ADDRESSES].map(|key| (key, lists::items(annotations, key)));
    for (key, items) in &columns {
        if items.len() != addresses.len() && (*key == ASNS || !items.is_empty()) {
            problems.push(format!(
                "{key}: {} items for the {} of {ADDRESSES}; each peer needs one. No peer is taken",
                items.len(),
                addresses.len()
            ));
            return Vec::new();
        }
    }
    let mut peers = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        let item = |column: usize| {
            columns.get(column).and_then(|(_, items)| items.get(place)).copied().unwrap_or_default()
        };
        match of_items(address, [item(0), item(1), item(2), item(3)]) {
            Ok(peer) => add(ADDRESSES, peer, &mut peers, problems),
            Err(reason) => problems.push(format!("{ADDRESSES}: item {}: {reason}", place + 1)),
        }
    }
    peers
}

fn of_items(address: &str, [asn, port, secret, local]: [&str; 4]) -> Result<External, String> {
    let peer = Peer {
        remote_ip: read(address, "an IP address")?,
        remote_asn: read(asn, "an AS number")?,
        local_ip: optional(local, "an IP address")?,
        password: Some(secret.to_owned()),
        password_key: None,
        tcp_ao: None,
        port: optional(port, "a port")?,
        bfd: None,
        max_prefixes: None,
        ttl_security: None,
    };
    external(&peer)
}

fn read<T: FromStr>(text: &str, wanted: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not {wanted}"))
}

fn optional<T: FromStr>(text: &str, wanted: &str) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { read(text, wanted).map(Some) }
}
