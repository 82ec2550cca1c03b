//! The speaker's state as JSON, for `routerd status` and the metrics.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bgp::bfd::BfdStatus;
use bgp::{PeerStatus, SpeakerStatus};
use prefix::Family;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::link::Link;

/// How old what is shown may be.
const PERIOD: Duration = Duration::from_secs(1);

/// Publishes the state until nobody is interested.
pub(super) async fn publish(link: Link, sender: watch::Sender<Value>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return,
        }
        let value = if let Some(speaker) = link.speaker() {
            // Without its routes: they may be half a million, and are there for those who ask (`routerd bgp rib`).
            speaker.status().await.map_or(Value::Null, |status| {
                let mut value = render(&status, &link.bfd().map(|bfd| bfd.status()).unwrap_or_default());
                value["told"] = link.counts().json();
                link.show(Some(Arc::new(status)));
                value
            })
        } else {
            link.show(None);
            Value::Null
        };
        sender.send_if_modified(|shown| {
            let changed = *shown != value;
            *shown = value;
            changed
        });
    }
}

/// The state as JSON.
pub(super) fn render(status: &SpeakerStatus, paths: &BTreeMap<IpAddr, BfdStatus>) -> Value {
    let peers: Vec<Value> = status
        .peers
        .iter()
        .map(|peer| {
            json!({
                "address": peer.address,
                "asn": peer.asn,
                "state": peer.state.to_string(),
                "since_seconds": peer.since.as_secs(),
                "router_id": peer.router_id,
                "hold_time": peer.hold_time,
                "internal": peer.asn == status.asn,
                "received": peer.received.all(),
                "sent": peer.sent.all(),
                "families": peer.families.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "established": peer.established,
                "lost": peer.lost,
                "updates": peer.updates,
                "last_update_seconds": peer.last_update.map(|time| time.as_secs()),
                "last_update_timestamp": peer.last_update.and_then(timestamp),
                "prefixes": prefixes(peer),
                "bfd": paths.get(&peer.address).map(path),
                "stale": peer.stale,
                "last_error": peer.last_error,
            })
        })
        .collect();
    let listeners: Vec<Value> = status
        .listeners
        .iter()
        .map(|one| json!({"address": one.address, "listening": one.listening, "error": one.error}))
        .collect();
    json!({
        "asn": status.asn,
        "router_id": status.router_id,
        "listeners": listeners,
        "refused_connections": status.refused_connections,
        "last_refused": status.last_refused,
        "peers": peers,
        "originated": status.originated,
        "prefixes": status.prefixes,
    })
}

/// By family.
fn prefixes(peer: &PeerStatus) -> Value {
    let of = |family: Family| {
        let numbers = json!({
            "received": peer.received.of(family),
            "accepted": peer.accepted.of(family),
            "advertised": peer.sent.of(family),
        });
        (family.to_string(), numbers)
    };
    Value::Object(Family::BOTH.into_iter().map(of).collect())
}

/// Seconds since 1970 at a moment so long ago, as metrics have times.
fn timestamp(ago: Duration) -> Option<f64> {
    let at = SystemTime::now().checked_sub(ago)?;
    at.duration_since(SystemTime::UNIX_EPOCH).ok().map(|time| time.as_secs_f64())
}

fn path(status: &BfdStatus) -> Value {
    json!({
        "state": status.state.to_string(),
        "diagnostic": status.diagnostic.to_string(),
        "ups": status.ups,
        "detection_ms": status.detection_time.as_millis(),
        "interval_ms": status.interval.map(|time| time.as_millis()),
        "error": status.error,
    })
}
