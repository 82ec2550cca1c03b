//! The speaker's state as JSON, for `routerd status` and the metrics.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bgp::SpeakerStatus;
use bgp::bfd::BfdStatus;
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
        let value = match link.speaker() {
            // Without its routes: they may be half a million, and are there for those who ask (`routerd bgp rib`).
            Some(speaker) => speaker.status().await.map_or(Value::Null, |status| {
                render(&status, &link.bfd().map(|bfd| bfd.status()).unwrap_or_default())
            }),
            None => Value::Null,
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
                "received": peer.received.all(),
                "sent": peer.sent.all(),
                "families": peer.families.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "established": peer.established,
                "lost": peer.lost,
                "updates": peer.updates,
                "last_update_seconds": peer.last_update.map(|time| time.as_secs()),
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
