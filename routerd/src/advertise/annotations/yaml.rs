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
    /// The password is the key of TCP-AO, in place of TCP MD5.
    #[serde(rename = "tcpao")]
    pub(super) tcp_ao: Option<TcpAo>,
    /// Its port; 0 is the usual one.
    pub(super) port: Option<u16>,
    /// How its path is watched.
    pub(super) bfd: Option<Bfd>,
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
