//! The speaker's state as JSON, for `routerd status` and the metrics.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bgp::bfd::BfdStatus;
use bgp::{RibEntry, SpeakerStatus};
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
            Some(speaker) => match (speaker.status().await, speaker.rib().await) {
                (Ok(status), Ok(rib)) => {
                    let paths = link.bfd().map(|bfd| bfd.status()).unwrap_or_default();
                    render(&status, &rib, &paths)
                }
                _ => Value::Null,
            },
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
fn render(status: &SpeakerStatus, rib: &[RibEntry], paths: &BTreeMap<IpAddr, BfdStatus>) -> Value {
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
        "routes": rib.iter().map(route).collect::<Vec<_>>(),
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

fn route(entry: &RibEntry) -> Value {
    let paths: Vec<Value> = entry
        .paths
        .iter()
        .map(|path| {
            json!({
                "from": path.source.peer(),
                "next_hop": path.next_hop,
                "as_path": path.as_path,
                "local_pref": path.local_pref,
                "med": path.med,
                "stale": path.age != bgp::rib::Age::Fresh,
                "used": path.used,
            })
        })
        .collect();
    json!({"prefix": entry.prefix, "next_hops": entry.next_hops, "paths": paths})
}
