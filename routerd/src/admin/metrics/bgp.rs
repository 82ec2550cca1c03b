//! The metrics of BGP: what each peer has told and was told, and how its session fares.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::kinds::Plain;
use super::{Float, gauge_value};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Info {
    address: String,
    r#type: &'static str,
    asn: u64,
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sent {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFamily {
    address: String,
    family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    address: String,
    error: String,
}

/// The names of families in the status, and here.
const FAMILIES: [(&str, &str); 2] = [("IPv4", "ipv4"), ("IPv6", "ipv6")];

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Registers what the status of the speaker tells.
pub(super) fn register(registry: &mut Registry, bgp: &Value) {
    let peers = || bgp["peers"].as_array().into_iter().flatten();
    info(registry, peers());
    prefixes(registry, peers());
    sessions(registry, peers());
    let updates: u64 = peers().map(|peer| number(&peer["updates"])).sum();
    // Names of kube-router.
    let received = Plain::default();
    received.0.set(gauge_value(updates));
    registry.register(
        "controller_bgp_advertisements_received",
        "UPDATE messages of the peers there are",
        received,
    );
    let sent = Family::<Sent, Plain>::default();
    for r#type in ["pod-route", "advertise-vip", "withdraw-vip"] {
        sent.get_or_create(&Sent { r#type }).0.set(gauge_value(number(&bgp["told"][r#type])));
    }
    registry.register(
        "controller_bgp_advertisements_sent",
        "Prefixes that the speaker was told to announce or withdraw",
        sent,
    );
    registry.register(
        "bgp_refused_connections",
        "Connections of addresses that are no peers",
        ConstCounter::new(number(&bgp["refused_connections"])),
    );
}

fn info<'a>(registry: &mut Registry, peers: impl Iterator<Item = &'a Value>) {
    let info = Family::<Info, Gauge>::default();
    let errors = Family::<Failure, Gauge>::default();
    for peer in peers {
        let address = text(&peer["address"]);
        let r#type = if peer["internal"].as_bool().unwrap_or_default() { "internal" } else { "external" };
        let (asn, state) = (number(&peer["asn"]), text(&peer["state"]));
        info.get_or_create(&Info { address: address.clone(), r#type, asn, state }).set(1);
        if let Some(error) = peer["last_error"].as_str() {
            errors.get_or_create(&Failure { address, error: error.to_owned() }).set(1);
        }
    }
    registry.register("bgp_peer_info", "A BGP peer and the state of its session", info);
    registry.register("bgp_peer_last_error_info", "What failed last with a BGP peer", errors);
}

fn prefixes<'a>(registry: &mut Registry, peers: impl Iterator<Item = &'a Value>) {
    let columns = [
        ("received", "Prefixes that a BGP peer has told"),
        ("accepted", "Those of them that import rules take"),
        ("advertised", "Prefixes that a BGP peer was told"),
    ]
    .map(|(name, help)| (name, help, Family::<OfFamily, Gauge>::default()));
    for peer in peers {
        for (shown, family) in FAMILIES {
            let counts = &peer["prefixes"][shown];
            for (name, _, column) in &columns {
                let labels = OfFamily { address: text(&peer["address"]), family };
                column.get_or_create(&labels).set(gauge_value(number(&counts[*name])));
            }
        }
    }
    for (name, help, column) in columns {
        registry.register(format!("bgp_peer_prefixes_{name}"), help, column);
    }
}

fn sessions<'a>(registry: &mut Registry, peers: impl Iterator<Item = &'a Value>) {
    let columns = [
        ("bgp_peer_established", "established", "Times a session with a BGP peer came up"),
        ("bgp_peer_flaps", "lost", "Times an established session with a BGP peer was lost or ended"),
        ("bgp_peer_updates", "updates", "UPDATE messages of a BGP peer"),
    ]
    .map(|(name, key, help)| (name, key, help, Family::<Peer, Counter>::default()));
    let last = Family::<Peer, Float>::default();
    for peer in peers {
        let labels = Peer { address: text(&peer["address"]) };
        for (_, key, _, column) in &columns {
            column.get_or_create(&labels).inc_by(number(&peer[*key]));
        }
        if let Some(at) = peer["last_update_timestamp"].as_f64() {
            last.get_or_create(&labels).set(at);
        }
    }
    for (name, _, help, column) in columns {
        registry.register(name, help, column);
    }
    registry.register("bgp_peer_last_update_timestamp_seconds", "When a BGP peer sent its last UPDATE", last);
}
