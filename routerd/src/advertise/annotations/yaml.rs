//! The annotation `kube-router.io/peers`.
//!
//! There are passwords in it, and what is wrong with it goes to log, status and an Event. So what is said of it has nothing of its text but keys.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};

use serde::Deserialize;
use serde_json::Value;

/// The items of the list, each of which is read alone.
pub(super) fn items(text: &str) -> Result<Vec<Value>, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| format!(" (line {}, column {})", at.line(), at.column()));
        format!("it is no YAML list of peers{}", place.unwrap_or_default())
    })
}

/// The peer of an item.
pub(super) fn peer(item: Value) -> Result<Peer, String> {
    serde_path_to_error::deserialize(item).map_err(|error| {
        let reason = without_values(&error.inner().to_string());
        let path = error.path().to_string();
        if path == "." || !is_key(&path) { reason } else { format!("{path}: {reason}") }
    })
}

/// True for what may be a key, with those it is in. A password that stands in the place of one has a digit, a capital or `=`.
fn is_key(text: &str) -> bool {
    text.len() <= 40 && text.chars().all(|letter| letter.is_ascii_lowercase() || matches!(letter, '.' | '_'))
}

/// What serde says of a value without the value, which it puts between the kind of error and what is expected.
fn without_values(message: &str) -> String {
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    let named = |kind: &str| {
        let name = found.strip_prefix(kind)?.trim().trim_matches('`');
        Some(if is_key(name) { format!("{kind} `{name}`") } else { kind.to_owned() })
    };
    let of_type = || {
        let value = found.strip_prefix("invalid type: ").or_else(|| found.strip_prefix("invalid value: "))?;
        Some(format!("invalid type: {}", value.split(['"', '`']).next().unwrap_or_default().trim()))
    };
    let known = named("unknown field").or_else(|| named("missing field")).or_else(of_type);
    let found = known.unwrap_or_else(|| match found.strip_prefix("unknown variant") {
        Some(_) => "unknown value".to_owned(),
        None => found.to_owned(),
    });
    if expected.is_empty() { found } else { format!("{found}, expected {expected}") }
}

/// A peer. A key that is not known is an error: a misspelt password would be a session without one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    /// Its address.
    #[serde(rename = "remoteip")]
    pub(super) remote_ip: IpAddr,
    /// Its AS.
    #[serde(rename = "remoteasn")]
    pub(super) remote_asn: u32,
    /// The address we connect from.
    #[serde(rename = "localip")]
    pub(super) local_ip: Option<IpAddr>,
    /// The key of TCP MD5 in base64.
    pub(super) password: Option<String>,
    /// The key of a mounted Secret that has its password, in place of `password`.
    #[serde(rename = "passwordkey")]
    pub(super) password_key: Option<String>,
    /// The password is the key of TCP-AO, in place of TCP MD5.
    #[serde(rename = "tcpao")]
    pub(super) tcp_ao: Option<TcpAo>,
    /// Its port; 0 is the usual one.
    pub(super) port: Option<u16>,
    /// How its path is watched.
    pub(super) bfd: Option<Bfd>,
    /// The most prefixes of each family that it may tell, which kube-router does not have.
    #[serde(rename = "maxprefixes")]
    pub(super) max_prefixes: Option<NonZeroU32>,
    /// How many hops away it may be by GTSM (RFC 5082), which kube-router does not have; 1 for the same link.
    #[serde(rename = "ttlsecurity")]
    pub(super) ttl_security: Option<NonZeroU8>,
}

/// TCP-AO (RFC 5925) of a peer, which kube-router does not have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TcpAo {
    /// The key's identifier in what we send.
    #[serde(rename = "sendid")]
    pub(super) send_id: u8,
    /// The one in what comes; the same if not set.
    #[serde(rename = "recvid")]
    pub(super) receive_id: Option<u8>,
    /// How packets are signed.
    #[serde(default)]
    pub(super) algorithm: Algorithm,
}

/// The names of RFC 5926.
#[derive(Deserialize, Default)]
pub(super) enum Algorithm {
    #[default]
    #[serde(rename = "hmac-sha-1-96")]
    HmacSha1,
    #[serde(rename = "aes-128-cmac-96")]
    Aes128Cmac,
}

/// BFD of a peer; what is left out is as the flags' defaults. Times are milliseconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bfd {
    /// Whether it is watched.
    #[serde(default)]
    pub(super) enabled: bool,
    /// The UDP port.
    pub(super) port: Option<u16>,
    /// Lost packets after which it is down.
    pub(super) detection_multiplier: Option<u8>,
    /// How often we can receive.
    pub(super) required_min_rx_interval: Option<u32>,
    /// How often we would like to send.
    pub(super) desired_min_tx_interval: Option<u32>,
}
