//! An item of the annotation `kube-router.io/peers`.

use std::net::IpAddr;

use serde::Deserialize;

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
    /// Its port; 0 is the usual one.
    pub(super) port: Option<u16>,
    /// How its path is watched.
    pub(super) bfd: Option<Bfd>,
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
